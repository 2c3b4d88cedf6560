"""Where the weights lie in the zip archives that torch writes, read without torch; nothing of them is unpickled.

A TorchScript archive describes its tensors in two pickles, `constants.pkl` and `data.pkl`, and holds each storage as a
member. `_tensors` follows the few opcodes that torch's C++ pickler writes for tensors and builds no object. A `.pt2`
file describes them in JSON. Sources: `torch/csrc/jit/serialization/pickler.cpp`, `torch/_export/serde/schema.py`,
`torch/export/pt2_archive/constants.py`.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from exporter.engines.torch_members import open_archive
from exporter.errors import ArtifactError
from exporter.stored_tensors import StoredModel, StoredTensor
from models.config import MANIFEST_KEY

MAX_MANIFEST_BYTES = 1 << 20
MAX_DESCRIPTION_BYTES = 1 << 26
PICKLES = {"constants.pkl": ("constants", "CONSTANTS.c"), "data.pkl": ("data", "data.")}
"""{pickle: (folder of its storages, what its tensors are called here, with their number)}."""
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
STORAGE_DTYPES: Mapping[str, tuple[str, int]] = {
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}
"""{class of a storage: (dtype, bytes of a value)}."""
SCALAR_TYPES: Mapping[int, tuple[str, int]] = {
    1: ("uint8", 1),
    2: ("int8", 1),
    3: ("int16", 2),
    4: ("int32", 4),
    5: ("int64", 8),
    6: ("float16", 2),
    7: ("float32", 4),
    8: ("float64", 8),
    12: ("bool", 1),
    13: ("bfloat16", 2),
}
"""{`torch._export.serde.schema.ScalarType`: (dtype, bytes of a value)}."""
_REBUILD = "torch._utils _rebuild_tensor_v2"
_LOCAL_HEADER, _NAME_LENGTH, _EXTRA_LENGTH = 30, slice(26, 28), slice(28, 30)
_MARK = object()


WeightsForm = Literal["script", "program", "hidden"]
"""How an archive describes its weights: as a TorchScript archive, as a `.pt2` file, or not at all."""


class _Int(msgspec.Struct):
    as_int: int


class _Meta(msgspec.Struct):
    dtype: int
    sizes: list[_Int]
    strides: list[_Int]
    storage_offset: _Int


class _Weight(msgspec.Struct):
    path_name: str
    use_pickle: bool
    tensor_meta: _Meta


class _Config(msgspec.Struct):
    config: dict[str, _Weight]


class _Archive:
    """A zip archive of torch: its members by their names without the archive's folder."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive
        self.members = {info.filename.partition("/")[2]: info for info in archive.infolist()}

    def read(self, name: str, most: int = MAX_DESCRIPTION_BYTES) -> bytes | None:
        """Return a member's bytes; None where there is none."""
        info = self.members.get(name)
        if info is None:
            return None
        if info.file_size > most:
            raise ArtifactError(f"{self.path}: its member {name} is too large")
        return self.archive.read(info)

    def tensor(
        self, name: str, member: str, kind: tuple[str, int], offset: int, shape: list[int], strides: list[int]
    ) -> StoredTensor:
        """Return a tensor that is a view of a storage."""
        info = self.members.get(member)
        if info is None or info.compress_type != zipfile.ZIP_STORED:
            raise ArtifactError(f"{self.path}: the values of {name} are not in {member}")
        dtype, size = kind
        span = size * (1 + sum((length - 1) * step for length, step in zip(shape, strides, strict=True)))
        if any(length < 1 for length in shape):
            span = 0
        if min((offset, span, *strides), default=0) < 0 or offset * size + span > info.file_size:
            raise ArtifactError(f"{self.path}: {member} does not hold the values of {name}")
        begin = self._find_begin(info) + offset * size
        return StoredTensor(name, dtype, tuple(shape), self.path, begin, span, None, tuple(strides), size)

    def _find_begin(self, info: zipfile.ZipInfo) -> int:
        stream = self.archive.fp
        assert stream is not None
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL_HEADER)
        lengths = (int.from_bytes(header[part], "little") for part in (_NAME_LENGTH, _EXTRA_LENGTH))
        return info.header_offset + _LOCAL_HEADER + sum(lengths)


def read_stored_archive(path: Path, kind: str, weights: WeightsForm) -> StoredModel:
    """Return the manifest in an archive of torch, and its weights.

    Args:
        path: the archive.
        kind: what it should be, for messages: `TorchScript archive`.
        weights: how it describes them.

    Raises:
        ArtifactError: it cannot be read, is damaged, or not as torch writes it.
    """
    listers = {"script": _script_tensors, "program": _program_tensors}
    try:
        with open_archive(path, kind) as opened:
            archive = _Archive(path, opened)
            found = None if weights == "hidden" else tuple(listers[weights](archive))
            manifest = archive.read(f"extra/{MANIFEST_KEY}", MAX_MANIFEST_BYTES)
            return StoredModel(None if manifest is None else manifest.decode(), found)
    except (msgspec.MsgspecError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: not a whole {kind}, as torch writes it: {error}") from error


def _script_tensors(archive: _Archive) -> Iterator[StoredTensor]:
    for pickle, (folder, prefix) in PICKLES.items():
        for number, (key, storage, offset, shape, strides) in enumerate(_tensors(archive.read(pickle) or b"")):
            if storage not in STORAGE_DTYPES:
                raise ArtifactError(f"{archive.path}: its tensor {prefix}{number} has an unknown type, {storage}")
            yield archive.tensor(
                f"{prefix}{number}", f"{folder}/{key}", STORAGE_DTYPES[storage], offset, shape, strides
            )


def _program_tensors(archive: _Archive) -> Iterator[StoredTensor]:
    for config in CONFIGS:
        text = archive.read(config)
        stated = {} if text is None else msgspec.json.decode(text, type=_Config).config
        for name, weight in stated.items():
            meta = weight.tensor_meta
            if weight.use_pickle or meta.dtype not in SCALAR_TYPES:
                raise ArtifactError(f"{archive.path}: its weight {name} is stored in a form that is not read here")
            sizes, strides = ([number.as_int for number in numbers] for numbers in (meta.sizes, meta.strides))
            member = f"{config.rpartition('/')[0]}/{weight.path_name}"
            yield archive.tensor(name, member, SCALAR_TYPES[meta.dtype], meta.storage_offset.as_int, sizes, strides)


_EMPTY = {"EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "NONE", "NEWTRUE", "NEWFALSE"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_DROPS = {"APPEND": 1, "BUILD": 1, "SETITEM": 2, "PROTO": 0, "FRAME": 0, "STOP": 0}
"""{opcode: how many values it takes off the stack, for good}."""


def _tensors(pickle: bytes) -> Iterator[tuple[str, str, int, list[int], list[int]]]:
    """Yield (key of the storage, its class, offset, shape, strides) of each tensor in a pickle, in order.

    What is no tensor is passed over: names stay strings, calls and objects are not made.
    """
    stack = _Stack()
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.values.pop(), stack.values.pop()
            stack.values.append(None)
            if function == _REBUILD:
                (_, (_, storage, key, *_)), offset, shape, strides, *_ = arguments
                yield str(key), str(storage).rpartition(" ")[2], int(offset), [*shape], [*strides]
        else:
            stack.step(opcode.name, argument)


class _Stack:
    def __init__(self) -> None:
        self.values: list[Any] = []
        self.memo: dict[Any, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        values = self.values
        if name in _DROPS:
            del values[len(values) - _DROPS[name] :]
        elif name in _TUPLES:
            values[-_TUPLES[name] :] = [tuple(values[-_TUPLES[name] :])]
        elif name in ("TUPLE", "LIST", "APPENDS", "SETITEMS"):
            start = len(values) - 1 - values[::-1].index(_MARK)
            items = tuple(values[start + 1 :])
            values[start:] = [items] if name in ("TUPLE", "LIST") else []
        elif name.endswith("BINPUT"):
            self.memo[argument] = values[-1]
        elif name.endswith("BINGET"):
            values.append(self.memo[argument])
        elif name == "BINPERSID":
            values[-1] = ("storage", values[-1])
        else:
            values.append(_MARK if name == "MARK" else () if name in _EMPTY else argument)
