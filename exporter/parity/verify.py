"""`verify_parity()`: run artifacts and what they must equal on the same inputs, and judge them by float64.

Every artifact answers first, so that a wrong file or a missing device is told before any long computation. Then the
truth is computed once for all artifacts of one network, and the answers are held against it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from exporter.artifact import Manifest, hash_file
from exporter.errors import UsageError
from exporter.formats.torchscript import OPTIMIZE_OPTION
from exporter.parity.determinism import determinism
from exporter.parity.environment import environment
from exporter.parity.inputs import EDGES, draw_clips, draw_for
from exporter.parity.judge import Against, first_failure, judge
from exporter.parity.localize import localize
from exporter.parity.ports import c3d_ports, paired_ports, stated_ports
from exporter.parity.reference import Subject, load_subject, rebuild
from exporter.parity.trials import Answers, Ports, Trial, ask
from exporter.parity.truth import FileTruth, NetworkTruth, Truth, require_cache
from exporter.runtimes import ENGINES, Runtime, Settings, engine_for
from exporter.runtimes.torch_network import TorchNetwork
from exporter.runtimes.torchscript import require_device as require_torch_device
from exporter.types import (
    DEVICES,
    Device,
    FormatName,
    ParityOptions,
    ReferenceOptions,
    RuntimeName,
    Signature,
    c3d_signature,
)
from exporter.verdicts import ParityReport
from models.builder import BuiltNetwork
from models.errors import Progress, quiet
from models.spec import NetworkConfig

TORCH: Literal["torch"] = "torch"
FLOAT64 = "float64"


def verify_parity(
    artifacts: Sequence[str | Path],
    options: ParityOptions | None = None,
    reference: ReferenceOptions | None = None,
    progress: Progress = quiet,
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
    subjects = [load_subject(Path(path)) for path in artifacts]
    for subject in subjects:
        engine_for(subject.format, options.runtime).require_device(options.device)
        if against is not None and not isinstance(against, Path) and against != TORCH:
            engine_for(subject.format, against).require_device(device)
    if against == TORCH:
        require_torch_device(device)
    if isinstance(against, Path):
        if reference != ReferenceOptions():
            raise UsageError("--weights and its like say what a C3D must equal; with --against FILE that file does")
        return _against_file(subjects, load_subject(against), options, shapes or {}, progress)
    if shapes:
        raise UsageError("--shape is for --against FILE: a C3D's sizes are known")
    reports: dict[int, ParityReport] = {}
    groups: dict[object, list[int]] = {}
    for index, subject in enumerate(subjects):
        groups.setdefault(_network_key(subject.manifest), []).append(index)
    for members in groups.values():
        progress("building the network")
        built, notes = rebuild(subjects[members[0]], reference)
        judged = verify_built([subjects[i] for i in members], built, options, progress, notes)
        reports |= dict(zip(members, judged, strict=True))
    return tuple(reports[i] for i in range(len(subjects)))


def parse_against(text: str | None) -> tuple[Path | Literal["torch"] | RuntimeName | None, Device]:
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
    subjects: Sequence[Subject],
    built: BuiltNetwork,
    options: ParityOptions,
    progress: Progress = quiet,
    notes: Sequence[str] = (),
) -> tuple[ParityReport, ...]:
    """Hold artifacts against a built network, which is converted in place on the way."""
    pool = draw_clips(built.preprocessing, options)
    truth = Truth(NetworkTruth(built), pool, options.cache, progress)
    trials = [trial_of(subject, options, built.config) for subject in subjects]
    others = [_other(subject, built, options) for subject in subjects]
    return _examine(subjects, trials, others, truth, options, progress, notes)


def _examine(
    subjects: Sequence[Subject],
    trials: Sequence[Trial],
    others: Sequence[Trial | None],
    truth: Truth,
    options: ParityOptions,
    progress: Progress,
    notes: Sequence[str],
) -> tuple[ParityReport, ...]:
    pool = truth.pool
    enough = first_failure(truth, options) if options.fail_fast else None
    answered: list[tuple[Answers, Answers | None]] = []
    for trial, other in zip(trials, others, strict=True):
        answers = ask(trial, pool, progress, enough)
        asked = [batch for batch, _ in answers.batches]
        answered.append((answers, None if other is None else ask(other, pool, progress, batches=asked)))
    reports: list[ParityReport] = []
    for subject, (answers, other) in zip(subjects, answered, strict=True):
        against = None if other is None else Against(str(options.against), other)
        report = judge(answers, truth, options, (*subject.notes, *notes), against)
        extra: list[str] = []
        if enough is not None and not report.passed:
            extra.append("--fail-fast: the inputs after the first failure were not run")
        if options.localize:
            report = replace(report, localization=localize(answers.trial, report, truth, progress, options))
        if options.determinism:
            calm = next((row for row, name in enumerate(pool.names) if name not in EDGES), 0)
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
    subjects: Sequence[Subject],
    other: Subject,
    options: ParityOptions,
    shapes: Mapping[str, tuple[int, ...]],
    progress: Progress,
) -> tuple[ParityReport, ...]:
    """Hold artifacts against another model file: that file in float64 is the truth, its own engine the measure."""
    stated = other.manifest.signature if other.manifest else None
    source = FileTruth(other.path, other.format, stated)
    progress(f"loading {other.path.name}")
    with source.open("single") as runtime:
        signature = runtime.signature
    if other.manifest is not None:
        pool = draw_clips(other.manifest.preprocessing, options)
    else:
        pool = draw_for(signature, options, shapes)
    truth = Truth(source, pool, options.cache, progress)
    trials = [
        _with_match(subject, options, partial(paired_ports, subject.path, other=signature), signature)
        for subject in subjects
    ]
    notes = (f"held against {other.path.name}, SHA-256 {hash_file(other.path)[:16]}…",)
    # without manifests there is nothing to miss: the other file is all that they are held against
    subjects = [replace(subject, notes=()) if subject.manifest is None else subject for subject in subjects]
    return _examine(subjects, trials, [None] * len(trials), truth, options, progress, notes)


def trial_of(subject: Subject, options: ParityOptions, config: NetworkConfig) -> Trial:
    """Return an artifact in its engine, to be asked what a C3D of `config` answers."""
    if subject.manifest is not None:
        match = partial(_stated, subject.path, subject.manifest.signature)
    else:
        match = partial(c3d_ports, subject.path, config=config)
    return _with_match(subject, options, match, c3d_signature(("logits",), config.num_classes, None))


def _stated(path: Path, stated: Signature, found: Signature) -> Ports:
    return stated_ports(path, found, stated)


def _with_match(
    subject: Subject,
    options: ParityOptions,
    match: Callable[[Signature], Ports],
    assumed: Signature | None = None,
) -> Trial:
    optimised = subject.manifest is not None and subject.manifest.options.get(OPTIMIZE_OPTION) is True
    signature = subject.manifest.signature if subject.manifest else assumed
    engine = engine_for(subject.format, options.runtime)
    settings = Settings(options.device, signature, optimised)
    return Trial(subject.path, partial(engine.open, subject.path), settings, match, engine.skips)


def _other(subject: Subject, built: BuiltNetwork, options: ParityOptions) -> Trial | None:
    """Return what else answers the same inputs: PyTorch, or the same file in another engine."""
    name, device = parse_against(options.against)
    if name is None or isinstance(name, Path):
        return None
    own = trial_of(subject, options, built.config)
    if name == TORCH:
        wanted = (
            subject.manifest.signature
            if subject.manifest
            else c3d_signature(("logits",), built.config.num_classes, None)
        )

        def network(settings: Settings) -> Runtime:
            return TorchNetwork(built.network, "float32", settings)

        def ports(found: Signature) -> Ports:
            outputs = {value.name: value.name for value in wanted.outputs}
            return Ports({value.name: value for value in found.inputs}, outputs)

        return Trial(Path(TORCH), network, Settings(device, wanted), ports)
    form: FormatName = subject.format
    engine = engine_for(form, name)
    settings = replace(own.settings, device=device, optimised=False)
    return Trial(subject.path, partial(engine.open, subject.path), settings, own.match, engine.skips)


def _hashes(subject: Subject) -> dict[str, str]:
    if subject.manifest is not None and subject.manifest.files:
        return {entry.path: entry.sha256 for entry in subject.manifest.files}  # checked when it was loaded
    return {subject.path.name: hash_file(subject.path)}


def _network_key(manifest: Manifest | None) -> object:
    """Return what two artifacts must share for one truth to serve both."""
    if manifest is None:
        return None
    return (
        manifest.network,
        manifest.weights.seed,
        manifest.weights.sha256,
        manifest.weights.fresh,
        manifest.state_sha256,
    )
