"""onnxruntime, on the CPU or CUDA provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def library() -> str:
    """Import onnxruntime."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def load(job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Create a session. On CUDA, TF32 is off, and a call copies to the GPU and back: it has ended when it returns."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = job["threads"]
    providers: list[Any] = ["CPUExecutionProvider"]
    if job["device"] == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ImportError("the installed onnxruntime has no CUDA provider; pip install onnxruntime-gpu")
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
    session = onnxruntime.InferenceSession(job["path"], options, providers=providers)
    if job["device"] == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise ImportError(
            "onnxruntime-gpu is installed but could not start CUDA here; it needs a driver and its libraries"
        )

    def call(feeds: Mapping[str, Any]) -> list[Any]:
        return list(session.run(job["outputs"], dict(feeds)))

    return call
