"""`export()`: build, write, verify, publish. Nothing reaches the output folder before everything has passed."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.artifacts.files import Artifact, file_entry
from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import (
    Manifest,
)
from exporter.artifacts.store import check_name, publish, same_file, staging
from exporter.calibration_clips import CalibrationClips
from exporter.engines import find_engine
from exporter.errors import UsageError
from exporter.formats import FORMATS, Candidate, WriteRequest, WriteResult
from exporter.parity.golden import GoldenOutputs, require_cache
from exporter.parity.record import parity_record
from exporter.results import ParityReport
from exporter.storage import translate_os_errors
from exporter.timing import timed, timed_iterator
from exporter.types import FORMAT_NAMES, MAX_OPSET, MIN_OPSET, QUICK, ExportRequest, FormatName, OptimizeOptions
from exporter.workflows.calibration import make_calibration
from exporter.workflows.candidates import ParityFailedError, first_accepted
from exporter.workflows.draft_manifest import draft_manifest, relative_checkpoint, relative_profile
from exporter.workflows.precision import check_precision
from exporter.workflows.verify import golden_outputs, verify_built
from models.builder import build
from models.built_model import BuiltModel
from models.class_names import load_class_names
from models.config import MAX_CLASSES
from models.errors import count
from models.options import BuildOptions
from models.preprocessing.network import with_preprocessing
from models.progress import Progress, no_progress

__all__ = ["ExportResult", "ParityFailedError", "check_request", "export"]


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


def export(request: ExportRequest, progress: Progress = no_progress) -> ExportResult:
    """Build the network, write every format asked for, verify them, and publish them with their manifests.

    Args:
        request: everything that decides the artifacts.
        progress: called at each long step.

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
        _check_model(model)
        model = with_preprocessing(model) if request.with_preprocess else model
        clips = _make_clips(request, model, progress)
        manifest = draft_manifest(request, model, clips)
    options = replace(request.parity, input_types=request.parity.input_types or QUICK)
    with staging(request.output_dir) as stage:
        golden = golden_outputs(model, options, progress) if request.verify else None
        accepted: list[tuple[WriteResult, ParityReport | None]] = []
        failed: list[ParityReport] = []
        for name in request.formats:
            progress(f"writing {name}")
            try:
                accepted.append(_write_format(name, request, model, manifest, clips, stage, golden, seconds, progress))
            except ParityFailedError as error:
                failed += error.reports
        if failed:
            raise ParityFailedError((*(report for _, report in accepted if report is not None), *failed))
        with timed(seconds, "publish"):
            progress("publishing")
            artifacts = tuple(_publish(request, model, written, report, stage) for written, report in accepted)
    reports = tuple(report for _, report in accepted if report is not None)
    notes = (
        *model.notes,
        *(() if clips is None else clips.notes),
        *(note for written, _ in accepted for note in written.notes),
    )
    return ExportResult(artifacts, reports, model.title, notes, seconds)


def check_request(request: ExportRequest) -> None:
    """Refuse, before any work, options that cannot be honoured.

    Raises:
        UsageError: an option has an invalid value; the message names both.
        UnavailableError: a library or device to export with, or the device to verify on, is not there.
    """
    check_name(request.artifact_name)
    if not request.formats or len(set(request.formats)) != len(request.formats):
        raise UsageError(
            f"name each format once: {', '.join(request.formats) or 'none given'}; known are {', '.join(FORMAT_NAMES)}"
        )
    if request.outputs is not None and (not request.outputs or len(set(request.outputs)) != len(request.outputs)):
        raise UsageError(f"name each output once: {','.join(request.outputs) or 'none given'}")
    if request.batch is not None and request.batch < 1:
        raise UsageError(f"--batch must be 'dynamic' or at least 1 (got {request.batch})")
    if not MIN_OPSET <= request.opset <= MAX_OPSET:
        raise UsageError(f"--opset must be between {MIN_OPSET} and {MAX_OPSET} (got {request.opset})")
    _check_onnx_options(request)
    check_precision(request)
    if isinstance(request.model, BuildOptions):
        _check_build_options(request.model, request)
    for name in request.formats:
        FORMATS[name].require_available()
    if request.verify:
        for name in request.formats:
            find_engine(name).require_device(request.parity.device)
        if request.parity.cache is not None:
            require_cache(request.parity.cache)


def _check_build_options(options: BuildOptions, request: ExportRequest) -> None:
    if options.num_classes is not None and not 1 <= options.num_classes <= MAX_CLASSES:
        raise UsageError(f"--num-classes must be between 1 and {MAX_CLASSES} (got {options.num_classes})")
    if options.new_head and options.weights is None:
        raise UsageError("--new-head is an option of --weights: without a checkpoint every layer is newly initialised")
    for name in request.formats:
        target = request.output_dir / f"{request.artifact_name}{FORMATS[name].suffix}"
        if options.weights is not None and same_file(target, Path(options.weights)):
            raise UsageError(f"{target} is the checkpoint itself; choose another --name or --output-dir")


def _check_onnx_options(request: ExportRequest) -> None:
    optimize = request.optimize
    if request.external_data and "onnx" not in request.formats:
        raise UsageError("--external-data is an option of --format onnx")
    if optimize.weight_dtype != "fp32" and "onnx" not in request.formats:
        raise UsageError(f"--weight-dtype {optimize.weight_dtype} is an option of --format onnx")
    for_cpu = optimize.target == "cpu" and "onnx" in request.formats
    if (optimize.autotune or optimize.optimize_for != OptimizeOptions().optimize_for) and not for_cpu:
        raise UsageError("--autotune and --optimize-for are options of --format onnx --target cpu")


def _check_model(model: BuiltModel) -> None:
    """Refuse a network that takes anything but one tensor, or whose class names are not those of its scores.

    Raises:
        UsageError: its `forward` has no parameter, or several without a default; or no output has a score for each
            class name.
    """
    forward = (model.forward_all or model.network).forward
    required = [
        parameter.name
        for parameter in inspect.signature(forward).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    if len(required) != 1:
        raise UsageError(
            f"{model.title} takes {len(required)} inputs ({', '.join(required)}); networks with one input are exported"
        )
    if model.class_names is not None:
        load_class_names(model.class_names)
        if model.class_names_of(tuple(output.name for output in model.outputs)) is None:
            scores = ", ".join(f"{one.name} {one.shape}" for one in model.outputs if one.kind != "features")
            raise UsageError(
                f"{model.title}: {count(len(model.class_names), 'class name')}, but its scores are {scores or 'none'}"
            )


def _make_clips(request: ExportRequest, model: BuiltModel, progress: Progress) -> CalibrationClips | None:
    """Return the clips that a precision below float32 is calibrated and judged with."""
    if request.precision.compute == "fp32":
        return None
    return make_calibration(model, request.precision.calibration, request.parity.seed, progress)


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
) -> tuple[WriteResult, ParityReport | None]:
    """Write one format: the first of its candidates that passes parity."""
    wanted = WriteRequest(
        request.artifact_name,
        replace(manifest, format=name),
        request.opset,
        request.optimize,
        request.precision,
        clips,
        external_data=request.external_data,
        progress=progress,
    )

    def write(candidate: Candidate, rejected: tuple[Candidate, ...]) -> WriteResult:
        with timed(seconds, "write"), translate_os_errors(request.output_dir):
            return candidate.write(stage, tuple(failed.name for failed in rejected))

    def verify(written: WriteResult) -> ParityReport:
        assert golden is not None
        artifact = LoadedArtifact(written.files[0], name, written.manifest, ())
        with timed(seconds, "verify"):
            (report,) = verify_built([artifact], golden, request.parity, progress)
        # the report names the path that the artifact will have, not the one it was staged at
        return replace(report, artifact=str(request.output_dir / Path(report.artifact).name))

    candidates = timed_iterator(seconds, "write", FORMATS[name].candidates(model, wanted))
    return first_accepted(candidates, write, verify if golden is not None else None)


def _publish(
    request: ExportRequest, model: BuiltModel, written: WriteResult, report: ParityReport | None, stage: Path
) -> Artifact:
    manifest = replace(
        written.manifest,
        files=tuple(file_entry(path) for path in written.files),
        parity=None if report is None else parity_record(report),
        checkpoint=relative_checkpoint(request, model),
        preprocessing=relative_profile(request, model),
    )
    return Artifact(publish(stage, request.output_dir, manifest), manifest)
