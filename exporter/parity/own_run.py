"""The reference's file itself, in its own engine and its own precision: what a correct artifact of it may do too.

An artifact may overflow where the file does (`exporter.parity.overflow`), err as it does (`exporter.parity.own_error`),
and fail where the file fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.errors import CheckFailedError
from exporter.parity.feeds import as_rows, run_rows
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import Arrays, InputSet
from exporter.parity.sources import FileSource


def own_output(golden: GoldenOutputs, output: str, rows: Sequence[int]) -> NDArray[Any]:
    """Return an output of the reference's own file on some rows, shaped as the reference is; runs of a batch are kept.

    Args:
        golden: its source is a file.
        output: the output's name.
        rows: the rows of a batch.

    Raises:
        CheckFailedError: the file fails on them.
    """
    source = golden.source
    assert isinstance(source, FileSource)

    def run() -> Arrays:
        return as_rows(run_own(source, golden.inputs, rows), batched=golden.inputs.batched)

    own = golden.kept(("own run", *rows), run)[output]
    return own[: len(rows)] if golden.inputs.batched else own


def run_own(source: FileSource, inputs: InputSet, rows: Sequence[int]) -> Arrays:
    """Return the outputs of a batch of the file itself, as the engine returns them; the last row fills a fixed batch.

    Raises:
        CheckFailedError: it fails on them.
    """
    options = RuntimeOptions(signature=source.signature, vouched=source.vouched)
    with find_engine(source.format).open(source.path, options) as runtime:
        missing = (runtime.signature.batch or 0) - len(rows) if inputs.batched else 0
        return run_rows(runtime, inputs, (*rows, *(rows[-1],) * missing))


def fails_itself(source: FileSource, inputs: InputSet, rows: Sequence[int]) -> bool:
    """Return whether the file itself fails on a batch."""
    try:
        run_own(source, inputs, rows)
    except CheckFailedError:
        return True
    return False
