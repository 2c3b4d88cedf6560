"""What a self-test was asked for and what it found. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["caught", "below", "missed", "refused"]
"""`below`: in float64 too the fault stays within the budget on every input, so no float32 check could catch it.
`refused`: the engine does not run the faulty copy, which is no verdict on the checker."""

Located = Literal["layer", "between", "elsewhere"]
"""`between`: the layer is among those that the faulty graph does not show, right in front of the one named."""


@dataclass(frozen=True)
class SelfTestOptions:
    """How to test the checker.

    Attributes:
        quick: one place of each kind of fault instead of all.
        localize: also find out whether the layer of each fault caught is named.
        only: kinds whose name contains this text, in any case; None for all.
        seed: of the inputs, and of the faults that draw.
        clean_runs: how many further inputs the sound artifact is run on; None takes the usual number.
    """

    quick: bool = False
    localize: bool = False
    only: str | None = None
    seed: int = 0
    clean_runs: int | None = None


@dataclass(frozen=True)
class FaultResult:
    """One fault, planted in a copy of the artifact.

    Attributes:
        kind: of the table.
        imitates: the mistake it stands for.
        where: the layer or value it was planted at.
        outcome: whether the checker caught it.
        input: the batch that decided.
        share: how much of the budget the faulty copy used there, inf for numbers that are not finite.
        exact_share: the same of the faulty copy in float64, the most of any input; None where it was caught.
        located: whether localisation named the layer; None where it was not asked for, or no layer is to blame.
        named: the layer it named.
        reason: why the engine refused it.
    """

    kind: str
    cause: str
    where: str
    outcome: Outcome
    input: str
    budget_used: float
    exact_share: float | None = None
    located: Located | None = None
    named: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class CleanRuns:
    """The sound artifact, which no alarm may be raised for.

    Attributes:
        runs: batches it was judged on.
        alarms: those that failed, as `name, seed`.
        worst_share: the most of the budget that one of them used.
    """

    runs: int
    false_positives: tuple[str, ...]
    worst_share: float


@dataclass(frozen=True)
class SelfTestReport:
    """Whether the checker can be believed on one artifact.

    Attributes:
        artifact: its path.
        runtime: the engine and its version.
        tolerance: the rule of the budget, in words.
        inputs: what the faults had to show on.
        kinds: how many kinds of fault apply to the artifact.
        faults: a verdict each, in the order of the table.
        clean: the sound artifact.
        seconds: by phase.
        environment: versions, processor, system.
    """

    artifact: str
    runtime: str
    tolerance: str
    inputs: tuple[str, ...]
    kinds: int
    faults: tuple[FaultResult, ...]
    clean: CleanRuns
    seconds: dict[str, float]
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def passed(self) -> bool:
        """Every fault above the budget was caught, at least one was, and no clean run raised an alarm."""
        return bool(self.of("caught")) and not self.of("missed") and not self.clean.false_positives

    def of(self, outcome: Outcome) -> tuple[FaultResult, ...]:
        """Return the faults with one outcome."""
        return tuple(fault for fault in self.faults if fault.outcome == outcome)

    def located(self, how: Located) -> int:
        """Return how many faults were located that way."""
        return sum(fault.located == how for fault in self.faults)
