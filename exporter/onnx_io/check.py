"""onnx's checker and strict shape inference on a model in memory, without serialising its large weights."""

from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

from exporter.foreign_logging import suppress_foreign_logging
from exporter.isolation.worker import native_call
from exporter.memory_errors import is_out_of_memory
from exporter.onnx_io.load import cause_line
from exporter.onnx_io.onnx_passes import run_onnx_pass


def find_fault(model: ir.Model, path: Path | None = None, *, full: bool = True) -> str | None:
    """Return why onnx's checker rejects a model, or None if it accepts it.

    Args:
        model: any model; it is unchanged afterwards.
        path: its file, if it was read from one.
        full: infer every shape and compare them with the declared ones too. A valid model of operators that onnx does
            not know, or knows wrongly, can fail this part.
    """
    try:
        with suppress_foreign_logging(), native_call("onnx's checker", path):
            run_onnx_pass(CheckerPass(full_check=full), model)
    except Exception as error:  # the checker, serialisation and shape inference share no class
        if is_out_of_memory(error):
            raise
        return cause_line(error)
    return None
