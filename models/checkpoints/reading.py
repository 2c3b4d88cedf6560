"""From a path or an address to the tensors in the file and the network among them: all of it without torch."""

from __future__ import annotations

from pathlib import Path

from models.checkpoints.detection import LayoutMatch, select_layouts
from models.checkpoints.key_map import parse_key_map
from models.checkpoints.networks import find_networks, name_layers
from models.checkpoints.readers import read_file
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.selection import Candidate, choose
from models.checkpoints.sources import ResolvedSource, is_remote, resolve
from models.errors import CheckpointError, naming
from models.options import WeightSelection
from models.progress import Progress, no_progress


def check_ahead(
    source: str | Path,
    layout: str,
    selection: WeightSelection,
    sha256: str | None = None,
    progress: Progress = no_progress,
) -> None:
    """Refuse a file that holds no network to load, before torch is imported; `read_raw` then takes what was read here.

    Args:
        source: as for `read_checkpoint`.
        layout: an origin's name, or `auto`.
        selection: which of its tensors are the network's.
        sha256: the hash that the file must have.
        progress: called while something is downloaded.

    Raises:
        CheckpointError, UsageError, UnavailableError: as `read_checkpoint`.
    """
    select_layouts(layout)
    parse_key_map(selection.key_map)
    file, raw = read_raw(source, progress, sha256, ahead=True)
    with naming(file.path):
        find_network(name_layers(raw, layout, parse_key_map(selection.key_map)), layout, selection)


def read_raw(
    source: str | Path, progress: Progress = no_progress, sha256: str | None = None, *, ahead: bool = False
) -> tuple[ResolvedSource, ReadResult]:
    """Find a checkpoint, download it if need be, and read what it holds under its own names.

    Args:
        source: as for `read_checkpoint`.
        progress: called while something is downloaded.
        sha256: the hash that the file must have.
        ahead: keep what was read for the next call, see `read_file`.

    Raises:
        CheckpointError: not available, unreadable, or not the file that its SHA-256 names.
        UsageError: an unsupported type of address.
        UnavailableError: a library is missing that reads such files or fetches from there.
    """
    file = resolve(source, progress, sha256)
    try:
        raw = read_file(file.path, ahead=ahead)
    except CheckpointError as error:
        if not file.cached:
            raise
        raise CheckpointError(f"{error}; it was downloaded: remove {file.path} to download it again") from error
    _check_hash(file, raw, source)
    return file, raw


def _check_hash(file: ResolvedSource, raw: ReadResult, source: str | Path) -> None:
    if file.sha256 is not None and raw.sha256 != file.sha256:
        raise CheckpointError(
            f"{file.path}: has the wrong hash: SHA-256 {raw.sha256[:16]}…, not {file.sha256[:16]}…"
            + ("; remove it to download it again" if is_remote(source) else "")
        )


def find_network(
    raw: ReadResult, layout: str, selection: WeightSelection
) -> tuple[tuple[Candidate, ...], Candidate, LayoutMatch]:
    """Return the networks in a file, the one of them that is selected, and its layout.

    Raises:
        CheckpointError: of no known origin, of several that only `layout` can distinguish, or several networks of
            which none is the usual one.
        UsageError: no such layout, key or prefix, or a key map of names that the file has not.
    """
    candidates = find_networks(raw, layout, parse_key_map(selection.key_map))
    chosen = choose(candidates, selection)
    return candidates, chosen, chosen.match
