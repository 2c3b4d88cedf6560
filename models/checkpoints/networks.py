"""Which networks a checkpoint file holds, by the names and shapes of its tensors."""

from __future__ import annotations

from pathlib import Path

from models.checkpoints.detection import detect_networks, select_layouts
from models.checkpoints.key_map import KeyMap
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.selection import Candidate, find_candidates
from models.checkpoints.unbuilt import check_unbuilt_weights, describe_empty, describe_unknown
from models.checkpoints.unsupported import identify_unsupported
from models.errors import CheckpointError, UsageError, join_limited


def find_networks(path: Path, raw: ReadResult, layout: str, key_map: KeyMap) -> tuple[Candidate, ...]:
    """Return the file's networks of a layout, at least one.

    Raises:
        CheckpointError: there is none.
        UsageError: no such layout, or a key map of names that the file has not.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in raw.tensors.items()}
    if unused := key_map.unused(shapes):
        have = join_limited(shapes, 4)
        raise UsageError(f"{path}: --key-map {unused[0]}: the file has no such layer or tensor; it has {have}")
    networks = detect_networks(shapes, select_layouts(layout), raw.container, key_map, raw.content)
    candidates = find_candidates(raw.contents, networks)
    other = None if any(one.matches[0].fits for one in candidates) else identify_unsupported(shapes)
    if other is not None:
        raise CheckpointError(f"{path}: {other}")
    if not candidates or not all(one.matches[0].fits for one in candidates):
        check_unbuilt_weights(path, raw)
    if not shapes:
        raise CheckpointError(f"{path}: {describe_empty(raw)}")
    if not candidates:
        raise CheckpointError(f"{path}: {describe_unknown(shapes, layout)}")
    return candidates
