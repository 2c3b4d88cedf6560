"""What `optimize` decided by measuring: a record inside the file, with which a later run decides the same.

The same model, options, record and versions give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from exporter.errors import ArtifactError
from exporter.types import OptimizeOptions

RECORD_KEY = "c3d_export.decisions"
"""The record's key in the metadata of a model without a manifest."""
RECORD_OPTION = "recorded_decisions"
"""Its key among a manifest's options, and in `optimize --json`."""
RECORD_VERSION = 1


@dataclass(frozen=True)
class DecisionRecord:
    """The decisions of one run that depend on the machine, or on which candidates passed.

    Attributes:
        rewritten: the rewritten model was kept; otherwise it was not faster, and the original was kept.
        max_tile: the largest Winograd tile that passed parity; 1 where none did.
        autotune: variants were chosen by their measured times.
        raise_opset: an old opset was converted.
        times: {hash of the variants of a node: {variant: milliseconds}}.
        version: of this record's format.
        structure: `onnx_io.structure.structure_digest` of the model; empty in records that do not state it.
    """

    rewritten: bool
    max_tile: int
    autotune: bool
    raise_opset: bool
    times: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    version: int = RECORD_VERSION
    structure: str = ""

    def apply(self, options: OptimizeOptions) -> OptimizeOptions:
        """Return the user's options with what the record decides."""
        return replace(options, max_tile=self.max_tile, autotune=self.autotune)

    def to_json(self) -> str:
        """Return the record in one line of JSON, keys sorted."""
        return msgspec.json.encode(self, order="sorted").decode()

    @staticmethod
    def from_json(text: str | bytes, where: str) -> DecisionRecord:
        """Parse a record.

        Raises:
            ArtifactError: not a record of this version.
        """
        try:
            record = msgspec.json.decode(text, type=DecisionRecord)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ArtifactError(f"{where}: not the decisions of optimize: {error}") from error
        if record.version != RECORD_VERSION:
            raise ArtifactError(f"{where}: decisions of version {record.version}; this release reads {RECORD_VERSION}")
        return record
