"""Where the weights lie in the zip archives that torch writes, read without torch; nothing of them is unpickled.

A TorchScript archive describes its tensors in two pickles, `constants.pkl` and `data.pkl`, and holds each storage as a
member. The pickles are run by the checkpoint readers' machine, which calls nothing. A `.pt2` file describes them in
JSON. Sources: `torch/csrc/jit/serialization/pickler.cpp`, `torch/_export/serde/schema.py`,
`torch/export/pt2_archive/constants.py`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from exporter.engines.torch_members import open_archive
from exporter.errors import ArtifactError
from exporter.stored_tensors import StoredModel, StoredTensor
from models.checkpoints.dtypes import DType
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import Budget
from models.checkpoints.pickles.machine import Machine
from models.checkpoints.pickles.opcodes import run
from models.checkpoints.pickles.storages import STORAGES
from models.checkpoints.pickles.values import Global, UnbuiltObject
from models.checkpoints.pt2_schema import SCALAR_TYPES, WEIGHTS_CONFIG, WeightsConfig
from models.config import MANIFEST_KEY

MAX_MANIFEST_BYTES = 1 << 20
MAX_DESCRIPTION_BYTES = 1 << 26
PICKLES = {"constants.pkl": ("constants", "CONSTANTS.c"), "data.pkl": ("data", "data.")}
"""{pickle: (folder of its storages, what its tensors are called here, with their number)}."""
CONFIGS = (WEIGHTS_CONFIG, "data/constants/model_constants_config.json")
_REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
_LOCAL_HEADER, _NAME_LENGTH, _EXTRA_LENGTH = 30, slice(26, 28), slice(28, 30)


WeightsForm = Literal["script", "program", "hidden"]
"""How an archive describes its weights: as a TorchScript archive, as a `.pt2` file, or not at all."""


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
        self, name: str, member: str, dtype: DType, offset: int, shape: list[int], strides: list[int]
    ) -> StoredTensor:
        """Return a tensor that is a view of a storage."""
        info = self.members.get(member)
        if info is None or info.compress_type != zipfile.ZIP_STORED:
            raise ArtifactError(f"{self.path}: the values of {name} are not in {member}")
        size = dtype.itemsize
        span = size * (1 + sum((length - 1) * step for length, step in zip(shape, strides, strict=True)))
        if any(length < 1 for length in shape):
            span = 0
        if min((offset, span, *strides), default=0) < 0 or offset * size + span > info.file_size:
            raise ArtifactError(f"{self.path}: {member} does not hold the values of {name}")
        begin = self._find_begin(info) + offset * size
        return StoredTensor(name, dtype.name, tuple(shape), self.path, begin, span, None, tuple(strides), size)

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
    except (PickleError, msgspec.MsgspecError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: not a whole {kind}, as torch writes it: {error}") from error


def _script_tensors(archive: _Archive) -> Iterator[StoredTensor]:
    for pickle, (folder, prefix) in PICKLES.items():
        for number, (key, storage, offset, shape, strides) in enumerate(_tensors(archive.read(pickle))):
            if storage not in STORAGES or STORAGES[storage].quantised:
                raise ArtifactError(f"{archive.path}: its tensor {prefix}{number} has an unknown type, {storage}")
            yield archive.tensor(f"{prefix}{number}", f"{folder}/{key}", STORAGES[storage], offset, shape, strides)


def _program_tensors(archive: _Archive) -> Iterator[StoredTensor]:
    for config in CONFIGS:
        text = archive.read(config)
        stated = {} if text is None else msgspec.json.decode(text, type=WeightsConfig).config
        for name, weight in stated.items():
            meta = weight.tensor_meta
            sizes, strides = ([size for size in sizes if size is not None] for sizes in (meta.shape, meta.stride))
            if (
                weight.use_pickle
                or meta.dtype not in SCALAR_TYPES
                or meta.offset is None
                or len(sizes) < len(meta.sizes)
            ):
                raise ArtifactError(f"{archive.path}: its weight {name} is stored in a form that is not read here")
            member = f"{config.rpartition('/')[0]}/{weight.path_name}"
            yield archive.tensor(name, member, SCALAR_TYPES[meta.dtype], meta.offset, sizes, strides)


class _TensorCalls:
    """What a pickle gets for its calls: nothing, but the tensors among them are listed."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, int, list[int], list[int]]] = []

    def refer(self, module: str, name: str) -> Global:
        return Global(module, name)

    def call(self, function: object, arguments: list[Any]) -> object:
        if function == _REBUILD:
            (_, storage, key, *_), offset, shape, strides, *_ = arguments
            self.found.append((str(key), storage.name, int(offset), [*shape], [*strides]))
        return UnbuiltObject(str(function))

    def build(self, target: object, state: object) -> None:
        pass


def _tensors(pickle: bytes | None) -> list[tuple[str, str, int, list[int], list[int]]]:
    """Return (key of the storage, its class, offset, shape, strides) of each tensor in a pickle, in order."""
    calls = _TensorCalls()
    if pickle is not None:
        run(Machine(memoryview(pickle), 0, Budget(len(pickle)), calls, lambda identifier: identifier))
    return calls.found
