"""Exporting the variants of `bench --all` into a folder that the next run continues with."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import msgspec
from filelock import Timeout

from exporter.artifacts.files import Artifact
from exporter.bench.deployment.measuring import REFERENCE
from exporter.bench.deployment.types import BYTES_PER_VALUE, DeploymentRequest, ExportedVariant, MissingRow, Variant
from exporter.calibration_clips import CalibrationClips
from exporter.errors import C3DExportError, CheckFailedError, OutputError, UnavailableError, UsageError
from exporter.formats import FORMATS, load_artifact
from exporter.full_disks import full_disk_error
from exporter.output_targets import check_space
from exporter.requests import ExportRequest
from exporter.storage import translate_os_errors
from exporter.system import environment, library_version
from exporter.types import DEFAULT_OPSET, OptimizeOptions, ParityOptions, PrecisionOptions
from exporter.workflows.export import export
from models.builder import state_sha256
from models.built_model import BuiltModel
from models.cache import cache_folder, settings_key
from models.errors import count
from models.paths import acquire_lock, atomic_write, is_plain_name, make_folders
from models.progress import Progress, no_progress
from models.text import format_bytes

CACHE = "bench-all"
"""The folder of unfinished comparisons, in the cache folder."""
KEPT_SECONDS = 7 * 24 * 3600.0
"""After so long an unfinished comparison is removed by the next one."""
OUTCOME = "outcome.json"
"""In a variant's folder: that it was exported and verified, with its notes, or why it failed."""
LOCK = ".lock"
_OPEN: list[Path] = []
"""This process's folders, while it works in them."""
DECIDING_LIBRARIES = ("onnxscript", "onnx-ir", "nncf", "tensorrt")
"""Libraries that decide an artifact's bytes, besides those that `environment` names."""


def comparison_key(request: DeploymentRequest, model: BuiltModel, clips: CalibrationClips) -> str:
    """Return a hash of everything that decides the artifacts of a comparison and whether they pass."""
    libraries: dict[str, str] = {}
    for name in DECIDING_LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            libraries[name] = library_version(name)
    precision = replace(request.precision, calibration=replace(request.precision.calibration, clips=()))
    decides = {
        "network": [model.title, state_sha256(model.network), sorted(model.settings.items()), str(model.preprocessing)],
        "class names": model.class_names,
        "outputs": request.outputs,
        "batch": request.batch,
        "opset": request.opset,
        "external data": request.external_data,
        "device": request.measure.device,
        "precision": asdict(precision),
        "clips": clips.sha256,
        "environment": environment() | libraries,
    }
    return settings_key(decides)[:16]


@dataclass
class _WorkFolder:
    """The folder of a comparison, and whether it is kept at the end."""

    path: Path
    keep: bool


@contextlib.contextmanager
def open_folder(work_dir: Path | None, key: str) -> Generator[_WorkFolder]:
    """Yield the folder of a comparison: a new one, or that of a run that was stopped.

    Without `work_dir` it is in the cache folder, and removed at the end unless it is to be kept; an error or a signal
    leaves it to the next run.

    Raises:
        OutputError: it cannot be written to.
        UsageError: another run is using it.
    """
    parent = cache_folder() / CACHE if work_dir is None else work_dir
    folder = parent / key
    with translate_os_errors(parent):
        make_folders(folder)
        if work_dir is None:
            _remove_old(parent, folder)
        try:
            lock = acquire_lock(folder / LOCK, timeout=0)
        except Timeout:
            raise UsageError(f"another bench --all works on the same network in {folder}; wait for it") from None
    work = _WorkFolder(folder, work_dir is not None)
    with lock:
        _OPEN.append(folder)
        try:
            yield work
        finally:
            _OPEN.remove(folder)
    if not work.keep:
        shutil.rmtree(folder, ignore_errors=True)


def describe_unfinished() -> str:
    """Return what a run that is stopped now leaves to the next one; nothing outside `open_folder`."""
    return "; ".join(
        f"{count(len([*folder.glob(f'*/{OUTCOME}')]), 'export')} kept in {folder}: the same command goes on there"
        for folder in _OPEN
    )


def _remove_old(parent: Path, own: Path) -> None:
    for folder in parent.iterdir():
        if folder != own and time.time() - folder.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def require_space(folder: Path, model: BuiltModel, variants: Sequence[Variant]) -> None:
    """Check that all variants that are still to be written fit on the disk, and one more that is being written.

    So must the temporary files of the format that writes the most of them.

    Raises:
        OutputError: there is too little space; nothing was written.
    """
    each = BYTES_PER_VALUE * model.parameters
    missing = [variant for variant in variants if not (folder / variant.slug / OUTCOME).is_file()]
    if missing:
        what = f"the comparison ({count(len(missing), 'artifact')} of at most about {format_bytes(each)} each)"
        temporary = each * max(FORMATS[variant.format].temporary_copies for variant in missing)
        check_space(folder, (len(missing) + 1) * each, what, "--work-dir", temporary=temporary)


def command_request(variant: Variant, request: DeploymentRequest) -> ExportRequest:
    """Return the export of a variant as a user would ask for it: into the default folder, by the default name."""
    lower, device = variant.precision != "fp32", request.measure.device
    onnx = variant.format == "onnx"
    return ExportRequest(
        (variant.format,),
        request.model,
        outputs=request.outputs,
        batch=request.batch,
        opset=DEFAULT_OPSET if request.opset is None or not onnx else request.opset,
        external_data=onnx and bool(request.external_data),
        optimize=OptimizeOptions(target=variant.target, weight_dtype=variant.weight_dtype),
        precision=replace(request.precision, compute=variant.precision) if lower else PrecisionOptions(),
        parity=ParityOptions(device=None if device == "cpu" else device),
    )


def export_variants(
    variants: Sequence[Variant],
    model: BuiltModel,
    request: DeploymentRequest,
    folder: Path,
    progress: Progress,
    finished: Progress = no_progress,
) -> tuple[tuple[ExportedVariant, ...], tuple[MissingRow, ...]]:
    """Export and verify what an earlier run has not; a variant that fails is reported, and the others go on.

    `finished` is called with a line for each variant.

    Raises:
        OutputError: the folder cannot be written to, or is full.
    """
    exported: list[ExportedVariant] = []
    missing: list[MissingRow] = []
    start = time.monotonic()
    limit = request.export_seconds
    for number, variant in enumerate(variants, start=1):
        own = folder / variant.slug
        what = f"{variant} ({number} of {len(variants)})"
        if (found := _find(variant, own)) is None:
            if limit is not None and time.monotonic() - start > limit:
                reason = f"not exported in {limit:g} s (--export-seconds); the same command goes on with it"
                missing.append(MissingRow(str(variant), reason, "postponed"))
                finished(f"{what}: postponed")
                continue
            begun = time.monotonic()
            wanted = command_request(variant, replace(request, model=model))
            wanted = replace(
                wanted,
                output_dir=own,
                name=f"{wanted.artifact_name}-{variant.slug}",
                parity=replace(wanted.parity, cache=folder / REFERENCE),
            )
            found = _export(variant, wanted, _prefix(progress, what))
            taken = f"in {time.monotonic() - begun:.0f} s"
        else:
            taken = "by an earlier run"
        if isinstance(found, ExportedVariant):
            exported.append(found)
            finished(f"{what}: exported and verified {taken}, {format_bytes(found.bytes)}")
        else:
            missing.append(found)
            finished(f"{what}: {'failed' if found.kind == 'failed' else 'cannot be had here'}: {found.reason}")
    return tuple(exported), tuple(missing)


def _prefix(progress: Progress, what: str) -> Progress:
    return lambda step: progress(f"{what}: {step}")


def _export(variant: Variant, request: ExportRequest, progress: Progress) -> ExportedVariant | MissingRow:
    """Export one variant, and record the outcome unless another run may have another one."""
    folder = request.output_dir
    try:
        result = export(request, progress)
    except OutputError:
        raise
    except (UnavailableError, UsageError) as error:
        return MissingRow(str(variant), str(error), "unavailable")
    except CheckFailedError as error:
        reason = _failure(error)
        _record(folder, {"failed": reason})
        return MissingRow(str(variant), reason, "failed")
    except C3DExportError as error:
        return MissingRow(str(variant), str(error), "failed")
    except Exception as error:  # one format's defect must not cost the others' results
        if (full := full_disk_error(error, folder)) is not None:  # the others would meet it too
            raise full from error
        return MissingRow(str(variant), f"a bug in c3d-export: {type(error).__name__}: {error}", "failed")
    (artifact,) = result.artifacts
    _record(folder, {"artifact": artifact.path.name, "notes": result.notes})
    return _exported(variant, artifact, result.notes)


@dataclass(frozen=True)
class _Outcome:
    """What is recorded of an export: why it failed, or its artifact and the notes about it."""

    failed: str = ""
    artifact: str = ""
    notes: tuple[str, ...] = ()


def _find(variant: Variant, folder: Path) -> ExportedVariant | MissingRow | None:
    """Return what an earlier run found of a variant; None where it is to be exported."""
    try:
        outcome = msgspec.json.decode((folder / OUTCOME).read_bytes(), type=_Outcome)
        if outcome.failed:
            return MissingRow(str(variant), outcome.failed, "failed")
        if not is_plain_name(outcome.artifact):
            return None
        loaded = load_artifact(folder / outcome.artifact)
    except (OSError, ValueError, RecursionError, C3DExportError):  # absent or damaged
        return None
    manifest = loaded.manifest
    if manifest is None or manifest.parity is None or not manifest.parity.passed:
        return None
    return _exported(variant, Artifact(loaded.path, manifest), outcome.notes)


def _record(folder: Path, outcome: dict[str, object]) -> None:
    with translate_os_errors(folder):
        make_folders(folder)
        atomic_write(folder / OUTCOME, json.dumps(outcome).encode())


def _exported(variant: Variant, artifact: Artifact, notes: tuple[str, ...]) -> ExportedVariant:
    manifest = artifact.manifest
    size = sum(entry.bytes for entry in manifest.files)
    return ExportedVariant(variant, artifact.path, size, notes, len(manifest.raised_layers))


def _failure(error: CheckFailedError) -> str:
    """Return why an artifact was not published: its worst comparison, or what the report says."""
    failed = [report for report in error.reports if not report.passed]
    for report in failed:
        if report.held_out is not None and not report.held_out.passed:
            return f"not as accurate as it must be: {report.held_out}"
    rows = [row for report in failed for row in report.comparisons if not row.passed]
    if not rows:
        return failed[-1].notes[-1] if failed and failed[-1].notes else str(error)
    worst = max(rows, key=lambda row: row.budget_used)
    return (
        f"not as accurate as it must be: {worst.output} on {worst.input} at {worst.snr_db:.1f} dB, "
        f"{worst.budget_used:.3g} times the allowed error"
    )
