"""Reads the weights of a `.pt2` file, which `torch.export.save` writes since torch 2.9: JSON, and a member per storage.

The program itself is JSON too. Its last max pool states pool5's convention, and its input the clip's size. Sources:
`torch/export/pt2_archive/_package_weights.py`, `torch/_export/serde/schema.py`. Nothing of the file is unpickled.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.metadata import Conventions
from models.checkpoints.pickled_modules import as_triple, pool5_convention
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import Budget
from models.checkpoints.pickles.resolve import resolve
from models.checkpoints.pickles.storages import Storage, StorageData, TensorValue, make_tensor
from models.checkpoints.pickles.values import printable
from models.checkpoints.pt2_schema import SCALAR_TYPES, WEIGHTS_CONFIG, TensorMeta, Weight, WeightsConfig
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.torch_archive import TorchArchive
from models.checkpoints.readers.zip_archive import is_zip, member_names
from models.config import InputSize
from models.errors import CheckpointError
from models.pooling import Pool5

WEIGHTS = f"{WEIGHTS_CONFIG.rpartition('/')[0]}/"
MAX_JSON = 4 << 20
"""Bytes of a description: ten thousand weights take 3.3 MB. JSON takes up to thirty times its bytes in memory."""
PROGRAM = re.compile(r"models/[^/]+\.json")
POOLS = 5
"""Of a C3D: the last of so many is pool5, whatever its name."""
MAX_POOL = "torch.ops.aten.max_pool3d.default"


class _Signature(msgspec.Struct):
    input_specs: list[dict[str, Any]]


class _Argument(msgspec.Struct):
    name: str
    arg: dict[str, Any]


class _Node(msgspec.Struct):
    target: str
    inputs: list[_Argument]
    metadata: dict[str, str] = {}

    @property
    def module(self) -> str:
        """The name of the module that called it: `pool5` of `L__self__,,C3D;L__self___pool5,net.pool5,MaxPool3d`."""
        _, _, called = self.metadata.get("nn_module_stack", "").rpartition(";")
        return ",".join(called.split(",")[1:2]).rpartition(".")[2]


class _Graph(msgspec.Struct):
    nodes: list[_Node]
    tensor_values: dict[str, TensorMeta]


class _GraphModule(msgspec.Struct):
    graph: _Graph
    signature: _Signature


class _Program(msgspec.Struct):
    graph_module: _GraphModule


def is_pt2(file: MappedFile) -> bool:
    """Return whether the file is an archive of `torch.export.save` with a member for each weight."""
    return is_zip(file) and any(name.endswith(f"/{WEIGHTS_CONFIG}") for name in member_names(file))


def read_pt2(file: MappedFile) -> ReadResult:
    """Read a program's parameters and buffers, and the conventions that it states.

    Raises:
        CheckpointError: damaged, truncated, beyond a limit, or a weight that is stored as a pickle.
    """
    archive = TorchArchive(file, WEIGHTS_CONFIG)
    try:
        config = msgspec.json.decode(archive.read(WEIGHTS_CONFIG, MAX_JSON) or b"", type=WeightsConfig).config
        if len(config) > MAX_TENSORS:
            raise CheckpointError(f"{len(config)} tensors: more than {MAX_TENSORS}")
        storages: dict[str, StorageData] = {}
        values: dict[str, object] = {name: _tensor(archive, name, weight, storages) for name, weight in config.items()}
        tensors = resolve(values, Budget(file.size))
        conventions = _read_conventions(archive)
    except (PickleError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CheckpointError(f"not a valid .pt2 file: {error}") from error
    return ReadResult(tensors, "pt2", conventions)


def _tensor(archive: TorchArchive, name: str, weight: Weight, storages: dict[str, StorageData]) -> TensorValue:
    dtype = SCALAR_TYPES.get(weight.tensor_meta.dtype)
    raw = archive.find(WEIGHTS + weight.path_name)
    if weight.use_pickle or dtype is None or raw is None:
        raise PickleError(f"its weight {printable(name)} is not there, or stored in a form that is not read")
    data = storages.setdefault(weight.path_name, StorageData(raw, archive.big_endian))
    meta = weight.tensor_meta
    tensor = make_tensor(Storage(data, dtype, len(raw) // dtype.itemsize), meta.offset, meta.shape, meta.stride)
    assert tensor is not None, "no dtype of SCALAR_TYPES is quantised"
    return tensor


def _read_conventions(archive: TorchArchive) -> Conventions:
    """Return what the manifest in the file states, if it has one, and what the program shows."""
    stated = archive.read_conventions()
    programs = [name for name in archive.names if PROGRAM.fullmatch(name)]
    if len(programs) != 1:
        return stated
    module = msgspec.json.decode(archive.read(programs[0], MAX_JSON) or b"", type=_Program).graph_module
    pools = [node for node in module.graph.nodes if node.target == MAX_POOL]
    named = [node for node in pools if node.module == "pool5"]
    pool5 = None
    if len(named) == 1 or (not named and len(pools) == POOLS):
        pool5 = _pool5((named or pools)[-1])
    size = _input_size(module)
    return replace(stated, pool5=pool5 or stated.pool5, input_size=size or stated.input_size)


def _pool5(node: _Node) -> Pool5 | None:
    """Return the convention of a call of max_pool3d, whose arguments are left out where they are the defaults."""
    given = {entry.name: entry.arg for entry in node.inputs}
    kernel, stride, padding = (given.get(name, {}).get("as_ints") for name in ("kernel_size", "stride", "padding"))
    ceil = given.get("ceil_mode", {}).get("as_bool", False)
    if any(step != 1 for step in given.get("dilation", {}).get("as_ints") or []):
        return None
    return pool5_convention(as_triple(kernel), as_triple(stride), as_triple(padding or [0, 0, 0]), ceil)


def _input_size(module: _GraphModule) -> InputSize | None:
    """Return the clip's size where the program's only input has a batch axis and four fixed ones."""
    match [spec["user_input"] for spec in module.signature.input_specs if spec.get("user_input") is not None]:
        case [{"arg": {"as_tensor": {"name": str(name)}}}]:
            meta = module.graph.tensor_values.get(name)
        case _:
            return None
    match None if meta is None else meta.shape:
        case [_, int(channels), int(frames), int(height), int(width)] if min(channels, frames, height, width) > 0:
            return channels, frames, height, width
        case _:
            return None
