"""Reads the weights of a TorchScript archive, which `torch.jit.script` or `torch.jit.trace` made; its code never runs.

`data.pkl` describes the module as a pickled `torch.nn.Module` is described: attributes by their names, tensors in
storages. Its classes are text beside it. That of a `MaxPool3d` states its windows and padding: pool5's convention.
Source: PyTorch's notes on TorchScript serialization.
"""

from __future__ import annotations

import json
import re
from typing import cast

from models.checkpoints.contents import NotBuilt
from models.checkpoints.pickled_modules import MAX_POOL
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.torch_archive import PICKLE, TorchArchive
from models.checkpoints.readers.zip_archive import is_zip, member_names
from models.errors import CheckpointError

CONSTANTS = "constants.pkl"
"""A member that TorchScript archives have and others do not."""
MAX_CODE = 1 << 16
"""Bytes of the text of a pool's class, which has less than a thousand."""
MAX_LINE = 200
"""Characters of the line with the call, which has less than a hundred."""
MAX_POOLS = 256
POOL_CLASS = re.compile(r"__torch__\.torch\.nn\.modules\.pooling\.(?:___torch_mangle_[0-9]+\.)?MaxPool3d")
_SIZES = r"(\[[0-9]{1,9}, [0-9]{1,9}, [0-9]{1,9}\])"
POOL_CALL = re.compile(rf"\w+\(\w+, {_SIZES}, {_SIZES}, {_SIZES}, \[1, 1, 1\](?:, (True|False))?[,)]")
"""`max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode)`; a trace leaves out what is the default."""


def is_torchscript(file: MappedFile) -> bool:
    """Return whether the file is an archive that TorchScript wrote."""
    return is_zip(file) and any(f"/{name}".endswith(f"/{CONSTANTS}") for name in member_names(file))


def read_torchscript(file: MappedFile) -> ReadResult:
    """Read the parameters and buffers of the module in an archive, under its own names.

    Raises:
        CheckpointError: damaged, truncated, beyond a limit, or without named tensors.
    """
    archive = TorchArchive(file, PICKLE)
    try:
        read = archive.read_pickle()
    except PickleError as error:
        raise CheckpointError(f"not a valid TorchScript archive: {error}") from error
    _describe_pools(archive, read.content)
    stated = archive.read_conventions()
    result = ReadResult(read.content, "TorchScript", stated, not_built=read.not_built, hazards=read.hazards)
    if not result.tensors:
        raise CheckpointError(
            "a TorchScript archive whose weights have no names (torch.jit.freeze and "
            "optimize_for_inference make constants of them); give the checkpoint that it was made from"
        )
    return result


def _describe_pools(archive: TorchArchive, content: object) -> None:
    """Give each pool of the module the attributes that a pickled `MaxPool3d` has, as its class states them."""
    waiting, seen = [content], {id(content)}
    attributes: dict[str, dict[str, object] | None] = {}
    while waiting:
        node = waiting.pop()
        if isinstance(node, NotBuilt):
            name = node.name
            if POOL_CLASS.fullmatch(name) and name not in attributes and len(attributes) < MAX_POOLS:
                attributes[name] = _pool_attributes(archive, name)
            if (stated := attributes.get(name)) is not None:
                node.name = MAX_POOL
                node.parts.append(stated)
            inner = node.parts
        elif isinstance(node, dict):
            inner = list(cast("dict[object, object]", node).values())
        else:
            inner = cast("list[object]", node) if isinstance(node, list) else []
        for part in inner:
            if isinstance(part, (dict, list, NotBuilt)) and id(cast("object", part)) not in seen:
                seen.add(id(cast("object", part)))
                waiting.append(cast("object", part))


def _pool_attributes(archive: TorchArchive, name: str) -> dict[str, object] | None:
    """Return the attributes of a pool by the text of its class; None where that is not as torch writes it."""
    module, _, cls = name.rpartition(".")
    text = archive.read(f"code/{module.replace('.', '/')}.py", MAX_CODE) or b""
    _, _, after = text.decode(errors="replace").partition(f"class {cls}(")
    lines = after.partition("\nclass ")[0].splitlines()
    calls = [found.groups() for line in lines if len(line) <= MAX_LINE and (found := POOL_CALL.search(line))]
    if len(calls) != 1:
        return None
    kernel, stride, padding, ceil = calls[0]
    return {
        "kernel_size": json.loads(kernel),
        "stride": json.loads(stride),
        "padding": json.loads(padding),
        "ceil_mode": ceil == "True",
    }
