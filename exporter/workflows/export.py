"""`export()`: build, write, verify, publish. Nothing reaches the output folder before everything has passed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from exporter import __version__
from exporter.artifacts.files import Artifact, file_entry
from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest, describe_network, preprocess_options
from exporter.artifacts.manifest_fields import (
    CALIBRATION,
    MANIFEST_VERSION,
    MIN_SNR,
    MIN_TOP1,
    PRECISION,
    WEIGHT_DTYPE,
    OptionValue,
)
from exporter.artifacts.provenance import record_manifest, sign_manifest
from exporter.artifacts.publication import publish
from exporter.artifacts.rebuilding import relative_to
from exporter.artifacts.store import staging
from exporter.calibration_clips import CalibrationClips
from exporter.formats import FORMATS, record_tensors
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.load_checks import Vouched
from exporter.parity.golden import GoldenOutputs
from exporter.parity.record import parity_record
from exporter.requests import ExportRequest
from exporter.results import ParityReport
from exporter.storage import translate_os_errors
from exporter.timing import timed, timed_iterator
from exporter.trust import describe_unrecorded
from exporter.types import QUICK, BatchProfile, FormatName
from exporter.workflows.calibration import make_calibration
from exporter.workflows.candidates import ParityFailedError, first_accepted
from exporter.workflows.export_checks import check_free_space, check_model, check_request
from exporter.workflows.verify import golden_outputs, verify_built
from models.builder import build, state_sha256
from models.built_model import BuiltModel
from models.checkpoints.info import CheckpointInfo
from models.paths import to_utf8
from models.preprocessing.network import with_preprocessing
from models.preprocessing.recipe import Preprocessing
from models.progress import Progress, no_progress


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        artifacts: the published artifacts, in the order of the requested formats.
        reports: the parity report of each, empty without verification.
        network: the network in a few words.
        notes: what the user should know.
        seconds: {phase: seconds}; the phases are `build`, `write`, `verify`, `publish`.
    """

    artifacts: tuple[Artifact, ...]
    reports: tuple[ParityReport, ...]
    network: str
    notes: tuple[str, ...]
    seconds: dict[str, float]


def export(request: ExportRequest, progress: Progress = no_progress, finished: Progress = no_progress) -> ExportResult:
    """Build the network, write every format asked for, verify them, and publish them with their manifests.

    Args:
        request: everything that decides the artifacts.
        progress: called at each long step.
        finished: called with a line for each stage of a precision below float32 that is finished: it takes minutes.

    Raises:
        UsageError: options that do not go together.
        CheckpointError: the weights do not load completely.
        ParityFailedError: an artifact does not return what the network returns; the output folder is unchanged.
        OutputError: the output folder cannot be written to, or is full.
        UnavailableError: the device to verify on is not there.
    """
    check_request(request)
    seconds: dict[str, float] = {}
    with timed(seconds, "build"):
        progress("building the network")
        model = request.model if isinstance(request.model, BuiltModel) else build(request.model, progress)
        check_model(model)
        check_free_space(request, model)
        model = with_preprocessing(model) if request.with_preprocess else model
        clips = _make_clips(request, model, progress)
        if clips is not None:
            finished(f"calibration clips: {clips.description}")
        manifest = draft_manifest(request, model, clips)
    options = replace(request.parity, input_types=request.parity.input_types or QUICK)
    with staging(request.output_dir) as stage:
        golden = golden_outputs(model, options, progress, clips) if request.verify else None
        accepted: list[tuple[WriteResult, ParityReport | None]] = []
        failed: list[ParityReport] = []
        for name in request.formats:
            progress(f"writing {name}")
            try:
                accepted.append(
                    _write_format(
                        name, request, model, manifest, clips, stage, golden, seconds, progress, _prefix(finished, name)
                    )
                )
            except ParityFailedError as error:
                failed += error.reports
        if failed:
            raise ParityFailedError((*(report for _, report in accepted if report is not None), *failed))
        with timed(seconds, "publish"):
            progress("publishing")
            artifacts = tuple(_publish(request, written, report, stage) for written, report in accepted)
    reports = tuple(report for _, report in accepted if report is not None)
    notes = (
        *model.notes,
        *(() if clips is None else clips.notes),
        *(note for written, _ in accepted for note in written.notes),
        *(() if request.sign is None else request.sign.notes),
        *(note for artifact in artifacts for note in _unrecorded(artifact.manifest)),
    )
    return ExportResult(artifacts, reports, model.title, notes, seconds)


def draft_manifest(request: ExportRequest, model: BuiltModel, clips: CalibrationClips | None) -> Manifest:
    """Return the manifest as far as it is known before anything is written."""
    return Manifest(
        version=MANIFEST_VERSION,
        producer=f"c3d-export {__version__}",
        name=request.artifact_name,
        format=request.formats[0],
        network=describe_network(model, state_sha256(model.network)),
        checkpoint=_relative_checkpoint(request, model),
        preprocessing=_relative_profile(request, model),
        signature=model.signature(request.outputs, request.batch),
        class_names=model.find_class_names(request.outputs),
        options={
            "target": request.optimize.target,
            **_precision_options(request, clips),
            WEIGHT_DTYPE: request.optimize.weight_dtype,
            **preprocess_options(model),
        },
        versions={},
    )


def _relative_checkpoint(request: ExportRequest, model: BuiltModel) -> CheckpointInfo | None:
    """Return where the weights came from, with the path as seen from the output folder."""
    origin = model.checkpoint
    if origin is None:
        return None
    local = origin.path is not None and origin.url is None
    return replace(
        origin,
        file=to_utf8(origin.file),
        ignored_keys=tuple(map(to_utf8, origin.ignored_keys)),
        path=to_utf8(relative_to(Path(str(origin.path)), request.output_dir)) if local else None,
    )


def _relative_profile(request: ExportRequest, model: BuiltModel) -> Preprocessing | None:
    """Return the profile, with the path of its mean file as seen from the output folder."""
    profile = model.preprocessing
    if profile is None or profile.mean_cube is None or profile.mean_cube.path is None:
        return profile
    path = to_utf8(relative_to(Path(profile.mean_cube.path), request.output_dir))
    return replace(profile, mean_cube=replace(profile.mean_cube, file=to_utf8(profile.mean_cube.file), path=path))


def _precision_options(request: ExportRequest, clips: CalibrationClips | None) -> dict[str, OptionValue]:
    """Return the manifest's options that say what an artifact computes in, and what it is held to.

    Args:
        request: the export.
        clips: the clips, for a precision below float32.
    """
    wanted = request.precision
    options: dict[str, OptionValue] = {PRECISION: wanted.compute}
    if clips is not None:
        options[CALIBRATION] = f"sha256:{clips.sha256} {clips.description}"
        if request.verify:  # an artifact that was not verified is held to nothing
            options[MIN_SNR] = wanted.required_snr
            options |= {} if wanted.min_top1 is None else {MIN_TOP1: wanted.min_top1}
    return options


def _unrecorded(manifest: Manifest) -> tuple[str, ...]:
    model = manifest.files[0]
    return describe_unrecorded(manifest.format, model.path, model.sha256)


def _make_clips(request: ExportRequest, model: BuiltModel, progress: Progress) -> CalibrationClips | None:
    """Return the clips that a precision below float32 is calibrated and evaluated with."""
    if request.precision.compute == "fp32":
        return None
    return make_calibration(model, request.precision.calibration, request.parity.seed, progress)


def _prefix(finished: Progress, name: str) -> Progress:
    return lambda line: finished(f"{name}: {line}")


def _write_format(
    name: FormatName,
    request: ExportRequest,
    model: BuiltModel,
    manifest: Manifest,
    clips: CalibrationClips | None,
    stage: Path,
    golden: GoldenOutputs | None,
    seconds: dict[str, float],
    progress: Progress,
    finished: Progress,
) -> tuple[WriteResult, ParityReport | None]:
    """Write one format: the first of its candidates that passes parity."""
    wanted = WriteRequest(
        request.artifact_name,
        replace(manifest, format=name),
        request.opset,
        request.optimize,
        request.precision,
        clips,
        batch_profile=request.batch_profile or BatchProfile(),
        external_data=request.external_data,
        progress=progress,
        finished=finished,
    )

    def write(candidate: Candidate, rejected: tuple[Candidate, ...]) -> WriteResult:
        with timed(seconds, "write"), translate_os_errors(request.output_dir):
            written = candidate.write(Attempt(stage, tuple(failed.name for failed in rejected)))
            # hashed once: what is verified is what the manifest lists
            files = tuple(file_entry(path) for path in written.files)
            return replace(written, manifest=replace(written.manifest, files=files))

    def verify(written: WriteResult) -> ParityReport:
        assert golden is not None
        if clips is not None:
            finished("written; verifying it")
        ours = Vouched(everything=True)  # the file is in this run's own folder
        artifact = LoadedArtifact(written.files[0], name, written.manifest, (), vouched=ours, is_believed=True)
        with timed(seconds, "verify"):
            (report,) = verify_built([artifact], golden, request.parity, progress)
        # the report names the path that the artifact will have, not the one it was staged at
        return replace(report, artifact=str(request.output_dir / Path(report.artifact).name))

    candidates = timed_iterator(seconds, "write", FORMATS[name].candidates(model, wanted))
    return first_accepted(candidates, write, verify if golden is not None else None)


def _publish(request: ExportRequest, written: WriteResult, report: ParityReport | None, stage: Path) -> Artifact:
    manifest = replace(
        written.manifest,
        tensors=record_tensors(written.manifest.format, written.files[0]),
        parity=None if report is None else parity_record(report),
    )
    manifest = sign_manifest(manifest, request.sign)
    record_manifest(manifest)
    return Artifact(publish(stage, request.output_dir, manifest), manifest)
