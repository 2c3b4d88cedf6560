"""Files of MNN's own format in MNN, on the CPU."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Runtime, Tensors
from exporter.errors import ArtifactError, CheckFailedError
from exporter.results import Placement, Precision
from models.specs import Signature
from models.text import split_lines

CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
"""What the command `mnnconvert` runs, without its usage report to MNN's makers."""
CONVERSION_TIMEOUT_S = 600


class MnnRuntime(Runtime):
    """What `convert` made of an ONNX file. `RuntimeOptions.signature` must be set: MNN needs every name to load it.

    The model is loaded for one input shape, and again for each other: MNN 3.6 can crash on a resize.
    """

    library = "MNN"
    _module: Any = None
    _shapes: Mapping[str, tuple[int, ...]] | None = None
    _expr: Any = None

    @property
    def description(self) -> str:
        """Return `MNN 3.6.1 (cpu)`."""
        return f"MNN {import_module('MNN').version()} (cpu)"

    @property
    def signature(self) -> Signature:
        """Return the expected inputs and outputs."""
        assert self.options.signature is not None, "MNN needs RuntimeOptions.signature"
        return self.options.signature

    @property
    def precision(self) -> Precision:
        """Return float32: `load` asks for it."""
        return "float32"

    @property
    def placement(self) -> Placement:
        """Return the CPU; MNN does not report its nodes."""
        return Placement("cpu", 0)

    def load_model(self) -> None:
        """Load the model for `RuntimeOptions.input_shapes`; raises as `Runtime.load` says."""
        self._expr = import_module("MNN.expr")
        self._load_for(self.options.input_shapes)

    def close(self) -> None:
        """Release the model."""
        self._module = None

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        expr = self._expr
        shapes = {name: values.shape for name, values in feeds.items()}
        if self._shapes != shapes:
            self._load_for(shapes)
        dtypes = {"float32": expr.float, "int32": expr.int, "uint8": expr.uint8}
        inputs = [expr.const(value, value.shape, expr.NCHW, dtypes[str(value.dtype)]) for value in feeds.values()]
        outputs = self._module.forward(inputs)
        names = [output.name for output in self.signature.outputs]
        if len(outputs) != len(names):  # MNN does not raise
            raise CheckFailedError(f"{self.path}: MNN returns {len(outputs)} of {len(names)} outputs: it cannot run it")
        values = [np.array(expr.convert(output, expr.NCHW).read()) for output in outputs]
        return dict(zip(names, values, strict=True))

    def _load_for(self, shapes: Mapping[str, tuple[int, ...]] | None) -> None:
        self._module, self._shapes = None, shapes
        self._module = import_module("MNN.nn").load_module_from_file(
            str(self.path),
            [value.name for value in self.signature.inputs],
            [value.name for value in self.signature.outputs],
            precision_mode=self._expr.PrecisionMode.High,  # `normal` may compute in half precision
            thread_num=self.options.threads or 1,
            shape_mutable=False,
            rearrange=True,  # the weights, at load
        )


def convert(path: Path, target: Path, interpreter: Path, environment: Mapping[str, str]) -> None:
    """Convert an ONNX file by MNN's own converter, under the interpreter that has MNN.

    Raises:
        ArtifactError: the converter rejects it.
        subprocess.SubprocessError: it did not end in time.
    """
    command = [str(interpreter), "-c", CONVERT, "-f", "ONNX", "--modelFile", str(path.resolve())]
    done = subprocess.run(  # noqa: S603 - the interpreter is the user's own choice
        [*command, "--MNNModel", str(target), "--bizCode", "bench"],
        env=dict(environment),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=CONVERSION_TIMEOUT_S,
        check=False,
    )
    if not target.is_file():
        printed = split_lines(done.stdout + done.stderr)
        raise ArtifactError(f"MNN's converter rejects the graph: {printed[-1] if printed else 'no reason given'}")
