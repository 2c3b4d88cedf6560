"""joblib's dumps are read as joblib writes them, compressed or not, and nothing in them is executed."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.checkpoints import narrow_state
from helpers.loaded import load_tensors

from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.readers import read_file
from models.errors import CheckpointError

ALIGNMENT = 16
PythonPickler: Any = vars(pickle)["_Pickler"]  # the one that is written in Python, whose parts can be replaced


class Wrapper:
    """joblib's `NumpyArrayWrapper`: its attributes are what the pickle holds."""

    def __init__(self, array: Any, *, aligned: bool, **other: object) -> None:
        self.subclass = np.ndarray
        self.shape = array.shape
        self.order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        self.dtype = array.dtype
        self.allow_mmap = True
        if aligned:
            self.numpy_array_alignment_bytes = ALIGNMENT
        self.__dict__.update(other)


def dump(content: object, protocol: int = 4, *, aligned: bool = True, **other: object) -> bytes:
    """What `joblib.dump` writes: Python's own pickler, whose `save` writes an array as a wrapper and its values."""
    stream = io.BytesIO()

    class Pickler(PythonPickler):
        def save(self, obj: Any, *arguments: Any, **options: Any) -> None:
            if type(obj) is not np.ndarray:
                return super().save(obj, *arguments, **options)
            super().save(Wrapper(obj, aligned=aligned, **other))
            if protocol >= 4:
                self.framer.commit_frame(force=True)
            if aligned:
                padding = ALIGNMENT - (stream.tell() + 1) % ALIGNMENT
                stream.write(bytes([padding]) + b"\xff" * padding)
            stream.write(obj.tobytes("A"))
            return None

    module: Any = types.ModuleType("joblib.numpy_pickle")
    module.NumpyArrayWrapper = Wrapper
    Wrapper.__module__, Wrapper.__qualname__ = module.__name__, "NumpyArrayWrapper"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "joblib", types.ModuleType("joblib"))
        patch.setitem(sys.modules, module.__name__, module)
        Pickler(stream, protocol).dump(content)
    return stream.getvalue()


ARRAYS: dict[str, Any] = {
    "plain": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "turned": np.asfortranarray(np.arange(24, dtype=np.float32).reshape(4, 6)),
    "swapped": np.arange(5, dtype=">f4"),
    "double": np.arange(7.0),
    "none": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5, np.float32),
}


@pytest.mark.parametrize("aligned", [True, False], ids=["since 1.2", "before"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_array(protocol: int, aligned: bool, tmp_path: Path) -> None:
    content = {"epoch": 3, "state": ARRAYS, "again": ARRAYS["plain"], "scores": [np.float32(0.5)]}
    (tmp_path / "c3d.joblib").write_bytes(dump(content, protocol, aligned=aligned))
    found = load_tensors(tmp_path / "c3d.joblib")
    wanted = {**{f"state.{name}": array for name, array in ARRAYS.items()}, "again": ARRAYS["plain"]}
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name].numpy(), array) for name, array in wanted.items())


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, bz2.compress, lzma.compress])
def test_a_c3d_in_a_compressed_dump(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    state = {name: value.numpy() for name, value in narrow_state().items()}
    (tmp_path / "c3d.joblib").write_bytes(compress(dump(state)))
    checkpoint = read_checkpoint(tmp_path / "c3d.joblib")
    assert checkpoint.tensors.keys() == state.keys()
    assert all(np.array_equal(checkpoint.tensors[name].numpy(), value) for name, value in state.items())


def test_joblib_itself_agrees(tmp_path: Path) -> None:
    joblib: Any = pytest.importorskip("joblib")
    joblib.dump(ARRAYS, tmp_path / "theirs")
    (tmp_path / "ours").write_bytes(dump(ARRAYS))
    ours, theirs = joblib.load(tmp_path / "ours"), load_tensors(tmp_path / "theirs")
    assert ours.keys() == theirs.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(ours[name], array)
        assert np.array_equal(theirs[name].numpy(), array)


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)  # pyright: ignore[reportDeprecated]


@pytest.mark.parametrize("compress", [bytes, zlib.compress])
def test_nothing_is_executed(compress: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c3d.joblib").write_bytes(compress(dump({"w": ARRAYS["plain"], "extra": Evil()})))
    found = read_file(tmp_path / "c3d.joblib")
    assert [*load_tensors(found)] == ["w"]
    assert found.hazards == (f"{os.name}.system",)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"shape": (2, 3, 400)}, "truncated"),
        ({"shape": (1 << 62,) * 60}, "truncated"),
        ({"shape": (-1,)}, "no list of sizes"),
        ({"order": "K"}, "a state that joblib does not write"),
        ({"dtype": Evil()}, "a state that joblib does not write"),
        ({"dtype": np.dtype(object)}, "an array of Python objects, not of plain numbers"),
        ({"dtype": np.dtype([("a", "f4")])}, "an array of structured, not of plain numbers"),
    ],
)
def test_a_wrapper_that_lies_is_refused(
    changed: dict[str, Any], reported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c3d.joblib").write_bytes(dump({"w": ARRAYS["plain"]}, **changed))
    with pytest.raises(CheckpointError, match=rf"c3d\.joblib: .*{reported}") as caught:
        read_file(tmp_path / "c3d.joblib")
    assert len(str(caught.value)) < 400
    assert not (tmp_path / "ran").exists()


def test_a_truncated_stream_of_zlib_is_refused(tmp_path: Path) -> None:
    whole = zlib.compress(dump(ARRAYS))
    (tmp_path / "c3d.joblib").write_bytes(whole[:-40])
    with pytest.raises(CheckpointError, match="the zlib data is damaged or truncated: it ends too early"):
        read_file(tmp_path / "c3d.joblib")


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (
            b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81.",
            "in files beside it, as joblib before 0.10 wrote them",
        ),
        (b"ZF0x12             x", "compressed by joblib before 0.10"),
        (lzma.compress(b"x" * 50, lzma.FORMAT_ALONE), "compressed by lzma"),
    ],
)
def test_what_old_versions_wrote_is_named(content: bytes, reported: str, tmp_path: Path) -> None:
    (tmp_path / "c3d.joblib").write_bytes(content)
    with pytest.raises(CheckpointError, match=reported):
        read_file(tmp_path / "c3d.joblib")
