"""The rewriting in `optimize()`: read the model, run the passes, write the result into a stage and open it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.store import staging
from exporter.engines.base import RuntimeOptions
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.errors import ArtifactError, UsageError
from exporter.formats.onnx import PASSES_KEY
from exporter.onnx_io.structure import structure_digest
from exporter.passes.decisions import RECORD_KEY, RECORD_OPTION, UNDONE, DecisionRecord
from exporter.requests import OptimizeRequest
from exporter.storage import translate_os_errors
from exporter.system import library_version
from exporter.temporary_folders import hide_stage
from exporter.timing import timed
from exporter.types import OptimizeOptions
from models.config import MANIFEST_KEY
from models.errors import without_path
from models.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporter.passes.base import PassesResult

MAX_SINGLE_FILE_BYTES = (1 << 31) - (1 << 22)
TRIAL = ".trial.onnx"
"""A model that is only written to see whether an engine opens it; no artifact's name begins with a dot."""


@dataclass(frozen=True)
class Candidate:
    """One way to rewrite the model.

    Attributes:
        options: how.
        raise_opset: convert an old opset first.
        keep_original: do not rewrite it at all.
    """

    options: OptimizeOptions
    raise_opset: bool = True
    keep_original: bool = False


@dataclass(frozen=True)
class Rewritten:
    """What the passes made of the model: files in a staging folder, or no files where no pass changed anything.

    Attributes:
        candidate: how it was rewritten.
        passes: what the passes did.
        record: the decisions that lead to the same result again.
        stage: the staging folder of the files.
        files: the model, then its data.
        manifest: for the files, where the original has one.
        notes: what the user should know.
    """

    candidate: Candidate
    passes: PassesResult
    record: DecisionRecord
    stage: Path | None = None
    files: tuple[Path, ...] = ()
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Rewriter:
    """Rewrites one model, for each candidate anew.

    Attributes:
        request: the model and how it is verified.
        original: the model.
        target: the file that the result is for.
        stack: removes the stages at its end.
        seconds: time by phase.
        progress: called at each long step.
        measured: times that an earlier run recorded.
    """

    request: OptimizeRequest
    original: LoadedArtifact
    target: Path
    stack: ExitStack
    seconds: dict[str, float]
    progress: Progress
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])

    @cached_property
    def structure(self) -> str:
        """The digest of the model's structure, which its decisions are for."""
        return structure_digest(self.original.path)

    def rewrite(self, candidate: Candidate) -> Rewritten:
        """Run the passes and write the result into a stage; where onnxruntime rejects it, find the pass and undo it."""
        rewritten = self._run_passes(candidate)
        if not rewritten.passes.modified:
            return rewritten
        stage = self.stack.enter_context(staging(self.target.parent))
        written = self._write(rewritten, stage)
        fault = self._opening_fault(written.files[0])
        if fault is None:
            return written
        rewritten = self._run_passes(candidate, lambda model: self._trial(model, stage))
        return self._write(rewritten, stage) if rewritten.passes.modified else rewritten

    def _run_passes(self, candidate: Candidate, opens: Callable[[ir.Model], str | None] | None = None) -> Rewritten:
        from exporter.onnx_io.reader import read_model
        from exporter.passes.autotune import Measurements, autotune_folder
        from exporter.passes.base import run_passes
        from exporter.passes.pipelines import build_passes, prepare_passes

        options, measurements = candidate.options, Measurements(autotune_folder(), self.measured)
        with timed(self.seconds, "load"):
            self.progress(f"loading {self.request.model.name}")
            model = read_model(self.original.path, self.request.inputs.shapes)
        with timed(self.seconds, "passes"):
            prepare = prepare_passes(self.request.inputs.shapes, raise_opset=candidate.raise_opset)
            passes = () if candidate.keep_original else (*prepare, *build_passes(options, self.progress, measurements))
            result = run_passes(model, passes, self.progress, opens)
        self._require_sizes(result)
        record = DecisionRecord(
            result.modified,
            options.max_tile,
            options.autotune,
            candidate.raise_opset,
            measurements.used,
            structure=self.structure,
        )
        notes = list[str]()
        if self.measured and measurements.new:
            notes.append(f"{measurements.new} variants are not in {self.request.decisions}: they were measured here")
        if measurements.busy:
            notes.append("other programs use the processor: variants were compared by the time of one thread")
        return Rewritten(candidate, result, record, notes=tuple(notes))

    def _require_sizes(self, result: PassesResult) -> None:
        """Refuse sizes of the user that the model cannot have, instead of going on without them.

        Raises:
            UsageError: the pass that fixes them was undone.
        """
        from exporter.passes.prepare import FixSizes

        for row in result.decisions:
            if row.node == FixSizes.name and row.action == UNDONE:
                raise UsageError(f"{self.request.model}: the model does not take the sizes of --shape: {row.reason}")

    def _write(self, rewritten: Rewritten, stage: Path) -> Rewritten:
        """Write the rewritten model into the stage and check it."""
        from exporter.onnx_io.external_data import external_files
        from exporter.onnx_io.writer import write_onnx

        passes, model = rewritten.passes, rewritten.passes.model
        with timed(self.seconds, "write"), translate_os_errors(self.target.parent):
            self.progress(f"writing {self.target.name}")
            external = bool(external_files(self.original.path)) or weight_bytes(model) > MAX_SINGLE_FILE_BYTES
            manifest = None
            if self.original.manifest is not None:
                manifest = self._manifest(rewritten, external=external)
                model.metadata_props[MANIFEST_KEY] = manifest.embedded().to_json()
            else:
                model.metadata_props[PASSES_KEY] = ", ".join(passes.changed)
                model.metadata_props[RECORD_KEY] = rewritten.record.to_json()
            files = write_onnx(model, stage, self.target.name, external_data=external, full_check=passes.full_check)
        return replace(rewritten, stage=stage, files=files, manifest=manifest)

    def _manifest(self, rewritten: Rewritten, *, external: bool) -> Manifest:
        """Return the original's manifest as it is for the rewritten model."""
        from exporter.passes.base import manifest_options

        assert self.original.manifest is not None
        old, candidate = self.original.manifest, rewritten.candidate
        options = {**old.options, **manifest_options(candidate.options, rewritten.passes), "external_data": external}
        options[RECORD_OPTION] = rewritten.record.to_json()
        names = ("onnx", "onnx-ir", "onnxscript", *(("onnxruntime",) if candidate.options.autotune else ()))
        versions = {**old.versions, **{name: library_version(name) for name in names}}
        return replace(old, name=self.target.stem, options=options, versions=versions, files=(), parity=None)

    def _trial(self, model: ir.Model, stage: Path) -> str | None:
        """Write a model only to see whether onnxruntime opens it; return why not, or None."""
        from exporter.onnx_io.writer import write_onnx

        files = write_onnx(model, stage, TRIAL, external_data=True, full_check=False)
        try:
            return self._opening_fault(files[0])
        finally:
            for path in files:
                path.unlink()

    def _opening_fault(self, path: Path) -> str | None:
        """Return why onnxruntime does not open a file, without the file's name, or None."""
        with timed(self.seconds, "open"):
            self.progress(f"opening {self.target.name}")
            try:
                with OnnxRuntime(path, RuntimeOptions()):
                    return None
            except ArtifactError as error:
                return hide_stage(without_path(error, path).removeprefix("onnxruntime rejects it: "))


def weight_bytes(model: ir.Model) -> int:
    """Return the bytes of a model's weights."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
