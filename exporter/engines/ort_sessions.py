"""onnxruntime's sessions on the CPU, as everything here but the engine itself opens them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime


def quiet_options(*, optimize: bool = True, threads: int = 0) -> Any:
    """Return the `SessionOptions` of a session without log messages: its errors are raised as well.

    Args:
        optimize: whether onnxruntime may rewrite the graph.
        threads: for one operator; 0 for as many as there are cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def open_cpu_session(model: Path | bytes, options: Any = None) -> onnxruntime.InferenceSession:
    """Return a session on the CPU.

    Args:
        model: an ONNX file, or its bytes.
        options: None for `quiet_options()`.

    Raises:
        Exception: whatever onnxruntime raises; its exceptions share no base class.
    """
    import onnxruntime

    return onnxruntime.InferenceSession(model, options or quiet_options(), providers=["CPUExecutionProvider"])
