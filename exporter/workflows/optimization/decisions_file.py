"""`--decisions FILE`: the record of an earlier run: from a model that it wrote, its manifest, or `--json`'s output."""

from __future__ import annotations

from pathlib import Path

import msgspec

from exporter.errors import ArtifactError
from exporter.onnx_io.load import load_without_weights
from exporter.passes.record import RECORD_KEY, RECORD_OPTION, DecisionRecord
from models.config import MANIFEST_KEY
from models.paths import read_small_file

MAX_BYTES = 1 << 26
"""A record of a large model takes some hundred kilobytes, and `--json`'s output a few megabytes."""


def read_decisions(path: Path) -> DecisionRecord:
    """Read the record in a file.

    Args:
        path: a model (`.onnx`), its manifest, what `optimize --json` printed, or a bare record.

    Raises:
        ArtifactError: unreadable, or without a record.
    """
    if path.suffix == ".onnx":
        metadata = {entry.key: entry.value for entry in load_without_weights(path).metadata_props}
        if RECORD_KEY in metadata:
            return DecisionRecord.from_json(metadata[RECORD_KEY], str(path))
        text: str | bytes = metadata.get(MANIFEST_KEY, "{}")
    else:
        text = read_small_file(path, "file of decisions", MAX_BYTES, ArtifactError)
    return _find(text, path)


def _find(text: str | bytes, path: Path) -> DecisionRecord:
    """Return the record in a manifest, in `--json`'s output, or the record that the text is."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path}: neither JSON nor an .onnx file: {error}") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path}: holds no decisions of optimize")
    holder = msgspec.convert(found, dict[str, object])
    options = holder.get("options")
    record = holder.get(RECORD_OPTION, options.get(RECORD_OPTION) if isinstance(options, dict) else None)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(record, str):
        return DecisionRecord.from_json(record, str(path))
    if "rewritten" in holder:
        return DecisionRecord.from_json(text, str(path))
    raise ArtifactError(f"{path}: holds no decisions of optimize; a model that optimize wrote does, or its --json")
