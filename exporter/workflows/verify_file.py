"""Compares artifacts with another model file: in float64 it is the reference, in its own engine the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.errors import CheckFailedError, Refuse, UsageError
from exporter.isolation.worker import expect_work
from exporter.parity.cost import VerificationCost, estimate_verification, require_memory
from exporter.parity.discovery import find_inputs, items_interact, may_be_batched, read_full_signature
from exporter.parity.feeds import cast_feeds
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_plan import make_plans
from exporter.parity.input_roles import find_roles
from exporter.parity.input_set import InputSet
from exporter.parity.inputs import draw_inputs, make_frame_inputs, make_video_inputs
from exporter.parity.run_specs import make_file_run_spec
from exporter.parity.runnable import require_runnable
from exporter.parity.sources import FileSource
from exporter.results import ParityReport
from exporter.types import ParityOptions
from exporter.workflows.parity_runs import run_and_evaluate
from models.architectures import parse_settings
from models.progress import Progress, no_progress
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray


def verify_against_file(
    artifacts: Sequence[LoadedArtifact],
    other: LoadedArtifact,
    options: ParityOptions,
    progress: Progress = no_progress,
    refuse: Refuse | None = None,
) -> tuple[ParityReport, ...]:
    """Compare artifacts with another model file: in float64 it is the reference, in its own engine the baseline.

    `refuse` as in `verify_parity`.
    """
    try:
        reports, interact = _verify_against_file(artifacts, other, options, progress, refuse)
        if interact:
            reports, _ = _verify_against_file(artifacts, other, options, progress, refuse, batched=False)
        return reports
    except (CheckFailedError, UsageError):
        for artifact in (other, *artifacts):
            if artifact.format == "onnx":
                require_runnable(artifact, progress)  # one that fails on every input is a bad file
        raise


def _verify_against_file(
    artifacts: Sequence[LoadedArtifact],
    other: LoadedArtifact,
    options: ParityOptions,
    progress: Progress,
    refuse: Refuse | None,
    *,
    batched: bool = True,
) -> tuple[tuple[ParityReport, ...], bool]:
    """Return the reports, and whether they compare items as if a batch did not matter, which in the reference it does.

    `batched` as in `find_inputs`.
    """
    manifest = other.manifest
    signature = manifest and manifest.signature
    source = FileSource(other.path, other.format, signature, _feature_outputs(manifest), other.vouched)
    progress(f"loading {other.path.name}")
    signature = read_full_signature(other, artifacts)
    if other.format == "onnx":
        _estimate_before_trying(other, signature, options)
    inputs = make_file_inputs(other, source, signature, options, progress, batched=batched)
    notes = (f"compared with {other.path.name}, SHA-256 {other.sha256[:16]}…", *inputs.notes)
    if other.format == "onnx":
        cost = estimate_verification(other.path, inputs, signature.batch, localize=options.localize)
        require_memory(cost, options.max_memory, localize=options.localize)
        expect_work(cost.multiply_adds, cost.peak_bytes)
        progress = _with_cost(progress, cost)
        notes += (f"estimated before it started: {cost}",) if cost.is_large else ()
    golden = GoldenOutputs(source, inputs, options.cache, progress)
    runs = [(make_file_run_spec(artifact, options, signature, source.widened), None) for artifact in artifacts]
    # a manifest is not needed here, so its absence is nothing to note
    artifacts = [replace(artifact, notes=()) if artifact.manifest is None else artifact for artifact in artifacts]
    reports = run_and_evaluate(artifacts, runs, golden, options, progress, notes, refuse)
    return reports, _items_interact(reports, golden, signature)


def _items_interact(reports: Sequence[ParityReport], golden: GoldenOutputs, signature: Signature) -> bool:
    """Return whether larger batches fail on which items influence each other in the reference itself."""
    source, inputs = golden.source, golden.inputs
    failed = {row.input for report in reports for row in report.comparisons if not row.passed}
    batches = [batch for batch in inputs.batches(signature.batch) if len({*batch.rows}) > 1 and batch.name in failed]
    return (
        inputs.batched and bool(batches) and isinstance(source, FileSource) and items_interact(source, inputs, batches)
    )


def _estimate_before_trying(other: LoadedArtifact, signature: Signature, options: ParityOptions) -> None:
    """Check the memory for the inputs that will be tried first, because trying them takes memory already.

    Raises:
        LimitError: they need more than `options.max_memory`.
    """
    roles = find_roles(other.path, other.format)
    batched = may_be_batched(signature, options.inputs, roles)
    plan = next(make_plans(signature, options.inputs, roles, batched=batched))  # there is at least one
    inputs = draw_inputs(plan, options)
    cost = estimate_verification(other.path, inputs, signature.batch, localize=options.localize)
    require_memory(cost, options.max_memory, localize=options.localize)
    expect_work(cost.multiply_adds, cost.peak_bytes)


def _with_cost(progress: Progress, cost: VerificationCost) -> Progress:
    """Return a progress callback that states what the whole comparison takes at every step."""
    return lambda step: progress(f"{step} ({cost} in all)")


def make_file_inputs(
    other: LoadedArtifact,
    source: FileSource,
    signature: Signature,
    options: ParityOptions,
    progress: Progress,
    *,
    batched: bool = True,
) -> InputSet:
    """Make the inputs on which a model file is compared: with frames, where its manifest says that it takes video.

    `batched` as in `find_inputs`.
    """
    if other.manifest is not None and other.manifest.preprocessing is not None:
        make = make_frame_inputs if other.manifest.with_preprocess else make_video_inputs
        return make(signature.inputs[0], other.manifest.preprocessing, options)
    return find_inputs(source, signature, options, progress, batched=batched)


def draw_feeds(other: LoadedArtifact, signature: Signature, options: ParityOptions) -> dict[str, NDArray[Any]]:
    """Return the first batch of the inputs on which a model file is compared, as it takes it."""
    stated = other.manifest and other.manifest.signature
    source = FileSource(other.path, other.format, stated, vouched=other.vouched)
    inputs = make_file_inputs(other, source, signature, options, no_progress)
    rows = inputs.batches(signature.batch)[0].rows
    return cast_feeds(signature.inputs, inputs.select(rows))


def _feature_outputs(manifest: Manifest | None) -> frozenset[str]:
    """Return the outputs that are no class scores, where the manifest names a known architecture."""
    if manifest is None or not manifest.network.architecture:
        return frozenset()
    outputs = parse_settings(manifest.network.architecture, manifest.network.settings).outputs
    return frozenset(output.name for output in outputs if output.kind == "features")
