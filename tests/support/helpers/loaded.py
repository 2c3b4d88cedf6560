"""What readers return, with torch's tensors in place of their descriptions, and the other way round."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checkpoints.contents import NotBuilt, flatten
from models.checkpoints.dtypes import DTYPES
from models.checkpoints.file_tensor import FileBytes, FileTensor
from models.checkpoints.readers import read_file
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.tensors import load_tensor


def load_content(content: object) -> Any:
    """Replace every description in a tree by its tensor, in its dicts, lists and records themselves; return the tree."""
    root = [content]
    waiting: list[Any] = [root]
    seen: set[int] = set()
    while waiting:
        holder = waiting.pop()
        for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            if isinstance(value, FileTensor):
                holder[key] = load_tensor(value)
            inner = value.parts if isinstance(value, NotBuilt) else value
            if isinstance(inner, (dict, list)) and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
    return root[0]


def load_tensors(read: object) -> dict[str, Tensor]:
    """Return {path: tensor} of what was read, of the file at a path, or of a tree."""
    found = read_file(read) if isinstance(read, Path) else read
    tree = found.contents if isinstance(found, ReadResult) else flatten(found)
    return {name: load_tensor(tensor) for name, tensor in tree.tensors.items()}


def store_content(content: Any) -> Any:
    """Return a tree of dicts and lists with a description of every tensor of torch in it."""
    if isinstance(content, dict):
        return {key: store_content(value) for key, value in content.items()}
    if isinstance(content, list):
        return [store_content(value) for value in content]
    return store(content) if isinstance(content, Tensor) else content


def store(tensor: Tensor) -> FileTensor:
    """Return the description of a tensor; it shares the tensor's memory."""
    raw = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy().data
    dtype = DTYPES[str(tensor.dtype).removeprefix("torch.")]
    return FileTensor(dtype, tuple(tensor.shape), tensor.stride(), FileBytes(raw), int(tensor.storage_offset()))
