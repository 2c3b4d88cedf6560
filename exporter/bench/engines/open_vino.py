"""OpenVINO, on the CPU, in float32: without the hint it computes in bfloat16 where the processor can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def library() -> str:
    """Import OpenVINO."""
    import openvino  # pyright: ignore[reportMissingImports]

    return f"OpenVINO {openvino.__version__.split('-')[0]}"


def load(job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Compile the model for the first batch's sizes: fixed sizes are what OpenVINO is fastest on.

    Another batch size compiles it again, at its first call.
    """
    import openvino  # pyright: ignore[reportMissingImports]

    core = openvino.Core()
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": job["threads"],
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.read_model(job["path"])
    compiled: dict[str, Any] = {}

    def compile_for(shapes: Mapping[str, Any]) -> Any:
        model.reshape({name: list(sizes) for name, sizes in shapes.items()})
        compiled.clear()
        compiled[str(shapes)] = core.compile_model(model, "CPU", options)
        return compiled[str(shapes)]

    compile_for(job["shapes"])

    def call(feeds: Mapping[str, Any]) -> list[Any]:
        shapes = {name: list(value.shape) for name, value in feeds.items()}
        ready = compiled.get(str(shapes)) or compile_for(shapes)
        outputs = ready(dict(feeds), share_inputs=True, share_outputs=True)
        return [outputs[name] for name in job["outputs"]]

    return call
