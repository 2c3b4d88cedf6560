"""What passes decided: a row for each node that a pass considered."""

from __future__ import annotations

from dataclasses import dataclass

UNCHANGED, UNDONE = "left", "undone"
"""Actions: of a node that stays as it is, and of a pass that failed."""
UNDONE_OPERATOR = "graph pass"
"""What stands for the operator in the row of a pass that was undone."""
RAISE_OPSET = "raise-opset"
"""The pass that converts a model to a newer opset."""
FIX_SIZES = "fix the model's sizes with --shape"
"""The remedy where a free size is in the way."""


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
