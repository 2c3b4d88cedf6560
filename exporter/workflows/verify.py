"""`verify_parity()`: run artifacts and what they must equal on the same inputs, and judge them by float64.

Every artifact answers first, so that a wrong file or a missing device is told before any long computation. Then the
truth is computed once for all artifacts of one network, and the answers are held against it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from exporter.artifacts.loading import LoadedArtifact, rebuild_network
from exporter.artifacts.manifest import Manifest, sha256_file
from exporter.engines import Runtime, RuntimeOptions, find_engine
from exporter.engines.pytorch import PyTorchRuntime
from exporter.engines.torchscript import require_device as require_torch_device
from exporter.errors import UsageError
from exporter.formats import load_artifact
from exporter.formats.torchscript import OPTIMIZE_OPTION
from exporter.parity.determinism import determinism
from exporter.parity.evaluate import SecondRun, evaluate, first_failure
from exporter.parity.execution import IOMapping, RunResult, RunSpec, run_model
from exporter.parity.golden import FileSource, GoldenOutputs, NetworkSource, require_cache
from exporter.parity.inputs import EDGE_CASES, make_inputs, make_network_inputs, make_video_inputs
from exporter.parity.io_mapping import map_by_manifest, map_by_name, map_by_network
from exporter.parity.localize import localize
from exporter.results import ParityReport
from exporter.system import environment
from exporter.types import EngineReference, ParityOptions
from models.architectures import parse_settings
from models.built_model import BuiltModel
from models.options import BuildOptions
from models.progress import Progress, no_progress
from models.specs import Signature

TORCH: Literal["torch"] = "torch"


def verify_parity(
    artifacts: Sequence[str | Path],
    options: ParityOptions | None = None,
    reference: BuildOptions | BuiltModel | None = None,
    progress: Progress = no_progress,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[ParityReport, ...]:
    """Verify artifacts against the networks they were exported from, or another model file; one report each, in order.

    Args:
        artifacts: model files.
        options: engine, device, inputs, tolerance, and what else is compared.
        reference: the checkpoint to compare with, where the manifests do not say or are to be overruled; or the
            network itself.
        progress: called at each long step.
        shapes: {input: shape with the batch}, for model files of another network whose sizes are dynamic.

    Raises:
        IntegrityError: a file is not the one its manifest describes.
        UsageError: options that do not go together.
        BadInputError: an artifact, checkpoint, video or array is bad.
        UnavailableError: the device or a library is not there.
    """
    options = options or ParityOptions()
    if options.cache is not None:
        require_cache(options.cache)
    loaded = [load_artifact(Path(path)) for path in artifacts]
    _require_devices(loaded, options)
    if isinstance(options.against, Path):
        if reference is not None and reference != BuildOptions():
            raise UsageError("--weights and its like describe a network; with --against FILE, that file is compared")
        return _verify_against_file(loaded, load_artifact(options.against), options, shapes or {}, progress)
    if shapes:
        raise UsageError("--shape needs --against FILE: the sizes of a network with a manifest are known")
    reports: dict[int, ParityReport] = {}
    groups: dict[object, list[int]] = {}
    for index, artifact in enumerate(loaded):
        groups.setdefault(_network_key(artifact.manifest), []).append(index)
    for members in groups.values():
        progress("building the network")
        model, notes = rebuild_network(loaded[members[0]], reference or BuildOptions(), progress)
        golden = golden_outputs(model, options, progress)
        verified = verify_built([loaded[i] for i in members], golden, options, progress, notes)
        reports |= dict(zip(members, verified, strict=True))
    return tuple(reports[i] for i in range(len(loaded)))


def _require_devices(artifacts: Sequence[LoadedArtifact], options: ParityOptions) -> None:
    """Refuse a device or engine that cannot be used here, before any long computation."""
    against = options.against
    for artifact in artifacts:
        find_engine(artifact.format, options.engine).require_device(options.device)
        if isinstance(against, EngineReference) and against.name != TORCH:
            find_engine(artifact.format, against.name).require_device(against.device)
    if isinstance(against, EngineReference) and against.name == TORCH:
        require_torch_device(against.device)


def golden_outputs(model: BuiltModel, options: ParityOptions, progress: Progress = no_progress) -> GoldenOutputs:
    """Return the network's float64 reference on the inputs that `options` ask for; it is computed when first used."""
    return GoldenOutputs(NetworkSource(model), make_network_inputs(model, options), options.cache, progress)


def verify_built(
    artifacts: Sequence[LoadedArtifact],
    golden: GoldenOutputs,
    options: ParityOptions,
    progress: Progress = no_progress,
    notes: Sequence[str] = (),
) -> tuple[ParityReport, ...]:
    """Compare artifacts with a built network, whose float64 outputs `golden` holds or computes."""
    assert isinstance(golden.source, NetworkSource)
    model = golden.source.built
    specs = [make_run_spec(artifact, options, model) for artifact in artifacts]
    others = [_second_run(artifact, model, options) for artifact in artifacts]
    return _run_and_evaluate(artifacts, specs, others, golden, options, progress, notes)


def _run_and_evaluate(
    subjects: Sequence[LoadedArtifact],
    trials: Sequence[RunSpec],
    others: Sequence[RunSpec | None],
    truth: GoldenOutputs,
    options: ParityOptions,
    progress: Progress,
    notes: Sequence[str],
) -> tuple[ParityReport, ...]:
    pool = truth.pool
    enough = first_failure(truth, options) if options.fail_fast else None
    answered: list[tuple[RunResult, RunResult | None]] = []
    for trial, other in zip(trials, others, strict=True):
        answers = run_model(trial, pool, progress, enough)
        asked = [batch for batch, _ in answers.batches]
        answered.append((answers, None if other is None else run_model(other, pool, progress, batches=asked)))
    reports: list[ParityReport] = []
    for subject, (answers, other) in zip(subjects, answered, strict=True):
        against = None if other is None else SecondRun(str(options.against), other)
        report = evaluate(answers, truth, options, (*subject.notes, *notes), against)
        extra: list[str] = []
        if enough is not None and not report.passed:
            extra.append("--fail-fast: the inputs after the first failure were not run")
        if options.localize:
            report = replace(report, localization=localize(answers.trial, report, truth, progress, options))
        if options.determinism:
            calm = next((row for row, name in enumerate(pool.names) if name not in EDGE_CASES), 0)
            report = replace(report, determinism=determinism(answers.trial, pool, calm, progress))
        reports.append(
            replace(
                report,
                notes=(*report.notes, *extra),
                environment=environment(),
                hashes=_hashes(subject),
            )
        )
    return tuple(reports)


def _verify_against_file(
    artifacts: Sequence[LoadedArtifact],
    other: LoadedArtifact,
    options: ParityOptions,
    shapes: Mapping[str, tuple[int, ...]],
    progress: Progress,
) -> tuple[ParityReport, ...]:
    """Compare artifacts with another model file: in float64 it is the reference, in its own engine the baseline."""
    stated = other.manifest.signature if other.manifest else None
    source = FileSource(other.path, other.format, stated, _feature_outputs(other.manifest))
    progress(f"loading {other.path.name}")
    with source.open("single") as runtime:
        signature = runtime.signature
    if other.manifest is not None and other.manifest.preprocessing is not None:
        inputs = make_video_inputs(signature.inputs[0], other.manifest.preprocessing, options)
    else:
        inputs = make_inputs(signature, options, shapes)
    golden = GoldenOutputs(source, inputs, options.cache, progress)
    specs = [
        _make_run(artifact, options, partial(map_by_name, artifact.path, other=signature), signature)
        for artifact in artifacts
    ]
    notes = (f"compared with {other.path.name}, SHA-256 {sha256_file(other.path)[:16]}…",)
    # without manifests there is nothing to miss: the other file is all that they are compared with
    artifacts = [replace(artifact, notes=()) if artifact.manifest is None else artifact for artifact in artifacts]
    return _run_and_evaluate(artifacts, specs, [None] * len(specs), golden, options, progress, notes)


def _feature_outputs(manifest: Manifest | None) -> frozenset[str]:
    """Return the outputs that are no class scores, as far as a manifest tells."""
    if manifest is None or not manifest.network.architecture:
        return frozenset()
    outputs = parse_settings(manifest.network.architecture, manifest.network.settings).outputs
    return frozenset(output.name for output in outputs if output.kind == "features")


def make_run_spec(artifact: LoadedArtifact, options: ParityOptions, model: BuiltModel) -> RunSpec:
    """Return how to run an artifact that must return what `model` returns."""
    if artifact.manifest is not None:
        match = partial(_match_manifest, artifact.path, artifact.manifest.signature)
    else:
        match = partial(map_by_network, artifact.path, model=model)
    return _make_run(artifact, options, match, model.signature())


def _match_manifest(path: Path, stated: Signature, found: Signature) -> IOMapping:
    return map_by_manifest(path, found, stated)


def _make_run(
    artifact: LoadedArtifact,
    options: ParityOptions,
    match: Callable[[Signature], IOMapping],
    assumed: Signature | None = None,
) -> RunSpec:
    optimized = artifact.manifest is not None and artifact.manifest.options.get(OPTIMIZE_OPTION) is True
    signature = artifact.manifest.signature if artifact.manifest else assumed
    engine = find_engine(artifact.format, options.engine)
    settings = RuntimeOptions(options.device, signature, optimized)
    # oneDNN's ReLU, which optimize_for_inference uses, turns NaN into a number
    unsupported = (*engine.unsupported_inputs, "nan") if optimized else engine.unsupported_inputs
    return RunSpec(artifact.path, partial(engine.open, artifact.path), settings, match, unsupported)


def _second_run(artifact: LoadedArtifact, model: BuiltModel, options: ParityOptions) -> RunSpec | None:
    """Return what else runs the same inputs: PyTorch, or the same file in another engine."""
    against = options.against
    if not isinstance(against, EngineReference):
        return None
    own = make_run_spec(artifact, options, model)
    if against.name == TORCH:
        wanted = artifact.manifest.signature if artifact.manifest else model.signature()

        def open_network(settings: RuntimeOptions) -> Runtime:
            return PyTorchRuntime(model, "float32", settings)

        def match(found: Signature) -> IOMapping:
            outputs = {value.name: value.name for value in wanted.outputs}
            return IOMapping({value.name: value for value in found.inputs}, outputs)

        return RunSpec(Path(TORCH), open_network, RuntimeOptions(against.device, wanted), match)
    engine = find_engine(artifact.format, against.name)
    settings = replace(own.settings, device=against.device, optimised=False)
    return RunSpec(artifact.path, partial(engine.open, artifact.path), settings, own.match, engine.unsupported_inputs)


def _hashes(artifact: LoadedArtifact) -> dict[str, str]:
    if artifact.manifest is not None and artifact.manifest.files:
        return {entry.path: entry.sha256 for entry in artifact.manifest.files}  # checked when it was loaded
    return {artifact.path.name: sha256_file(artifact.path)}


def _network_key(manifest: Manifest | None) -> object:
    """Return what two artifacts must share for one float64 reference to serve both."""
    if manifest is None:
        return None
    checkpoint = manifest.checkpoint and (manifest.checkpoint.sha256, manifest.checkpoint.reinitialized)
    settings = tuple(sorted(manifest.network.settings.items()))
    return manifest.network.architecture, settings, manifest.network.seed, manifest.network.state_sha256, checkpoint
