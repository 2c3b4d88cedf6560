"""Runs of artifacts and their comparison with the float64 reference, for `verify_parity()` and the export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporter.artifacts.loading import LoadedArtifact
from exporter.errors import CheckFailedError, Refuse, refuse_one
from exporter.parity.determinism import check_determinism
from exporter.parity.evaluate import evaluate, stop_at_failure
from exporter.parity.execution import Excuse, RunResult, RunSpec, StopCondition, run_model
from exporter.parity.golden import GoldenOutputs
from exporter.parity.held_out import describe_weak_bound
from exporter.parity.localize import localize
from exporter.parity.own_error import fails_itself
from exporter.parity.runnable import require_runnable
from exporter.parity.sources import FileSource
from exporter.parity.structure import check_structure
from exporter.results import ParityReport
from exporter.system import environment
from exporter.timing import timed
from exporter.types import ParityOptions
from models.progress import Progress

BIAS_CORRECTION = (
    "if the quantiser corrected biases on purpose, as NNCF does by default, the graph differs by that: --min-snr DB "
    "compares its accuracy alone"
)
CHANGED_WEIGHTS = (
    "if the quantiser changed weights on purpose, as where it cuts off the largest or makes up for rounding (GPTQ), "
    "--min-snr DB compares its accuracy alone"
)


def run_and_evaluate(
    artifacts: Sequence[LoadedArtifact],
    specs: Sequence[tuple[RunSpec, RunSpec | None]],
    golden: GoldenOutputs,
    options: ParityOptions,
    progress: Progress,
    notes: Sequence[str],
    refuse: Refuse | None = None,
) -> tuple[ParityReport, ...]:
    """Run each artifact, then compute the float64 reference where it is missing, and compare.

    Args:
        artifacts: the artifacts.
        specs: how each is run, and how its second engine is, if there is one.
        golden: the float64 reference.
        options: what is compared.
        progress: called at each step.
        notes: what every report says.
        refuse: called with the error of an artifact that cannot be run or has changed; it has no report then. None
            raises the error.
    """
    results: list[tuple[LoadedArtifact, RunResult, RunResult | None]] = []
    for artifact, (spec, second) in zip(artifacts, specs, strict=True):
        with refuse_one(refuse):
            stop_when = stop_at_failure(golden, options, spec) if options.fail_fast else None
            result = _run(artifact, spec, golden, progress, stop_when)
            batches = [batch for batch, _ in result.batches]
            again = second and run_model(second, golden.inputs, progress, batches=batches)
            results.append((artifact, result, again))
    reports: list[ParityReport] = []
    for artifact, result, second in results:
        golden.compute(row for batch, _ in result.batches for row in batch.rows)
        known = (*artifact.notes, *describe_weak_bound(artifact, options), *notes)
        report = evaluate(result, golden, options, known, second)
        report = _describe_artifact(
            _check_further(report, artifact, result, golden, options, progress), artifact, options
        )
        with refuse_one(refuse):
            artifact.require_unchanged()
            reports.append(report)
    return tuple(reports)


def _check_further(
    report: ParityReport,
    artifact: LoadedArtifact,
    result: RunResult,
    golden: GoldenOutputs,
    options: ParityOptions,
    progress: Progress,
) -> ParityReport:
    """Return the report with what is checked beside the outputs: the graph's structure, layers, determinism."""
    spent: dict[str, float] = {}
    with timed(spent, "structure"):
        structure = check_structure(artifact.format, result, golden, options, progress)
    if structure is not None:
        passed = report.passed and not structure.fails
        on_purpose: tuple[str, ...] = ()
        if report.passed and not passed and result.precision == "int8":
            on_purpose = (CHANGED_WEIGHTS if structure.altered else BIAS_CORRECTION,)
        notes = (*report.notes, *on_purpose)
        report = replace(report, structure=structure, passed=passed, notes=notes, seconds=report.seconds | spent)
    if result.stopped:
        stopped = "--fail-fast: the inputs and batch sizes after the first failure were not run"
        report = replace(report, notes=(*report.notes, stopped))
    if options.localize and result.batches:
        report = replace(report, localization=localize(result, report, golden, progress, options))
    if options.determinism:
        report = replace(report, determinism=check_determinism(result.spec, golden.inputs, progress))
    return report


def _describe_artifact(report: ParityReport, artifact: LoadedArtifact, options: ParityOptions) -> ParityReport:
    """Return the report with which file was compared, where, and who signed it."""
    raised = {} if artifact.manifest is None else artifact.manifest.raised_layers
    return replace(
        report,
        environment=environment(),
        hashes=_hashes(artifact),
        raised_layers={**raised},
        provenance=artifact.provenance if options.verify_keys else None,
    )


def _run(
    artifact: LoadedArtifact, spec: RunSpec, golden: GoldenOutputs, progress: Progress, stop_when: StopCondition | None
) -> RunResult:
    """Run an artifact; one of the user's ONNX files that fails on every input is a bad file.

    Raises:
        ArtifactError: it is one.
        CheckFailedError: it fails on an input.
    """
    try:
        return run_model(spec, golden.inputs, progress, stop_when, excuse=_make_excuse(golden))
    except CheckFailedError:
        if artifact.format == "onnx" and isinstance(golden.source, FileSource):
            require_runnable(artifact, progress)
        raise


def _make_excuse(golden: GoldenOutputs) -> Excuse | None:
    """Return what excuses an artifact's failure on drawn inputs: the file that it is compared with fails too."""
    source, inputs = golden.source, golden.inputs
    if not isinstance(source, FileSource):
        return None
    return lambda batch: not {*batch.rows} & {*inputs.given} and fails_itself(source, inputs, batch.rows)


def _hashes(artifact: LoadedArtifact) -> dict[str, str]:
    if artifact.manifest is not None and artifact.manifest.files:
        return {entry.path: entry.sha256 for entry in artifact.manifest.files}  # checked when it was loaded
    return {artifact.path.name: artifact.sha256}
