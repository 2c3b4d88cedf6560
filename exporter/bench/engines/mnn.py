"""MNN, on the CPU, in float32: precision `high`, because `normal` may compute in half precision."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def library() -> str:
    """Import MNN."""
    return f"MNN {import_module('MNN').version()}"


def load(job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Load what MNN's own converter made of the graph (`exporter.bench.engine_setup`), weights arranged at once.

    Another batch size loads it again, at its first call: MNN 3.6.1 crashes where it has to resize a loaded C3D.
    """
    import numpy as np

    expr: Any = import_module("MNN.expr")  # MNN describes its modules to no type checker
    nn: Any = import_module("MNN.nn")

    def module_for_one_size() -> Any:
        return nn.load_module_from_file(
            job["path"],
            job["inputs"],
            job["outputs"],
            precision_mode=expr.PrecisionMode.High,
            thread_num=job["threads"],
            shape_mutable=False,
            rearrange=True,
        )

    sizes = [tuple(job["shapes"][name]) for name in job["inputs"]]
    loaded: dict[str, Any] = {str(sizes): module_for_one_size()}

    def call(feeds: Mapping[str, Any]) -> list[Any]:
        given: list[Any] = [expr.const(value, value.shape, expr.NCHW, _dtype(value.dtype)) for value in feeds.values()]
        sizes = str([value.shape for value in feeds.values()])
        if sizes not in loaded:
            loaded.clear()
            loaded[sizes] = module_for_one_size()
        returned = loaded[sizes].forward(given)
        if len(returned) != len(job["outputs"]):  # MNN's way to fail
            counts = f"{len(returned)} of {len(job['outputs'])} outputs"
            raise RuntimeError(f"MNN returns {counts}: it cannot run this graph")
        return [np.array(expr.convert(output, expr.NCHW).read()) for output in returned]

    def _dtype(dtype: Any) -> Any:
        return {"float32": expr.float, "int32": expr.int, "uint8": expr.uint8}[str(dtype)]

    return call
