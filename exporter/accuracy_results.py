"""How an artifact below float32 did beside its comparisons. Nothing heavy is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HeldOutAccuracy:
    """How accurate an artifact below float32 is on the clips that it must be accurate on.

    Attributes:
        clips: their number.
        required_snr_db: the lowest signal-to-noise ratio that passes, in decibels.
        snr_db: the lowest one of a clip and an output.
        input: the clip where it is lowest.
        output: the output where it is lowest.
        required_top1: the fraction of clips whose highest class must be that of float64; None without such a limit.
        top1: the share, over all outputs that are class scores; None where there are none.
    """

    clips: int
    required_snr_db: float
    snr_db: float
    input: str
    output: str
    required_top1: float | None = None
    top1: float | None = None

    def __str__(self) -> str:
        """Return `33.4 dB at least on 8 evaluation clips (a.mp4 frame 24, logits); 30 dB required`."""
        clips = f"{self.clips} evaluation clip{'s' if self.clips != 1 else ''}"
        text = f"{self.snr_db:.1f} dB at least on {clips} ({self.input}, {self.output})"
        text += f"; {self.required_snr_db:g} dB required"
        if self.top1 is not None:
            required = "" if self.required_top1 is None else f", {self.required_top1:.1%} required"
            text += f"; highest class equal on {self.top1:.1%}{required}"
        return text

    @property
    def passed(self) -> bool:
        """Whether both limits hold."""
        enough = self.required_top1 is None or self.top1 is None or self.top1 >= self.required_top1
        return self.snr_db >= self.required_snr_db and enough


@dataclass(frozen=True)
class StructureCheck:
    """Whether the graph of an artifact below float32 equals the reference where its rounding is left out.

    Attributes:
        passed: whether it does; None where that was not checked.
        reason: why it was not checked; None where it was.
        inputs: the inputs that the graph was evaluated on.
        worst: that which uses most of its budget.
        budget_used: the error there, divided by what float32 and the rounding of `weights` without an original explain.
        weights: the number of weights in fewer bits than float32.
        originals: of these, the number that are roundings of one of the reference's, which was taken in their place.
        altered: of these, the names of those that are one of the reference's changed by more than rounding.
        counts: whether the artifact fails where it differs; not where the user asks for an accuracy (`--min-snr`).
    """

    passed: bool | None
    reason: str | None = None
    inputs: tuple[str, ...] = ()
    worst: str | None = None
    budget_used: float | None = None
    weights: int = 0
    originals: int = 0
    altered: tuple[str, ...] = ()
    counts: bool = True

    @property
    def fails(self) -> bool:
        """Whether the artifact fails for it."""
        return self.passed is False and self.counts

    def __str__(self) -> str:
        """Return the result as a sentence."""
        if self.passed is None or self.budget_used is None:
            return f"not compared without rounding ({self.reason}): only the signal-to-noise ratio decides"
        evaluated = f"without its rounding it {'equals' if self.passed else 'differs from'} the reference"
        used = f"{self.budget_used:.2g} times the allowed error on {self.worst}"
        weights = f"{self.originals} of {self.weights} weights in fewer bits are the reference's, rounded"
        changed = f"; changed by more than rounding: {', '.join(self.altered)}" if self.altered else ""
        excused = "" if self.passed or self.counts else "; with --min-snr that is stated and is no failure"
        return f"{evaluated}: {used}; {weights if self.weights else 'no weight is in fewer bits'}{changed}{excused}"
