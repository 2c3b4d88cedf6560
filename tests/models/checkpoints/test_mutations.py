"""A file changed anywhere loads, or is refused in one line: no other outcome, nothing run, nothing allocated by a claim."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from helpers.checkpoint_files import WRITERS
from helpers.loaded import load_tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.checkpoints.readers import read_file
from models.errors import CheckpointError


@cache
def original(name: str, folder: Path) -> bytes:
    WRITERS[name](folder / name)
    return (folder / name).read_bytes()


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """One to four changes: bits flipped, bytes overwritten with boundary values, put in, taken out, or the end cut off."""
    changes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "set", "insert", "delete", "cut"]),
                st.floats(0, 1, exclude_max=True),
                st.sampled_from([b"\xff", b"\x00", b"\x80", b"\x7f", b"\xff" * 8, b"\x00" * 4, b"\xff\xff\xff\x7f"]),
                st.integers(0, 7),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def mutate(content: bytes) -> bytes:
        changed = bytearray(content)
        for kind, where, value, bit in changes:
            at = int(where * len(changed))
            if kind == "flip" and changed:
                changed[at] ^= 1 << bit
            elif kind == "set":
                changed[at : at + len(value)] = value
            elif kind == "insert":
                changed[at:at] = value
            elif kind == "delete":
                del changed[at : at + len(value)]
            elif kind == "cut":
                del changed[at:]
        return bytes(changed)

    return mutate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


HDF5 = ("c3d.h5", "packed.h5")
"""A process parses each of them: fewer examples in the default suite."""


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in HDF5])
@given(mutate=mutations())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_file_loads_or_is_refused(name: str, mutate: Callable[[bytes], bytes], folder: Path) -> None:
    check_mutated(name, mutate, folder)


@pytest.mark.parametrize("name", HDF5)
@given(mutate=mutations())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_hdf5_file_loads_or_is_refused(name: str, mutate: Callable[[bytes], bytes], folder: Path) -> None:
    check_mutated(name, mutate, folder)


@pytest.mark.heavy
@pytest.mark.parametrize("name", WRITERS)
@given(mutate=mutations())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_mutated_files(name: str, mutate: Callable[[bytes], bytes], folder: Path) -> None:
    check_mutated(name, mutate, folder)


def check_mutated(name: str, mutate: Callable[[bytes], bytes], folder: Path) -> None:
    path = folder / f"mutated-{name}"
    content = mutate(original(name, folder))
    path.write_bytes(content)
    if name == "ckpt.index":
        (folder / "mutated-ckpt.data-00000-of-00001").write_bytes((folder / "ckpt.data-00000-of-00001").read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of unusual pickles
        try:
            raw = read_file(path)
        except CheckpointError as error:
            assert str(error).startswith((str(folder / "mutated-"), "the checkpoint is empty"))
            return
    held = sum(tensor.numel() * tensor.element_size() for tensor in load_tensors(raw).values() if not tensor.is_meta)
    assert held <= 2 * len(content) + (512 << 20)
    assert all(tensor.sum() is not None for tensor in load_tensors(raw).values() if tensor.dtype.is_floating_point)
