"""What is done with one model of the corpus: onnxruntime, inspect, verify against itself, optimize, comparison."""

from __future__ import annotations

import re
import resource
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import onnx
from corpus_models import CorpusModel
from corpus_onnxruntime import Speed, compare_speed, find_difference, make_feeds, open_session, run

from exporter import CheckFailedError, OptimizeRequest, ParityOptions, ParityReport, inspect, optimize, verify_parity
from exporter.cli.error_handling import INTERNAL_ERROR, exit_code, one_line
from exporter.types import QUICK

MIN_TIMED_MS = 1.0
"""Models that run for less are not timed."""
MAX_REASON, MAX_KIND = 300, 120


@dataclass(frozen=True)
class Step:
    """One command on one model.

    Attributes:
        code: the exit code of the command line.
        reason: its message, or of a failed check the comparison that failed; empty for exit code 0.
        kind: the reason without what differs from model to model, such as names and numbers.
        seconds: how long it took.
    """

    code: int
    reason: str
    kind: str
    seconds: float


@dataclass(frozen=True)
class Record:
    """What became of one model.

    Attributes:
        runtime: why onnxruntime does not open or run it; empty where it does.
        steps: {command: its outcome}.
        passes: the passes that changed the model.
        difference: what onnxruntime returns otherwise for the optimised file; empty where nothing, None where the
            files were not compared.
        error: the largest relative error of that comparison.
        speed: of a model that was changed and takes more than `MIN_TIMED_MS`.
        peak_mb: peak resident memory of the process so far, in MB (10^6 bytes).
    """

    runtime: str
    steps: dict[str, Step]
    passes: tuple[str, ...] = ()
    difference: str | None = None
    error: float = 0.0
    speed: Speed | None = None
    peak_mb: float = 0.0


def check(model: CorpusModel) -> dict[str, Any]:
    """Run everything on a model and return its `Record` as JSON-compatible data."""
    with tempfile.TemporaryDirectory() as folder:
        record = _check(model, Path(folder) / "optimized.onnx")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return asdict(replace(record, peak_mb=peak_mb))


def _check(model: CorpusModel, output: Path) -> Record:
    path, passes = model.path, list[str]()

    def run_verify() -> tuple[int, str]:
        (report,) = verify_parity([path], ParityOptions(against=path, input_types=QUICK if model.is_large else None))
        return (0, "") if report.passed else (1, _describe_failure(report))

    def run_optimize() -> tuple[int, str]:
        passes.extend(optimize(OptimizeRequest(path, output)).passes)
        return 0, ""

    def run_inspect() -> tuple[int, str]:
        inspect(path)
        return 0, ""

    runtime, names = _runtime_refusal(model), _find_names(path)
    commands = {"inspect": run_inspect, "verify": run_verify, "optimize": run_optimize}
    steps = {name: _step(command, names) for name, command in commands.items()}
    if runtime or not passes:
        return Record(runtime, steps, tuple(passes))
    return Record(runtime, steps, tuple(passes), *_compare(model, output))


def _find_names(path: Path) -> frozenset[str]:
    """Return the names of a graph's nodes and values, and of the file."""
    graph = onnx.load(path, load_external_data=False).graph
    values = (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    nodes = (name for node in graph.node for name in (node.name, *node.output))
    return frozenset((path.name, *values, *nodes)) - {""}


def _step(command: Callable[[], tuple[int, str]], names: frozenset[str]) -> Step:
    start = perf_counter()
    try:
        code, reason = command()
    except Exception as error:  # noqa: BLE001 - any error has an exit code
        code, reason = exit_code(error), one_line(str(error))
        if code == INTERNAL_ERROR:
            reason = f"{type(error).__name__}: {reason}{_place(error)}"
        elif isinstance(error, CheckFailedError) and error.reports:
            reason = f"{_describe_failure(error.reports[-1])}: {reason}"
    return Step(code, reason[:MAX_REASON], _kind(reason, names), perf_counter() - start)


def _describe_failure(report: ParityReport) -> str:
    failed = [row for row in report.comparisons if not row.passed]
    if not failed:
        return "; ".join(report.notes)
    return f"{failed[0].output} on {failed[0].input}: {failed[0].budget_used:.3g} of the budget"


def _kind(reason: str, names: frozenset[str]) -> str:
    """Return a reason without paths, the model's names, quoted text, shapes, element types and numbers."""
    text = re.sub(r"/\S+/", "", reason)
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    text = re.sub(rf"(?<!\w)({pattern})(?!\w)", "NAME", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "NAME", text)
    text = re.sub(r"\[[^\]]*\]|\([^()]*\)", "SIZES", text)
    text = re.sub(r"\b(b?float|u?int|bool|double|string|complex)\d*(\w*fnu?z?)?\b", "TYPE", text)
    text = re.sub(r"NAME TYPE SIZES(, NAME TYPE SIZES)*", "VALUES", text)
    return re.sub(r"[\d.e+-]*\d|\binf\b", "N", text)[:MAX_KIND]


def _place(error: Exception) -> str:
    """Return where in this package an unexpected error arose."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "exporter" in file.parts or "models" in file.parts:
            place = f" ({file.parent.name}/{file.name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _runtime_refusal(model: CorpusModel) -> str:
    """Return why onnxruntime does not open the model or run it on its test's inputs; empty where it does."""
    try:
        session = open_session(model.path)
        run(session, make_feeds(session, model.inputs()))
    except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
        return _first_line(error)
    return ""


def _compare(model: CorpusModel, output: Path) -> tuple[str | None, float, Speed | None]:
    """Compare the optimised file with the original in onnxruntime; time both where they run long enough."""
    original = open_session(model.path)
    feeds = make_feeds(original, model.inputs())
    expected = run(original, feeds)
    if find_difference(expected, run(original, feeds))[0] is not None:
        return None, 0.0, None  # it draws random numbers
    try:
        optimized = open_session(output)
        difference, error = find_difference(expected, run(optimized, feeds))
    except Exception as failure:  # noqa: BLE001 - onnxruntime raises many kinds
        return f"onnxruntime refuses the optimized file: {_first_line(failure)}", 0.0, None
    start = perf_counter()
    run(original, feeds)
    slow = (perf_counter() - start) * 1e3 > MIN_TIMED_MS
    return difference or "", error, compare_speed(original, optimized, feeds) if slow else None


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:MAX_REASON] or type(error).__name__
