"""Which rewriting of a model `optimize()` keeps: candidates in order, each compared with the original."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from exporter.cpu_load import is_busy
from exporter.formats import load_artifact
from exporter.passes.decisions import RAISE_OPSET, DecisionRecord
from exporter.passes.tiles import ACCURATE_TILE, NO_TILE, has_tiles
from exporter.requests import OptimizeRequest
from exporter.results import ParityReport
from exporter.timing import timed
from exporter.types import QUICK, ParityOptions
from exporter.workflows.optimization.rewriter import Candidate, Rewriter, Rewritten, weight_bytes
from exporter.workflows.optimization.speed import Speed, compare_speed


@dataclass
class Trial:
    """The candidates of one run, and what became of those that were tried.

    Attributes:
        request: the model and how it is verified.
        rewriter: rewrites the model.
        record: the decisions of an earlier run; None to decide here.
        notes: why candidates were rejected.
        speed: the last comparison of a rewritten model with the original.
        slower: the last candidate that was not faster.
    """

    request: OptimizeRequest
    rewriter: Rewriter
    record: DecisionRecord | None
    notes: list[str] = field(default_factory=list[str])
    speed: Speed | None = None
    slower: Rewritten | None = None
    _failed: Rewritten | None = None

    def candidates(self) -> Iterator[Candidate]:
        """Yield the candidate that the options ask for, then what may still do where that fails or is not faster."""
        if self.record is not None:
            options = self.record.apply(self.request.optimize)
            yield Candidate(options, self.record.raise_opset, keep_original=not self.record.rewritten)
            return
        candidate = Candidate(self.request.optimize)
        yield candidate
        for tile, where, instead in (
            (ACCURATE_TILE, "with larger Winograd tiles", f"tiles of {ACCURATE_TILE} were tried"),
            (NO_TILE, "with Winograd", "it was left out"),
        ):
            if self._failed is not None and has_tiles(self._failed.passes.decisions, tile):
                candidate = replace(candidate, options=replace(candidate.options, max_tile=tile))
                self.notes.append(f"{where} the outputs exceeded the error budget; {instead}")
                yield candidate
        if self._failed is not None and RAISE_OPSET in self._failed.passes.changed:
            self.notes.append("converted to a newer opset, the model failed the comparison; its opset was kept")
            candidate = replace(candidate, raise_opset=False)
            yield candidate
        if self.slower is not None and not candidate.options.autotune and _has_predictions(self.slower):
            self.notes.append(f"chosen by predicted times, it was {self.speed}: its variants were measured")
            yield replace(candidate, options=replace(candidate.options, autotune=True))
        if self.slower is not None:
            self.notes.append(f"the rewritten model is not faster here: {self.speed}; --no-measure keeps it anyway")
            yield replace(candidate, keep_original=True)

    def rewrite(self, candidate: Candidate, _: tuple[Candidate, ...]) -> Rewritten:
        """Rewrite the model as a candidate asks for; by predicted times, where measured ones lead to a slower model."""
        rewritten = self.rewriter.rewrite(candidate)
        measured = candidate.options.autotune and self.request.measure and self.record is None
        if not measured or candidate.keep_original or self.slower is not None:
            return rewritten
        options = replace(candidate.options, autotune=False)
        predicted = self.rewriter.rewrite(replace(candidate, options=options))
        if None in (rewritten.stage, predicted.stage) or _actions(rewritten) == _actions(predicted):
            return rewritten
        speed = self._compare(predicted.files[0], rewritten, processor_time=is_busy())
        if isinstance(speed, str) or speed.speedup >= 1:
            return rewritten
        self.notes.append(f"variants chosen by measuring each layer made the model slower ({speed}); predictions chose")
        return predicted

    def verify(self, rewritten: Rewritten) -> ParityReport | None:
        """Compare the staged model with the original, and name it in the report by where it is meant to go."""
        from exporter.workflows.verify_file import verify_against_file

        self._failed = None
        if rewritten.stage is None:
            return None
        rewriter, request = self.rewriter, self.request
        artifact = replace(load_artifact(rewritten.files[0]), notes=())
        with timed(rewriter.seconds, "verify"):
            (report,) = verify_against_file([artifact], rewriter.original, _parity_options(request), rewriter.progress)
        if not report.passed:
            self._failed = rewritten
        return replace(report, artifact=str(rewriter.target))

    def is_faster(self, rewritten: Rewritten) -> bool:
        """Return whether the staged model is faster than the original here, or that cannot be measured."""
        if rewritten.stage is None:
            return True
        speed = self._compare(self.rewriter.original.path, rewritten)
        if isinstance(speed, str):
            self.notes.append(f"the speed was not compared: {speed}")
            return True
        self.speed, self.slower = speed, None if speed.faster else rewritten
        return speed.faster

    def _compare(self, original: Path, rewritten: Rewritten, *, processor_time: bool = False) -> Speed | str:
        """Compare the speed of the staged model with that of another file; see `compare_speed`."""
        from exporter.workflows.verify_file import draw_feeds

        rewriter, request = self.rewriter, self.request
        with timed(rewriter.seconds, "measure"):
            return compare_speed(
                original,
                rewritten.files[0],
                lambda signature: draw_feeds(rewriter.original, signature, _parity_options(request)),
                weight_bytes(rewritten.passes.model),
                rewriter.progress,
                processor_time=processor_time,
            )


def _actions(rewritten: Rewritten) -> list[tuple[str, str]]:
    """Return what was done with each node that did not stay as it was."""
    return [(row.node, row.action) for row in rewritten.passes.decisions if not row.unchanged]


def _parity_options(request: OptimizeRequest) -> ParityOptions:
    return ParityOptions(seed=request.seed, inputs=request.inputs, input_types=QUICK, max_memory=request.max_memory)


def _has_predictions(rewritten: Rewritten) -> bool:
    """Return whether a node was rewritten because of a predicted time."""
    return any(row.predicted_ms is not None and not row.unchanged for row in rewritten.passes.decisions)
