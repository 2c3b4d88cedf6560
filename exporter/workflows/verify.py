"""`verify_parity()`: run artifacts and what they must equal on the same inputs, and judge them by float64.

Every artifact answers first, so that a wrong file or a missing device is told before any long computation. Then the
truth is computed once for all artifacts of one network, and the answers are held against it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from exporter.artifacts.loading import LoadedArtifact, load_artifact, rebuild_network
from exporter.artifacts.manifest import Manifest, sha256_file
from exporter.engines import ENGINES, Runtime, RuntimeOptions, find_engine
from exporter.engines.pytorch import PyTorchRuntime
from exporter.engines.torchscript import require_device as require_torch_device
from exporter.errors import UsageError
from exporter.formats.torchscript import OPTIMIZE_OPTION
from exporter.parity.determinism import determinism
from exporter.parity.evaluate import SecondRun, evaluate, first_failure
from exporter.parity.execution import IOMapping, RunResult, RunSpec, run_model
from exporter.parity.golden import FileSource, GoldenOutputs, NetworkSource, require_cache
from exporter.parity.inputs import EDGE_CASES, make_inputs, make_video_inputs
from exporter.parity.io_mapping import map_by_manifest, map_by_name, map_c3d
from exporter.parity.localize import localize
from exporter.results import ParityReport
from exporter.system import environment
from exporter.types import (
    DEVICES,
    Device,
    EngineName,
    FormatName,
    ParityOptions,
    ReferenceOptions,
    Signature,
    c3d_signature,
)
from models.builder import BuiltModel
from models.config import C3DConfig
from models.progress import Progress, no_progress

TORCH: Literal["torch"] = "torch"
FLOAT64 = "float64"


def verify_parity(
    artifacts: Sequence[str | Path],
    options: ParityOptions | None = None,
    reference: ReferenceOptions | None = None,
    progress: Progress = no_progress,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[ParityReport, ...]:
    """Verify artifacts against the networks they were exported from, or another model file; one report each, in order.

    Args:
        artifacts: model files.
        options: engine, device, inputs, tolerance, and what else is wanted.
        reference: the checkpoint to hold them against, where the manifests do not say or are to be overruled.
        progress: told at each long step.
        shapes: {input: shape with the batch}, for model files of another network whose sizes are free.

    Raises:
        IntegrityError: a file is not the one its manifest describes.
        UsageError: options that make no sense.
        BadInputError: an artifact, checkpoint, video or array is bad.
        UnavailableError: the device or a library is not there.
    """
    options, reference = options or ParityOptions(), reference or ReferenceOptions()
    if options.cache is not None:
        require_cache(options.cache)
    against, device = parse_against(options.against)
    subjects = [load_artifact(Path(path)) for path in artifacts]
    for subject in subjects:
        find_engine(subject.format, options.runtime).require_device(options.device)
        if against is not None and not isinstance(against, Path) and against != TORCH:
            find_engine(subject.format, against).require_device(device)
    if against == TORCH:
        require_torch_device(device)
    if isinstance(against, Path):
        if reference != ReferenceOptions():
            raise UsageError("--weights and its like say what a C3D must equal; with --against FILE that file does")
        return _against_file(subjects, load_artifact(against), options, shapes or {}, progress)
    if shapes:
        raise UsageError("--shape is for --against FILE: a C3D's sizes are known")
    reports: dict[int, ParityReport] = {}
    groups: dict[object, list[int]] = {}
    for index, subject in enumerate(subjects):
        groups.setdefault(_network_key(subject.manifest), []).append(index)
    for members in groups.values():
        progress("building the network")
        built, notes = rebuild_network(subjects[members[0]], reference)
        judged = verify_built([subjects[i] for i in members], built, options, progress, notes)
        reports |= dict(zip(members, judged, strict=True))
    return tuple(reports[i] for i in range(len(subjects)))


def parse_against(text: str | None) -> tuple[Path | Literal["torch"] | EngineName | None, Device]:
    """Return what `--against` names: None for float64, `torch`, an engine, or a model file; and the device.

    Raises:
        UsageError: none of these.
    """
    if text is None or text == FLOAT64:
        return None, "cpu"
    name, _, place = text.partition(":")
    for known in (TORCH, *ENGINES):
        if known != name:
            continue
        for device in DEVICES:
            if device == (place or "cpu"):
                return known, device
        raise UsageError(f"--against {text}: no such device; known are {', '.join(DEVICES)}")
    if Path(text).suffix:
        return Path(text), "cpu"
    names = ", ".join((FLOAT64, TORCH, *ENGINES))
    raise UsageError(f"--against {text}: neither an engine ({names}) nor a model file")


def verify_built(
    subjects: Sequence[LoadedArtifact],
    built: BuiltModel,
    options: ParityOptions,
    progress: Progress = no_progress,
    notes: Sequence[str] = (),
) -> tuple[ParityReport, ...]:
    """Hold artifacts against a built network, which is converted in place on the way."""
    pool = make_video_inputs(built.preprocessing, options)
    truth = GoldenOutputs(NetworkSource(built), pool, options.cache, progress)
    trials = [make_run_spec(subject, options, built.config) for subject in subjects]
    others = [_second_run(subject, built, options) for subject in subjects]
    return _run_and_evaluate(subjects, trials, others, truth, options, progress, notes)


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


def _against_file(
    subjects: Sequence[LoadedArtifact],
    other: LoadedArtifact,
    options: ParityOptions,
    shapes: Mapping[str, tuple[int, ...]],
    progress: Progress,
) -> tuple[ParityReport, ...]:
    """Hold artifacts against another model file: that file in float64 is the truth, its own engine the measure."""
    stated = other.manifest.signature if other.manifest else None
    source = FileSource(other.path, other.format, stated)
    progress(f"loading {other.path.name}")
    with source.open("single") as runtime:
        signature = runtime.signature
    if other.manifest is not None:
        pool = make_video_inputs(other.manifest.preprocessing, options)
    else:
        pool = make_inputs(signature, options, shapes)
    truth = GoldenOutputs(source, pool, options.cache, progress)
    trials = [
        _make_run(subject, options, partial(map_by_name, subject.path, other=signature), signature)
        for subject in subjects
    ]
    notes = (f"held against {other.path.name}, SHA-256 {sha256_file(other.path)[:16]}…",)
    # without manifests there is nothing to miss: the other file is all that they are held against
    subjects = [replace(subject, notes=()) if subject.manifest is None else subject for subject in subjects]
    return _run_and_evaluate(subjects, trials, [None] * len(trials), truth, options, progress, notes)


def make_run_spec(subject: LoadedArtifact, options: ParityOptions, config: C3DConfig) -> RunSpec:
    """Return an artifact in its engine, to be asked what a C3D of `config` answers."""
    if subject.manifest is not None:
        match = partial(_stated, subject.path, subject.manifest.signature)
    else:
        match = partial(map_c3d, subject.path, config=config)
    return _make_run(subject, options, match, c3d_signature(("logits",), config.num_classes, None))


def _stated(path: Path, stated: Signature, found: Signature) -> IOMapping:
    return map_by_manifest(path, found, stated)


def _make_run(
    subject: LoadedArtifact,
    options: ParityOptions,
    match: Callable[[Signature], IOMapping],
    assumed: Signature | None = None,
) -> RunSpec:
    optimised = subject.manifest is not None and subject.manifest.options.get(OPTIMIZE_OPTION) is True
    signature = subject.manifest.signature if subject.manifest else assumed
    engine = find_engine(subject.format, options.runtime)
    settings = RuntimeOptions(options.device, signature, optimised)
    return RunSpec(subject.path, partial(engine.open, subject.path), settings, match, engine.unsupported_inputs)


def _second_run(subject: LoadedArtifact, built: BuiltModel, options: ParityOptions) -> RunSpec | None:
    """Return what else answers the same inputs: PyTorch, or the same file in another engine."""
    name, device = parse_against(options.against)
    if name is None or isinstance(name, Path):
        return None
    own = make_run_spec(subject, options, built.config)
    if name == TORCH:
        wanted = (
            subject.manifest.signature
            if subject.manifest
            else c3d_signature(("logits",), built.config.num_classes, None)
        )

        def network(settings: RuntimeOptions) -> Runtime:
            return PyTorchRuntime(built.network, "float32", settings)

        def ports(found: Signature) -> IOMapping:
            outputs = {value.name: value.name for value in wanted.outputs}
            return IOMapping({value.name: value for value in found.inputs}, outputs)

        return RunSpec(Path(TORCH), network, RuntimeOptions(device, wanted), ports)
    form: FormatName = subject.format
    engine = find_engine(form, name)
    settings = replace(own.settings, device=device, optimised=False)
    return RunSpec(subject.path, partial(engine.open, subject.path), settings, own.match, engine.unsupported_inputs)


def _hashes(subject: LoadedArtifact) -> dict[str, str]:
    if subject.manifest is not None and subject.manifest.files:
        return {entry.path: entry.sha256 for entry in subject.manifest.files}  # checked when it was loaded
    return {subject.path.name: sha256_file(subject.path)}


def _network_key(manifest: Manifest | None) -> object:
    """Return what two artifacts must share for one truth to serve both."""
    if manifest is None:
        return None
    return (
        manifest.network,
        manifest.weights.seed,
        manifest.weights.sha256,
        manifest.weights.reinitialized,
        manifest.state_sha256,
    )
