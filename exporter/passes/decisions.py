"""What passes decided: a row for each node that a pass considered, and a line for each reason why nodes stayed.

What `optimize` decided by measuring is recorded inside the file, and a later run decides the same by the record: the
same model, options, record and versions give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from exporter.errors import ArtifactError
from exporter.types import OptimizeOptions

UNCHANGED, UNDONE = "left", "undone"
"""Actions: of a node that stays as it is, and of a pass that failed."""
UNDONE_OPERATOR = "graph pass"
"""What stands for the operator in the row of a pass that was undone."""
RAISE_OPSET = "raise-opset"
"""The pass that converts a model to a newer opset."""
FIX_SIZES = "fix the model's sizes with --shape"
"""The remedy where a dynamic size is in the way."""
DETAILS = re.compile(r": \(.*\)$|\d+(\.\d+)? ms")
"""What differs between nodes with the same reason: a shape, a time."""
RECORD_KEY = "c3d_export.decisions"
"""The record's key in the metadata of a model without a manifest."""
RECORD_OPTION = "recorded_decisions"
"""Its key among a manifest's options, and in `optimize --json`."""
RECORD_VERSION = 1


class Refusal(str):
    """The reason why a node stays as it is, with what the user can do about it.

    Attributes:
        remedy: what to do, in a few words; empty where nothing helps.
    """

    remedy: str

    def __new__(cls, reason: str, remedy: str = "") -> Refusal:
        """Return the reason as a string that carries its remedy."""
        made = super().__new__(cls, reason)
        made.remedy = remedy
        return made


@dataclass(frozen=True)
class Decision:
    """What a pass did with one node, or why it did nothing: a row of `--explain`.

    Attributes:
        node: the node's name.
        operator: the node's operator.
        action: what was done, in a word or two.
        reason: the reason, in a sentence.
        predicted_ms: the predicted time of the chosen variant, in milliseconds.
        measured_ms: its measured time.
        error: the largest error that it adds, relative to the largest value: of the layer's outputs if its operators
            changed, of its weights if these changed.
        replaces: this decision replaces what an earlier pass decided about the node.
        remedy: what the user can do so that more is rewritten; empty where nothing helps.
    """

    node: str
    operator: str
    action: str
    reason: str
    predicted_ms: float | None = None
    measured_ms: float | None = None
    error: float | None = None
    replaces: bool = False
    remedy: str = ""

    @property
    def unchanged(self) -> bool:
        """Whether the node, or the model of a pass that was undone, is as it was."""
        return self.action.startswith(("direct", UNCHANGED, UNDONE))

    def __str__(self) -> str:
        """Return `conv2 (Conv): winograd, measured 68.1 ms`."""
        times = (("predicted", self.predicted_ms), ("measured", self.measured_ms))
        reported = [f"{what} {time:.3g} ms" for what, time in times if time is not None]
        return ", ".join((f"{self.node} ({self.operator}): {self.action}", *reported))


@dataclass(frozen=True)
class UnchangedReason:
    """A reason that several nodes share.

    Attributes:
        count: nodes that stayed as they are for it.
        operator: their operator.
        reason: the reason.
        remedy: what the user can do; empty where nothing helps.
        example: one of them.
    """

    count: int
    operator: str
    reason: str
    remedy: str
    example: str

    @property
    def undone(self) -> bool:
        """Whether it is the reason why a pass was undone."""
        return self.operator == UNDONE_OPERATOR

    def __str__(self) -> str:
        """Return `2 Conv: its weights are not constant (export the network in evaluation mode)`."""
        subject = f"{self.example} was undone" if self.undone else f"{self.count} {self.operator}"
        return f"{subject}: {self.reason}{f' ({self.remedy})' if self.remedy else ''}"


def summarise_unchanged(decisions: Sequence[Decision]) -> tuple[UnchangedReason, ...]:
    """Group the decisions that left a node unchanged: undone passes, then those with a remedy, then by count."""
    groups: dict[tuple[str, str, str], list[Decision]] = {}
    for row in decisions:
        if row.unchanged:
            subject = row.node if row.operator == UNDONE_OPERATOR else ""
            groups.setdefault((subject, row.operator, DETAILS.sub("", row.reason)), []).append(row)
    reasons = [
        UnchangedReason(len(rows), operator, _reason(rows[0]), rows[0].remedy, rows[0].node)
        for (_, operator, _), rows in groups.items()
    ]
    return tuple(sorted(reasons, key=lambda row: (not row.undone, not row.remedy, -row.count)))


def _reason(row: Decision) -> str:
    """Return a decision's reason, with the time of the node as it is where its variants were measured."""
    return row.reason if row.measured_ms is None else f"{row.reason}; as it is {row.measured_ms:.3g} ms"


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
