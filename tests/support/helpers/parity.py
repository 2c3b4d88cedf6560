"""Model files compared with others, and what they are run on."""

from pathlib import Path
from typing import Any

from exporter.onnx_io.signature import read_signature
from exporter.parity.discovery import find_inputs
from exporter.parity.input_set import InputSet
from exporter.parity.sources import FileSource
from exporter.results import ParityReport
from exporter.types import InputOptions, ParityOptions, ValueRange
from exporter.workflows.verify import verify_parity

FEW = ("random", "uniform", "sparse")
"""Input types for comparisons in which the others would show the same."""


def verify(
    mine: Path,
    theirs: Path,
    shapes: dict[str, tuple[int, ...]] | None = None,
    feeds: dict[str, Path | ValueRange] | None = None,
    arrays: tuple[Path, ...] = (),
    **options: Any,
) -> ParityReport:
    """Return the report on `mine`, compared with `theirs`."""
    inputs = InputOptions(shapes or {}, feeds or {}, arrays)
    (report,) = verify_parity([mine], ParityOptions(against=theirs, inputs=inputs, **options))  # pyright: ignore
    return report


def check(path: Path, options: InputOptions | None = None) -> ParityReport:
    """Compare a file with itself."""
    (report,) = verify_parity([path], ParityOptions(against=path, inputs=options or InputOptions()))
    return report


def find(path: Path, options: InputOptions | None = None, types: tuple[str, ...] | None = None) -> InputSet:
    """Return the inputs that a file is compared on."""
    parity = ParityOptions(inputs=options or InputOptions(), input_types=types)
    return find_inputs(FileSource(path, "onnx"), read_signature(path), parity)
