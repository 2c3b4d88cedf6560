"""Int8 layers that onnxruntime's CPU provider does not compute in int8.

Where it finds no int8 operator for a layer between DequantizeLinear and QuantizeLinear, it keeps the DequantizeLinear,
converts the int8 weights and activations at every run, and computes in float32. The file is then small, but slower than
the float32 graph. Which layers these are follows from the graph that onnxruntime has optimised; what they cost is
measured against the same graph without quantisation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.engines.ort_sessions import open_cpu_session, quiet_options
from exporter.errors import join_limited
from exporter.isolation.worker import reads_file
from exporter.onnx_io.load import MAX_MESSAGE_BYTES, load_with_weights, load_without_weights
from exporter.onnx_io.signature import get_signature
from exporter.temporary_folders import temporary_folder
from exporter.timing import RoundOptions, time_interleaved
from exporter.types import EXAMPLE_FRAME_SIZE
from models.errors import count
from models.specs import TensorSpec

FLOAT_LAYERS = frozenset({"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
DRAWN = ("float32", "uint8")
"""Dtypes of inputs for which a run can be measured."""
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
WITHOUT_QDQ = "session.disable_quant_qdq"
"""The setting that makes onnxruntime dequantise constants once, when it loads the model."""
ROUNDS = RoundOptions(min_rounds=3, max_rounds=7, budget_s=1.5, warm_up=1)


@reads_file("onnxruntime")
def describe_dequantized_layers(path: Path) -> str | None:
    """Return a sentence about the layers that are dequantised at each run and what that costs; None if there are none.

    Args:
        path: an ONNX file.
    """
    model = load_without_weights(path)
    if not any(node.op_type == DEQUANTIZE for node in model.graph.node):
        return None
    names = find_dequantized_layers(path)
    if not names:
        return None
    slowdown = measure_slowdown(path)
    cost = "" if slowdown is None else f", which takes {slowdown:.2f} times as long as the same graph in float32"
    return (
        f"onnxruntime's CPU provider dequantises {count(len(names), 'int8 layer')} at each run "
        f"({join_limited(names, 3)}){cost}; export with --target cpu for a graph that it computes in int8"
    )


def find_dequantized_layers(path: Path) -> tuple[str, ...]:
    """Return the layers of a file whose inputs a DequantizeLinear makes in onnxruntime's optimised graph."""
    with temporary_folder() as folder:
        optimized = folder / "optimized.onnx"
        options = quiet_options()
        options.optimized_model_filepath = str(optimized)
        open_cpu_session(path, options)
        graph = load_without_weights(optimized).graph
    restored = {name for node in graph.node if node.op_type == DEQUANTIZE for name in node.output}
    layers = [node for node in graph.node if node.op_type in FLOAT_LAYERS and not restored.isdisjoint(node.input[:2])]
    return tuple(node.name.removeprefix("fused ") or node.output[0] for node in layers)


@reads_file("onnxruntime")
def measure_slowdown(path: Path) -> float | None:
    """Return the time of a file over that of the same graph without quantisation, interleaved, on the CPU.

    The batch is 1, and so is every other dynamic size, but for frames in uint8. None for a model that is larger than
    one message can be, has an input of another dtype than float32 and uint8, or does not run at these sizes.
    """
    unquantized = ir.from_proto(load_with_weights(path))
    remove_quantization(unquantized)
    model = ir.to_proto(unquantized)
    feeds: dict[str, Any] = {}
    for spec in get_signature(model).inputs:
        if spec.dtype not in DRAWN:
            return None
        feeds[spec.name] = _draw(spec)
    if model.ByteSize() > MAX_MESSAGE_BYTES:
        return None
    without = quiet_options()
    without.add_session_config_entry(WITHOUT_QDQ, "1")
    sessions = {
        "int8": open_cpu_session(path),
        "float32": open_cpu_session(model.SerializeToString(), without),
    }
    runs: dict[str, Callable[[], object]] = {
        name: partial(session.run, None, feeds) for name, session in sessions.items()
    }
    try:
        times = time_interleaved(runs, ROUNDS)
    except Exception:  # noqa: BLE001 - onnxruntime raises many kinds
        return None
    return median(mine / other for mine, other in zip(times["int8"], times["float32"], strict=True))


def remove_quantization(model: ir.Model) -> None:
    """Remove every QuantizeLinear whose readers all dequantise, with these, in place; weights stay in int8."""
    for node in [node for node in model.graph if node.op_type == QUANTIZE]:
        source, result = node.inputs[0], node.outputs[0]
        readers = [use.node for use in result.uses()]
        restored = all(each.op_type == DEQUANTIZE and not each.outputs[0].is_graph_output() for each in readers)
        outer = all(each.graph is node.graph for each in readers)
        if source is None or result.is_graph_output() or not (restored and outer):
            continue
        for reader in readers:
            reader.outputs[0].replace_all_uses_with(source)
        model.graph.remove([*readers, node], safe=True)


def _draw(spec: TensorSpec) -> NDArray[Any]:
    generator, free = np.random.default_rng(0), EXAMPLE_FRAME_SIZE[0] if spec.dtype == "uint8" else 1
    batch, *others = spec.shape or (1,)
    shape = [size if isinstance(size, int) else free for size in others]
    shape = [batch if isinstance(batch, int) else 1, *shape] if spec.shape else []
    if spec.dtype == "uint8":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return np.asarray(generator.standard_normal(shape, dtype=np.float32))
