"""A small valid file of every checkpoint format: what mutations, truncations and fuzzing begin with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from helpers.mxnet_params import write_params
from helpers.onnx_chains import make_chain, save_graph
from helpers.origins import write_caffe
from helpers.tf_checkpoint import write_v1, write_v2
from helpers.torch_programs import save_program, save_script

ARRAYS: "dict[str, np.ndarray[Any, Any]]" = {
    "conv1.weight": np.arange(2 * 3 * 27, dtype=np.float32).reshape(2, 3, 3, 3, 3),
    "conv1.bias": np.arange(2, dtype=np.float32),
    "fc6.weight": np.arange(40, dtype=np.float32).reshape(5, 8),
}
TENSORS = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
LAYERS = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "fc8")


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


def write_shards(path: Path) -> None:
    """Write an index and, beside it, a safetensors file with the first tensor and one with the others."""
    first, *others = TENSORS
    places = {first: "model-00001-of-00002.safetensors"} | dict.fromkeys(others, "model-00002-of-00002.safetensors")
    for shard in set(places.values()):
        save_file({name: TENSORS[name] for name in TENSORS if places[name] == shard}, path.with_name(shard))
    path.write_text(json.dumps({"metadata": {"total_size": 820}, "weight_map": places}))


class Small(nn.Module):
    """A network that has the arrays as parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.fc6 = nn.Conv3d(3, 2, 3), nn.Linear(8, 5, bias=False)
        self.load_state_dict(TENSORS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc6(self.conv1(x)[0, 0, 0, 0])


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
    "chain.onnx": lambda path: save_graph(path, make_chain()),
    "c3d.pt": lambda path: save_script(Small(), path),
    "c3d.pt2": lambda path: save_program(Small(), path, torch.zeros(1, 3, 3, 3, 10)),
    "model.safetensors.index.json": write_shards,
    "c3d.params": lambda path: write_params(path, ARRAYS),
}
"""{file name: writes it}; what `ckpt.index` refers to is `ckpt.data-00000-of-00001` beside it."""

TF_DATA = "data-00000-of-00001"
