"""Whole models from random graphs: inputs, outputs, opset and the version of the file format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from helpers.random_graphs.attention import ATTENTION
from helpers.random_graphs.control_flow import CONTROL_FLOW
from helpers.random_graphs.elementwise import OPERATORS
from helpers.random_graphs.graph import BATCHES, Array, NotApplicableError, RandomGraph, assemble, read_names, run
from helpers.random_graphs.indexing import INDEXING
from helpers.random_graphs.layers import LAYERS
from helpers.random_graphs.precision import half_section, quantized

OPSETS = range(7, 25)
MAX_NODES = 15


@dataclass(frozen=True)
class RandomModel:
    """A model and how to feed it.

    Attributes:
        seed: what it was made from.
        model: the model.
        shapes: {input: its shape, 0 for a dynamic batch}.
        free_sizes: whether the other sizes of inputs, which are images, are dynamic too.
    """

    seed: int
    model: onnx.ModelProto
    shapes: dict[str, tuple[int, ...]]
    free_sizes: bool = False

    @property
    def is_dynamic(self) -> bool:
        """Whether the batch size is free."""
        return any(not shape[0] for shape in self.shapes.values())

    def feeds(self, batch: int, seed: int = 0) -> dict[str, Array]:
        """Return standard normal numbers for every input; a fixed batch stays."""
        rng = np.random.default_rng([self.seed, seed])
        kinds = {
            value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            for value in self.model.graph.input
        }
        return {
            name: rng.standard_normal((shape[0] or batch, *shape[1:])).astype(kinds[name])
            for name, shape in self.shapes.items()
        }


def make_random_model(seed: int) -> RandomModel:
    """Return the model of a seed: 3 to 15 nodes beside those that hold weights."""
    rng = np.random.default_rng(seed)
    g = RandomGraph(rng, int(rng.choice(OPSETS)))
    g.dtype = g.pick(("float16", "float64")) if g.chance(0.08) else "float32"
    inputs = _add_inputs(g)
    _grow(g)
    if not g.nodes:
        return make_random_model(seed + 1_000_003)
    dynamic = g.chance(0.7)
    free_sizes = dynamic and g.chance(0.15) and len(g.shape(inputs[0])) > 2
    shapes = {name: (0 if dynamic else BATCHES[0], *g.shape(name)[1:]) for name in inputs}
    ir_version = 3 if g.opset <= 8 and g.chance(0.5) else 8 if g.opset < 21 else 10
    ends = [_describe(g, name, dynamic=dynamic) for name in _choose_outputs(g, inputs)]
    starts = [_describe(g, name, dynamic=dynamic) for name in inputs]
    if free_sizes:
        _free_sizes(starts, ends)
    model = assemble(g.nodes, starts, ends, _used_weights(g), g.opset, ir_version)
    made = RandomModel(seed, model, shapes, free_sizes)
    try:
        onnx.checker.check_model(model)  # onnxruntime knows some operators before the opset that they came with
        for optimized in (False, True):
            run(model, made.feeds(BATCHES[0]), optimized=optimized)
    except Exception:  # noqa: BLE001 - onnxruntime infers the sizes of some pools wrongly, and refuses what reads them
        return make_random_model(seed + 1_000_003)
    return made


def _grow(g: RandomGraph) -> None:
    wanted, tries = g.number(3, MAX_NODES), 0
    while len([node for node in g.nodes if node.op_type != "Constant"]) < wanted and tries < 60:
        tries += 1
        way = g.rng.random()
        kinds = ((0.02, CONTROL_FLOW), (0.06, ATTENTION), (0.14, INDEXING), (0.57, LAYERS), (1.0, OPERATORS))
        add = g.pick(next(options for limit, options in kinds if way <= limit))
        try:
            if g.dtype == "float32" and g.chance(0.02):
                half_section(g, (*LAYERS, *OPERATORS))
            elif g.chance(0.02):
                quantized(g)
            else:
                add(g)
            g.commit()
        except NotApplicableError:
            g.drop()


def _free_sizes(inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> None:
    """Name the inputs' sizes after the channels, and state none of the outputs'."""
    for value in inputs:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if axis > 1:
                size.dim_param = f"size_{axis}"
    for value in outputs:
        for size in value.type.tensor_type.shape.dim:
            size.Clear()


def _add_inputs(g: RandomGraph) -> list[str]:
    rank = g.pick((2, 3, 4, 4, 5, 5, 5))
    wide = g.chance(0.25)
    channels = g.pick((8, 16, 24)) if wide else g.number(1, 6)
    sizes = [g.number(5, 10) if wide else g.number(1, 9) for _ in range(rank - 2)]
    for name in ["x", "z"] if g.chance(0.15) else ["x"]:
        shape = channels, *sizes
        g.values[name] = tuple(g.rng.standard_normal((n, *shape)).astype(g.dtype) for n in BATCHES)  # type: ignore[assignment]
    return [*g.values]


def _choose_outputs(g: RandomGraph, inputs: list[str]) -> list[str]:
    """Return the values that nothing reads, most of the time; some that are read; a weight or an input now and then."""
    read = read_names(g.nodes)
    computed = [name for node in g.nodes for name in node.output if name not in g.constants]
    ends = [name for name in computed if name not in read]
    found = [name for name in ends if name == ends[-1] or g.chance(0.85)]
    found += [name for name in computed if name in read and g.chance(0.06)]
    if g.weights and g.chance(0.05):
        found.append(g.pick([*_used_weights(g)] or [found[0]]))
    return [name for name in dict.fromkeys(found) if name not in inputs]


def _used_weights(g: RandomGraph) -> dict[str, Array]:
    read = read_names(g.nodes)
    return {name: array for name, array in g.weights.items() if name in read}


def _describe(g: RandomGraph, name: str, *, dynamic: bool) -> onnx.ValueInfoProto:
    """Return a value with its sizes; those that depend on a dynamic batch are named."""
    if name in g.weights:
        array = g.weights[name]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
    first, second = g.values[name]
    sizes: list[Any] = []
    for axis, (a, b) in enumerate(zip(first.shape, second.shape, strict=True)):
        free = "n" if (a, b) == BATCHES else f"{name}_{axis}"
        sizes.append(free if dynamic and a != b else a)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(first.dtype), sizes)
