"""`optimize()`: any ONNX file, the same function, faster. Load, rewrite, verify against the original, publish.

A model that no pass changes is left alone, byte for byte. Nothing reaches the output folder before it has passed.
"""

import filecmp
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifact import MANIFEST_SUFFIX, Manifest, ParityRecord, file_entry, manifest_path
from exporter.errors import ArtifactError, CheckFailedError, UsageError
from exporter.formats.onnx import PASSES_KEY
from exporter.parity.inputs import QUICK
from exporter.parity.reference import Subject, load_subject, relative_to
from exporter.parity.tolerance import FACTOR
from exporter.publish import check_name, output_errors, publish, put_in_place, same_file, staging
from exporter.timing import timed
from exporter.types import OptimizeRequest, ParityOptions
from exporter.verdicts import ParityReport
from models.errors import Progress, quiet
from models.spec import MANIFEST_KEY

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporter.passes.base import Applied, Decision

SUFFIX = ".onnx"
ACCURATE_TILE = 2
"""Winograd tiles that round hardly more than a plain convolution: what is tried where larger ones fail the check."""
REDUCED = ("FLOAT16", "BFLOAT16", "FLOAT8", "FLOAT4", "INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2")
LARGEST_ONE_FILE = (1 << 31) - (1 << 22)


@dataclass(frozen=True)
class Optimized:
    """What an optimisation did.

    Attributes:
        source: the model.
        path: the file to use now: a new one, or the source where nothing changed and no other name was asked for.
        modified: whether the graph changed.
        passes: those that changed it.
        decisions: what became of which node.
        report: the verdict against the original, None without verification or change.
        files: what was written.
        bytes_before: of the source and its data.
        bytes_after: of the file to use and its data.
        notes: what the user should know.
        seconds: by phase.
    """

    source: Path
    path: Path
    modified: bool
    passes: tuple[str, ...]
    decisions: "tuple[Decision, ...]"
    report: ParityReport | None
    files: tuple[Path, ...]
    bytes_before: int
    bytes_after: int
    notes: tuple[str, ...]
    seconds: dict[str, float]


class NotTheSameError(CheckFailedError):
    """The rewritten model does not answer as the original does; it was not published."""

    def __init__(self, source: Path, report: ParityReport) -> None:
        super().__init__(
            f"{source}: the optimised model does not answer as the original does; nothing was written "
            "(--explain --no-verify shows what was rewritten)"
        )
        self.report = report


def optimize(request: OptimizeRequest, progress: Progress = quiet) -> Optimized:
    """Rewrite an ONNX model and publish the result, once it is held against the original in float64.

    Args:
        request: the model and how to treat it.
        progress: told at each long step.

    Raises:
        UsageError: options that make no sense, or an output that another artifact's manifest describes.
        ArtifactError: the model is bad.
        IntegrityError: it is not the one that the manifest beside it describes.
        NotTheSameError: the result does not answer as the original does; nothing was written.
        OutputError: the output folder cannot be written to, or is full.
    """
    try:
        return _attempt(request, progress)
    except NotTheSameError:
        if request.graph.largest_tile <= ACCURATE_TILE:
            raise
        # a deep stack of convolutions adds up what larger tiles round away
        graph = replace(request.graph, largest_tile=ACCURATE_TILE)
        done = _attempt(replace(request, graph=graph), progress)
        outcome = "tiles of 2 hold it" if done.modified else "tiles of 2 are no faster here"
        return replace(done, notes=(*done.notes, f"larger Winograd tiles left the error budget; {outcome}"))


def _attempt(request: OptimizeRequest, progress: Progress) -> Optimized:
    from exporter.formats.onnx_reader import data_files, read_model
    from exporter.passes.base import Applied, apply
    from exporter.passes.recipes import recipe

    seconds: dict[str, float] = {}
    subject = load_onnx(request.model)
    target = target_of(request, subject)
    with timed(seconds, "load"):
        progress(f"loading {request.model.name}")
        model = read_model(subject.path)
        data = data_files(model, subject.path)
    with timed(seconds, "passes"):
        refusal = refusal_of(model)
        applied = Applied(False, (), ()) if refusal else apply(model, recipe(request.graph, progress), progress)
    before = sum(path.stat().st_size for path in (subject.path, *data))
    notes = (*subject.notes, *([refusal] if refusal else []))
    if not applied.modified:
        del model
        return _left_alone(request, subject, target, data, applied, notes, seconds, before)
    with staging(target.parent) as stage:
        with timed(seconds, "write"), output_errors(target.parent):
            progress(f"writing {target.name}")
            staged, manifest = _write(request, subject, model, applied, stage, target, external=bool(data))
            del model
        report = None
        if request.verify:
            with timed(seconds, "verify"):
                report = _verify(request, subject, staged[0], target, progress)
        with timed(seconds, "publish"):
            if manifest is not None:
                manifest = replace(manifest, parity=_parity_record(report))
            files = _publish(subject, stage, staged, target, manifest)
    return Optimized(
        source=request.model, path=target, modified=True, passes=applied.changed, decisions=applied.decisions,
        report=report, files=files, bytes_before=before, bytes_after=_bytes(files), notes=notes, seconds=seconds,
    )  # fmt: skip


def load_onnx(path: Path) -> Subject:
    """Find the model and its manifest.

    Raises:
        ArtifactError: no such file, or not ONNX by its name.
        IntegrityError: the manifest beside it describes another file.
    """
    subject = load_subject(path)
    if subject.format != "onnx":
        raise ArtifactError(f"{path}: optimize rewrites ONNX files; export with --format onnx")
    notes = () if subject.manifest is None else subject.notes
    return replace(subject, notes=notes)


def target_of(request: OptimizeRequest, subject: Subject) -> Path:
    """Return the file to write.

    Raises:
        UsageError: not an ONNX file's name, a folder, or a file that a manifest of its own describes.
    """
    target = request.output or subject.path.with_name(f"{subject.path.stem}.optimized{SUFFIX}")
    if target.suffix != SUFFIX or target.is_dir():
        raise UsageError(f"-o {target}: must be a file whose name ends in {SUFFIX}")
    check_name(target.stem)
    foreign = subject.manifest is None and manifest_path(target).exists()
    if foreign and not same_file(target, subject.path):
        raise UsageError(
            f"{target}: {manifest_path(target).name} beside it describes another artifact; choose another name with -o"
        )
    return target


def refusal_of(model: "ir.Model") -> str | None:
    """Return why a model is left alone altogether: its weights are not float32."""
    values = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    held = {tensor.dtype for tensor in values if tensor is not None and len(tensor.shape.numpy()) > 0}
    reduced = {kind for kind in held if kind.name.startswith(REDUCED)}
    if not reduced:
        return None
    names = ", ".join(sorted(kind.name.lower() for kind in reduced))
    return f"its weights are {names}; only models with float32 weights are rewritten"


def _write(
    request: OptimizeRequest, subject: Subject, model: "ir.Model", applied: "Applied", stage: Path, target: Path,
    *, external: bool,
) -> tuple[list[Path], Manifest | None]:  # fmt: skip
    """Write the rewritten model into the stage and check it; return its files, the model first, and its manifest."""
    from exporter.formats.onnx import check_written
    from exporter.formats.onnx_writer import write_onnx

    external = external or _weight_bytes(model) > LARGEST_ONE_FILE
    manifest = None
    if subject.manifest is not None:
        manifest = _described(request, subject.manifest, applied, target, external=external)
        model.metadata_props[MANIFEST_KEY] = manifest.essential().to_json()
    else:
        model.metadata_props[PASSES_KEY] = ", ".join(applied.changed)
    written = write_onnx(model, stage, target.name, external_data=external)
    check_written(written)
    return [written.model, *([written.data] if written.data else [])], manifest


def _weight_bytes(model: "ir.Model") -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def _described(
    request: OptimizeRequest, manifest: Manifest, applied: "Applied", target: Path, *, external: bool
) -> Manifest:
    """Return the original's manifest as it stands for the rewritten model."""
    from exporter.passes.base import recorded

    options = {**manifest.options, **recorded(request.graph, applied), "external_data": external}
    names = ("onnx", "onnx-ir", "onnxscript", *(("onnxruntime",) if request.graph.tune else ()))
    versions = {**manifest.versions, **{name: version(name) for name in names}}
    return replace(manifest, name=target.stem, options=options, versions=versions, files=(), parity=None)


def _verify(request: OptimizeRequest, subject: Subject, staged: Path, target: Path, progress: Progress) -> ParityReport:
    """Hold the staged model against the original, and name it in the report by where it is meant to go."""
    from exporter.parity.verify import verify_parity

    options = ParityOptions(seed=request.seed, against=str(subject.path), kinds=QUICK)
    (report,) = verify_parity([staged], options, progress=progress, shapes=request.shapes)
    report = replace(
        report, artifact=str(target), notes=tuple(note for note in report.notes if "no manifest" not in note)
    )
    if not report.passed:
        raise NotTheSameError(request.model, report)
    return report


def _parity_record(report: ParityReport | None) -> ParityRecord | None:
    if report is None:
        return None
    worst = max(row.share for row in report.comparisons)
    return ParityRecord(report.passed, report.runtime, report.placement.device, FACTOR, float(f"{worst:.3g}"))


def _publish(
    subject: Subject, stage: Path, staged: Sequence[Path], target: Path, manifest: Manifest | None
) -> tuple[Path, ...]:
    """Move the staged files, the model first in the list, beside each other; return them in place."""
    files = tuple(target.with_name(path.name) for path in staged)
    if manifest is None:
        for path in reversed(staged):  # the model last: until then nothing refers to its data
            put_in_place(path, target.with_name(path.name))
        return files
    weights = manifest.weights
    if weights.path is not None:
        weights = replace(weights, path=relative_to(subject.path.parent / weights.path, target.parent))
    entries = tuple(file_entry(path) for path in staged)
    publish(stage, target.parent, replace(manifest, files=entries, weights=weights))
    return (*files, manifest_path(target))


def _left_alone(
    request: OptimizeRequest, subject: Subject, target: Path, data: Sequence[Path], applied: "Applied",
    notes: tuple[str, ...], seconds: dict[str, float], before: int,
) -> Optimized:  # fmt: skip
    """Return the result of a model that nothing changed: itself, or its bytes under the name asked for."""
    files: tuple[Path, ...] = ()
    if request.output is not None and not same_file(target, subject.path):
        with timed(seconds, "publish"):
            files = _copy(subject, target, data)
    path = target if files else subject.path
    return Optimized(
        source=request.model, path=path, modified=False, passes=(), decisions=applied.decisions, report=None,
        files=files, bytes_before=before, bytes_after=before, notes=notes, seconds=seconds,
    )  # fmt: skip


def _copy(subject: Subject, target: Path, data: Sequence[Path]) -> tuple[Path, ...]:
    """Copy a model with its data and its manifest, byte for byte, under another name or to another folder."""
    # a manifest beside the file names it, and goes with it; one inside stays there
    manifest = subject.manifest if manifest_path(subject.path).exists() else None
    if manifest is None and same_file(target.parent, subject.path.parent):
        data = ()  # both models refer to the same file
    for path in data:
        there = target.with_name(path.name)
        if there.exists() and not filecmp.cmp(there, path, shallow=False):
            raise UsageError(f"{there} exists and is another file; choose another folder with -o")
    with staging(target.parent) as stage:
        with output_errors(target.parent):
            staged = [stage / target.name, *(stage / path.name for path in data)]
            for source, copy in zip((subject.path, *data), staged, strict=True):
                shutil.copyfile(source, copy)
        return _publish(subject, stage, staged, target, manifest)


def _bytes(files: Sequence[Path]) -> int:
    """Return the size of a model and its data, without the manifest."""
    return sum(path.stat().st_size for path in files if not path.name.endswith(f"{SUFFIX}{MANIFEST_SUFFIX}"))
