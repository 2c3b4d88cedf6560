"""Conversions between an input set and what a model takes and returns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Runtime
from exporter.errors import ArtifactError
from exporter.onnx_io.dtypes import numpy_dtype
from exporter.parity.input_set import Arrays, InputSet
from exporter.parity.sequences import item_dtype, unpack
from exporter.parity.sources import GoldenSource
from models.specs import TensorSpec


def cast_feeds(specs: Sequence[TensorSpec], feeds: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the feeds in the dtypes of a model's inputs; numbers out of a dtype's range become infinite.

    A sequence is a list of arrays. Float64 arrays stay: they are for a model in float64, whatever its file states.
    """
    wide = {name for name, values in feeds.items() if getattr(values, "dtype", None) == np.float64}
    dtypes = {spec.name: spec.dtype for spec in specs if spec.name not in wide}
    return {name: cast(values, dtypes[name]) if name in dtypes else values for name, values in feeds.items()}


def run_rows(runtime: Runtime, inputs: InputSet, rows: Sequence[int]) -> Arrays:
    """Return what a model that takes its inputs under the names of an input set returns for some rows together.

    Raises:
        CheckFailedError: it fails on them.
    """
    return runtime.run(cast_feeds(runtime.signature.inputs, inputs.select(rows)))


def cast(values: Any, dtype: str) -> Any:
    """Return values in a dtype by its ONNX name (`float32`, `bfloat16`, `string`), the same array if it has it.

    Of a sequence (`seq(float32)`), each item in a list.
    """
    if isinstance(values, list):
        items: list[Any] = values
        return [cast(item, dtype) for item in items]
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(numpy_dtype(item_dtype(dtype)), copy=False)


def as_rows(outputs: Mapping[str, Any], *, batched: bool) -> Arrays:
    """Return copies of a model's outputs whose first axis is over rows or items.

    An output of onnxruntime is a view of the session's memory, all of which it keeps allocated.

    Args:
        outputs: arrays; of inputs that are no rows of a batch, also sequences and optional values.
        batched: the first axis is the batch, so that a number becomes (1,). Otherwise an array is one item,
            (1, *shape); see `unpack`.
    """
    if batched:
        return {name: np.array(values, ndmin=1) for name, values in outputs.items()}
    return {name: array for key, value in outputs.items() for name, array in unpack(key, value).items()}


def parse_outputs(outputs: Mapping[str, Any], source: GoldenSource) -> Arrays:
    """Return outputs with the text of floating-point numbers as float64, so that they are compared as numbers.

    Text that is not a number becomes NaN.

    Args:
        outputs: {output of the reference: values}.
        source: says which outputs are such text.
    """
    return {name: _parse(values) if is_printed(name, source) else values for name, values in outputs.items()}


def is_printed(output: str, source: GoldenSource) -> bool:
    """Return whether an output holds floating-point numbers that a Cast made into text."""
    return source.decisions is not None and source.decisions.is_printed(output)


def _parse(values: Any) -> Any:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "OUS":
        return values
    return np.array([_number(text) for text in values.reshape(-1).tolist()], np.float64).reshape(values.shape)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def rename_outputs(path: Path, names: Mapping[str, str], outputs: Mapping[str, Any]) -> Arrays:
    """Return the outputs under the reference's names, without those that have none; `names` is {output: that name}.

    Raises:
        ArtifactError: one is neither a tensor, nor a sequence of tensors, nor an optional value that is absent.
    """
    renamed: dict[str, Any] = {}
    for name, values in outputs.items():
        if name not in names:
            continue
        items: list[Any] = values if isinstance(values, list) else [] if values is None else [values]
        for item in items:
            dtype = str(getattr(item, "dtype", type(item).__name__))
            if not re.match(r"(b?float|u?int|bool|complex|object|<U)", dtype):
                raise ArtifactError(f"{path}: its output {name} is {dtype}; only tensors can be compared")
        renamed[names[name]] = values
    return renamed
