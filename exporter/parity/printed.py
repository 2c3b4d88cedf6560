"""Converts floating-point numbers that a model returns as text, so that they are compared as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from exporter.parity.execution import RunResult
from exporter.parity.input_set import Arrays
from exporter.parity.sources import GoldenSource


def parse_outputs(outputs: Mapping[str, Any], source: GoldenSource) -> Arrays:
    """Return outputs with the text of floating-point numbers as float64.

    Args:
        outputs: {output of the reference: values}.
        source: says which outputs are such text.
    """
    return {name: _parse(values) if is_printed(name, source) else values for name, values in outputs.items()}


def parse_result(result: RunResult, source: GoldenSource) -> RunResult:
    """Return what a model returned, with the text of floating-point numbers as float64."""
    return replace(result, batches=tuple((batch, parse_outputs(values, source)) for batch, values in result.batches))


def is_printed(output: str, source: GoldenSource) -> bool:
    """Return whether an output holds floating-point numbers that a Cast made into text."""
    return source.decisions is not None and source.decisions.is_printed(output)


def _parse(values: Any) -> Any:
    """Return text as float64; text that is not a number becomes NaN."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "OUS":
        return values
    return np.array([_number(text) for text in values.reshape(-1).tolist()], np.float64).reshape(values.shape)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
