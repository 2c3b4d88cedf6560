"""Options and results of the self-test. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["detected", "below_tolerance", "undetected", "invalid"]
"""`below_tolerance`: in float64 too the fault stays within the error budget on every input, so no float32 check can
detect it. `invalid`: the engine does not run the faulty copy, which says nothing about the check."""

Located = Literal["layer", "between", "elsewhere"]
"""`between`: the layer is not visible in the faulty graph, and the layer named is the first visible one after it."""


@dataclass(frozen=True)
class SelfTestOptions:
    """How to test the parity check.

    Attributes:
        quick: inject each fault type at one position instead of all.
        localize: also find out whether the layer of each detected fault is named.
        only: fault types whose name contains this text, case ignored; None for all.
        seed: seed of the random inputs and faults.
        clean_runs: how many further inputs the original artifact is run on; None for the default number.
    """

    quick: bool = False
    localize: bool = False
    only: str | None = None
    seed: int = 0
    clean_runs: int | None = None


@dataclass(frozen=True)
class FaultResult:
    """One fault, injected into a copy of the artifact.

    Attributes:
        kind: the name of its fault type.
        cause: the mistake that it imitates.
        where: the layer or value it was injected at.
        outcome: whether the check detected it.
        input: the batch that decided the outcome.
        budget_used: the part of the error budget that the faulty copy used there; inf for non-finite values.
        float64_budget_used: the same for the faulty copy in float64, the largest of any input; None if it was detected.
        located: whether localisation named the layer; None if it was not asked for, or no layer causes the fault.
        named: the layer that localisation named.
        reason: why the engine refused it.
    """

    kind: str
    cause: str
    where: str
    outcome: Outcome
    input: str
    budget_used: float
    float64_budget_used: float | None = None
    located: Located | None = None
    named: str | None = None
    reason: str | None = None


class FaultList:
    """Has a result for each fault of one network."""

    faults: tuple[FaultResult, ...]

    def of(self, outcome: Outcome) -> tuple[FaultResult, ...]:
        """Return the faults with one outcome."""
        return tuple(fault for fault in self.faults if fault.outcome == outcome)


@dataclass(frozen=True)
class CleanRuns:
    """Runs of the original artifact, none of which may fail.

    Attributes:
        runs: how many comparisons were made.
        false_positives: those that failed, as `input, output`.
        max_budget_used: the largest part of the error budget that one of them used.
    """

    runs: int
    false_positives: tuple[str, ...]
    max_budget_used: float


@dataclass(frozen=True)
class SampleResult(FaultList):
    """What the self-test found on one of its own small networks, which end in labels, masks and indices.

    Attributes:
        name: what the network is.
        repeatable: whether it returns the same twice; one that does not must be refused.
        accepted: whether the network without a fault passes.
        refusal: why the check gives no result; None where it does.
        faults: a result for each fault.
    """

    name: str
    repeatable: bool
    accepted: bool
    refusal: str | None
    faults: tuple[FaultResult, ...] = ()

    @property
    def passed(self) -> bool:
        """The network passes and no fault was undetected; one that draws random numbers was refused."""
        if not self.repeatable:
            return self.refusal is not None
        return self.accepted and not self.of("undetected")


@dataclass(frozen=True)
class SelfTestReport(FaultList):
    """What the self-test found on one artifact.

    Attributes:
        artifact: its path.
        runtime: the engine and its version.
        tolerance: a description of the tolerance.
        inputs: names of the inputs that the faulty copies were run on.
        fault_types: how many fault types apply to the artifact.
        faults: a result for each, in the order of the table.
        clean: runs of the original artifact.
        seconds: {phase: seconds}.
        environment: versions, processor, system.
        samples: the results on the self-test's own small networks.
    """

    artifact: str
    runtime: str
    tolerance: str
    inputs: tuple[str, ...]
    fault_types: int
    faults: tuple[FaultResult, ...]
    clean: CleanRuns
    seconds: dict[str, float]
    environment: dict[str, str] = field(default_factory=dict[str, str])
    samples: tuple[SampleResult, ...] = ()

    @property
    def passed(self) -> bool:
        """At least one fault was detected, none was undetected, no run of the original failed, every sample passed."""
        own = bool(self.of("detected")) and not self.of("undetected") and not self.clean.false_positives
        return own and all(sample.passed for sample in self.samples)

    def located(self, how: Located) -> int:
        """Return how many faults were located that way."""
        return sum(fault.located == how for fault in self.faults)
