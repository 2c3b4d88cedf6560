"""Reads a checkpoint in shards: the index, and all files that it names, safetensors or what `torch.save` wrote.

The index only says which files there are. A tensor is taken from the file that holds it, and the index has to agree.
"""

from __future__ import annotations

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.file_tensor import FileTensor
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.safetensors import is_safetensors, read_safetensors
from models.checkpoints.readers.torch import is_pickle, is_torch, read_torch
from models.checkpoints.shards import MAX_INDEX, WEIGHT_MAP, parse_index
from models.errors import CheckpointError, count, join_limited, naming


def is_index(file: MappedFile) -> bool:
    """Return whether the file is JSON with the table that says which file holds which tensor."""
    head = file.data[:MAX_INDEX]
    return head.lstrip().startswith(b"{") and WEIGHT_MAP in head


def read_shards(file: MappedFile) -> ReadResult:
    """Read all shards of an index.

    Raises:
        CheckpointError: a shard is not beside the index, or is refused by its reader; a tensor is in two shards, or
            not in the one that the index names; beyond a limit.
    """
    places = parse_index(file.data[: MAX_INDEX + 1])
    shards = {name: _read(file, name) for name in sorted(set(places.values()))}
    tensors: dict[str, FileTensor] = {}
    holders: dict[str, str] = {}
    for shard, read in shards.items():
        for name, tensor in read.tensors.items():
            if name in tensors:
                raise CheckpointError(f"{name} is in two of its shards, {holders[name]} and {shard}")
            tensors[name], holders[name] = tensor, shard
        if len(tensors) > MAX_TENSORS:
            raise CheckpointError(f"{len(tensors)} tensors: more than {MAX_TENSORS}")
    if wrong := [name for name, shard in places.items() if holders.get(name) != shard]:
        raise CheckpointError(
            f"its index names {places[wrong[0]]} for {join_limited(wrong)}, which that file does not hold"
        )
    (container, *_) = [read.container for read in shards.values()]
    return ReadResult(
        tensors,
        f"{container}, {count(len(shards), 'shard')}",
        others=tuple(file.others[name] for name in shards),
        not_built=tuple(sorted({name for read in shards.values() for name in read.not_built})),
        hazards=tuple(sorted({name for read in shards.values() for name in read.hazards})),
    )


def _read(file: MappedFile, name: str) -> ReadResult:
    shard = file.beside(name)
    if shard is None:
        raise CheckpointError(f"its shard {name} is not beside it")
    with naming(name):
        if is_safetensors(shard):
            return read_safetensors(shard)
        if is_torch(shard) or is_pickle(shard):
            return read_torch(shard)
        raise CheckpointError("neither a safetensors file nor one of torch.save")
