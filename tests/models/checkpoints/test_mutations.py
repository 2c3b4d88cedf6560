"""A file changed anywhere loads, or is refused in one line: no other outcome, nothing run, nothing allocated by a claim."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import torch
from helpers.mxnet_params import write_params
from helpers.origins import write_caffe
from helpers.tf_checkpoint import write_v1, write_v2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from models.checkpoints.readers import read_file
from models.errors import CheckpointError

ARRAYS: "dict[str, np.ndarray[Any, Any]]" = {
    "conv1.weight": np.arange(2 * 3 * 27, dtype=np.float32).reshape(2, 3, 3, 3, 3),
    "conv1.bias": np.arange(2, dtype=np.float32),
    "fc6.weight": np.arange(40, dtype=np.float32).reshape(5, 8),
}
TENSORS = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}


def write_h5(path: Path, **options: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, array in ARRAYS.items():
            file.create_dataset(name.replace(".", "/"), data=array, **options)


def write_onnx(path: Path) -> None:
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2, 2], strides=[2, 2, 2], ceil_mode=1)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    weights = [numpy_helper.from_array(array, name) for name, array in ARRAYS.items()]
    onnx.save(helper.make_model(helper.make_graph([pool], "g", info[:1], info[1:], weights)), str(path))


def write_small_caffe(path: Path) -> None:
    state = {
        f"{layer}.{p}": np.ones((2, 1) if p == "weight" else 2, np.float32)
        for layer in LAYERS
        for p in ("weight", "bias")
    }
    write_caffe(path, state, "C3D-v1.0")


LAYERS = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "fc8")

WRITERS: dict[str, Callable[[Path], object]] = {
    "c3d.pth": lambda path: torch.save(TENSORS, path),
    "old.pth": lambda path: torch.save(TENSORS, path, _use_new_zipfile_serialization=False),
    "c3d.safetensors": lambda path: save_file(TENSORS, path),
    "c3d.npz": lambda path: np.savez(path, allow_pickle=False, **ARRAYS),
    "packed.npz": lambda path: np.savez_compressed(path, allow_pickle=False, **ARRAYS),
    "c3d.h5": write_h5,
    "packed.h5": lambda path: write_h5(path, compression="gzip"),
    "c3d.caffemodel": write_small_caffe,
    "c3d.model": lambda path: write_v1(path, ARRAYS),
    "ckpt.index": lambda path: write_v2(path.with_suffix(""), ARRAYS),
    "c3d.onnx": write_onnx,
    "c3d.params": lambda path: write_params(path, ARRAYS),
}


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
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_file_loads_or_is_refused(name: str, mutate: Callable[[bytes], bytes], folder: Path) -> None:
    check_mutated(name, mutate, folder)


@pytest.mark.parametrize("name", HDF5)
@given(mutate=mutations())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_hdf5_file_loads_or_is_refused(name: str, mutate: Callable[[bytes], bytes], folder: Path) -> None:
    check_mutated(name, mutate, folder)


@pytest.mark.heavy
@pytest.mark.parametrize("name", HDF5)
@given(mutate=mutations())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_mutated_hdf5_files(name: str, mutate: Callable[[bytes], bytes], folder: Path) -> None:
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
    held = sum(tensor.numel() * tensor.element_size() for tensor in raw.tensors.values() if not tensor.is_meta)
    assert held <= 2 * len(content) + (512 << 20)
    assert all(tensor.sum() is not None for tensor in raw.tensors.values() if tensor.dtype.is_floating_point)
