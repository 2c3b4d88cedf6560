"""An emulation of float16 arithmetic as GPUs do it, which verifies float16 ONNX files where there is no GPU.

Every node computes in float32, and each result that the graph declares as float16 is rounded to float16. Weights are
float16 in the file. So products of float16 numbers, which float32 holds exactly, are summed in float32, and only the
sum is rounded. That is what tensor cores do in the libraries that run such files: onnxruntime's CUDA provider sets
cuDNN's and cuBLAS's compute type to float32 for float16 data (nn/conv.cc since 1.20; `HalfGemmOptions`, unless the user
sets ORT_CUDA_GEMM_OPTIONS).

A convolution's sum is rounded before the bias is added, and once more after it: the CUDA provider adds the bias in
a step of its own. With both roundings, the signal-to-noise ratio of a small network is that of an H200 in every digit
(onnxruntime-gpu 1.31, cuDNN 9.19); with one, it is 6 dB higher. An engine that fuses nodes rounds less often; one that
sums in float16 rounds more often.

onnxruntime's CPU provider has no float16 convolution: it casts to float32, fuses the casts away and computes past
float16's range, so its outputs are no evidence.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from exporter.engines.base import RuntimeOptions, Tensors
from exporter.engines.onnx_reference import OnnxReference
from exporter.engines.reference.operators import Choice
from exporter.onnx_io.cast import cast_model
from exporter.onnx_io.dtypes import numpy_dtype
from exporter.onnx_io.inference import infer_element_types


class Float16Emulation(OnnxReference):
    """An ONNX file whose float16 values are computed in float32 and rounded to float16, node by node."""

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        """See `Runtime`."""
        super().__init__(path, options)
        self.choice = Choice("float32")

    @property
    def description(self) -> str:
        """Return what it emulates."""
        return "float16 emulation (float32 sums, each float16 result rounded; cpu)"

    @property
    def notes(self) -> tuple[str, ...]:
        """Say that nothing ran on a GPU."""
        return ("the outputs are those of an emulation of float16 arithmetic, not of a GPU; --device cuda runs one",)

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; outputs have the file's dtypes."""
        declared = {value.name: value.dtype for value in self.signature.outputs}
        return {name: _as_declared(value, declared.get(name)) for name, value in super().run_batch(feeds).items()}

    def _prepare(self, model: onnx.ModelProto) -> onnx.ModelProto:
        types = infer_element_types(model)
        half = frozenset(name for name, kind in types.items() if kind == TensorProto.FLOAT16)
        self.choice = replace(self.choice, float16_values=half)
        return cast_model(model, "float32")


def _as_declared(value: Any, dtype: str | None) -> Any:
    """Return a float32 output in the dtype that the file states for it, which holds it exactly."""
    if dtype is None or not isinstance(value, np.ndarray) or value.dtype != np.float32:
        return value
    return value.astype(numpy_dtype(dtype))
