"""An engine in one small class: it multiplies matrices, and can be made to fail."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.engines import Engine
from exporter.engines.base import Runtime, Tensors
from exporter.errors import ArtifactError, UnavailableError
from exporter.results import Placement, Precision
from models.specs import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

TESTS = str(Path(__file__).parents[1])
"""What PYTHONPATH must hold for a worker to find the engine."""
ENGINE = Engine("toy", "Toy", ("onnx",), "helpers.toy_engine:ToyRuntime", ("cpu",), "numpy")


class ToyRuntime(Runtime):
    """A graph of one MatMul in numpy. The variable TOY makes it fail: `load: …`, `crash N`, `exit`, `sleep`."""

    calls = 0

    @property
    def description(self) -> str:
        return f"toy 1.0 on {self.options.threads} threads, {os.environ.get('TOY', 'no fault')}"

    @property
    def signature(self) -> Signature:
        rows, columns = self.weight.shape
        return Signature((TensorSpec("x", "float32", ("n", rows)),), (TensorSpec("y", "float32", ("n", columns)),))

    @property
    def precision(self) -> Precision:
        return "float32"

    @property
    def placement(self) -> Placement:
        return Placement("cpu", 1)

    def load_model(self) -> None:
        from onnx import load, numpy_helper

        fault = os.environ.get("TOY", "")
        if not fault:
            os.write(1, b"a banner on stdout\n")
        if fault == "load: no compiler":
            raise UnavailableError("there is no compiler")
        if fault.startswith("load: "):
            raise ArtifactError(f"{self.path}: {fault.removeprefix('load: ')}")
        (tensor,) = load(self.path).graph.initializer
        self.weight: NDArray[Any] = numpy_helper.to_array(tensor)

    def close(self) -> None:
        self.weight = np.empty((0, 0), np.float32)

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        self.calls += 1
        fault = os.environ.get("TOY", "")
        if fault.startswith("crash") and self.calls > int(fault.split()[1]):
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "exit":
            os.write(2, b"out of memory\n")
            os._exit(5)
        if fault == "value":
            raise ValueError
        if fault == "sleep":
            time.sleep(60)
        time.sleep(0.002)
        return {"y": feeds["x"] @ self.weight}
