"""Injects faults into an artifact one at a time, and runs the artifact without a fault on further inputs."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from exporter.errors import ArtifactError, CheckFailedError
from exporter.fault_injection.faults import FAULTS, FaultSite, FaultType
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph
from exporter.fault_injection.harness import OPTIONS, Harness
from exporter.fault_injection.results import CleanRuns, FaultResult, SelfTestOptions
from exporter.parity.evaluate import evaluate
from exporter.parity.execution import run_model
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.results import ParityReport
from models.progress import Progress, no_progress


@dataclass(frozen=True)
class Fault:
    """A fault type and the position at which it is injected."""

    fault_type: FaultType
    site: FaultSite

    @property
    def title(self) -> str:
        """The fault, for progress messages."""
        return f"{self.fault_type.name}, {self.site.where}"

    def inject(self, original: OriginalGraph, seed: int) -> FaultyGraph:
        """Return a copy of the graph with the fault. Its random numbers depend only on the seed and the fault."""
        faulty = FaultyGraph(original)
        stream = zlib.crc32(f"{self.fault_type.name} {self.site.where}".encode())
        self.site.inject(faulty, np.random.default_rng((seed, stream)))
        return faulty


def list_faults(
    original: OriginalGraph, fault_types: Sequence[FaultType] = FAULTS, *, quick: bool = False
) -> tuple[Fault, ...]:
    """List the faults that can be injected into a graph.

    Args:
        original: the graph.
        fault_types: rows of the table.
        quick: one position per fault type; the positions vary over the types.
    """
    faults: list[Fault] = []
    for number, fault_type in enumerate(fault_types):
        sites = list(fault_type.find_sites(original))
        if quick and sites:
            sites = [sites[-1 - number % len(sites)]]
        faults += [Fault(fault_type, site) for site in sites]
    return tuple(faults)


def run_faults(
    harness: Harness, faults: Sequence[Fault], options: SelfTestOptions, progress: Progress = no_progress
) -> tuple[FaultResult, ...]:
    """Inject each fault, and find out whether the parity check detects it."""
    results: list[FaultResult] = []
    for number, fault in enumerate(faults, start=1):
        progress(f"fault {number} of {len(faults)}: {fault.title}")
        results.append(_run_fault(harness, fault, options, progress))
    return tuple(results)


def _run_fault(harness: Harness, fault: Fault, options: SelfTestOptions, progress: Progress) -> FaultResult:
    """Run one faulty copy in float32; if it passes there, also in float64, to find out whether it is too small."""
    base = FaultResult(fault.fault_type.name, fault.fault_type.cause, fault.site.where, "detected", "", 0.0)
    faulty = fault.inject(harness.graph, options.seed)
    try:
        result, report = harness.run(faulty)
    except (ArtifactError, CheckFailedError) as error:
        return replace(base, outcome="invalid", reason=str(error))
    failed = [row for row in report.comparisons if not row.passed]
    worst = max(failed or report.comparisons, key=lambda row: row.budget_used)
    base = replace(base, input=worst.input, budget_used=worst.budget_used)
    if report.passed:
        progress(f"in float64: {fault.title}")
        exact = harness.run_float64(faulty)
        outcome = "below_tolerance" if exact.passed else "undetected"
        return replace(base, outcome=outcome, float64_budget_used=_max_budget_used(exact))
    if options.localize and fault.site.value is not None:
        located, named = harness.locate(fault.site.value, result, report)
        return replace(base, located=located, named=named)
    return base


def clean_runs(
    harness: Harness,
    make_inputs: Callable[[int, int], InputSet],
    seed: int,
    wanted: int,
    progress: Progress = no_progress,
) -> CleanRuns:
    """Check the artifact without a fault on the inputs that it has already run on, and on further ones.

    Args:
        harness: the artifact.
        make_inputs: (seed, number) -> at most that many inputs.
        seed: further inputs are made from the seeds after it.
        wanted: the number of further inputs.
        progress: called at each step.
    """
    reports, seeds = [harness.report], count(seed + 1)
    while wanted > 0:
        progress(f"clean runs, {wanted} inputs left")
        inputs = make_inputs(next(seeds), wanted)
        wanted -= len(inputs.names)
        golden = GoldenOutputs(harness.golden.source, inputs)
        result = run_model(harness.spec, inputs)
        golden.compute(range(len(inputs.names)))
        reports.append(evaluate(result, golden, OPTIONS))
    rows = [row for report in reports for row in report.comparisons]
    false_positives = tuple(f"{row.input}, {row.output}" for row in rows if not row.passed)
    return CleanRuns(len(rows), false_positives, max(map(_max_budget_used, reports)))


def _max_budget_used(report: ParityReport) -> float:
    return max(row.budget_used for row in report.comparisons)
