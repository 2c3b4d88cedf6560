"""Whole models from random graphs: inputs, outputs, opset and the version of the file format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from helpers.random_graphs.elementwise import OPERATORS, branch
from helpers.random_graphs.graph import BATCHES, Array, NotApplicableError, RandomGraph, assemble, read_names, run
from helpers.random_graphs.layers import LAYERS

OPSETS = range(7, 23)
MAX_NODES = 15


@dataclass(frozen=True)
class RandomModel:
    """A model and how to feed it.

    Attributes:
        seed: what it was made from.
        model: the model.
        shapes: {input: its shape, 0 for a dynamic batch}.
    """

    seed: int
    model: onnx.ModelProto
    shapes: dict[str, tuple[int, ...]]

    @property
    def is_dynamic(self) -> bool:
        """Whether the batch size is free."""
        return any(not shape[0] for shape in self.shapes.values())

    def feeds(self, batch: int, seed: int = 0) -> dict[str, Array]:
        """Return standard normal numbers for every input; a fixed batch stays."""
        rng = np.random.default_rng([self.seed, seed])
        return {
            name: rng.standard_normal((shape[0] or batch, *shape[1:])).astype(np.float32)
            for name, shape in self.shapes.items()
        }


def make_random_model(seed: int) -> RandomModel:
    """Return the model of a seed: 3 to 15 nodes beside those that hold weights."""
    rng = np.random.default_rng(seed)
    g = RandomGraph(rng, int(rng.choice(OPSETS)))
    inputs = _add_inputs(g)
    wanted, tries = g.number(3, MAX_NODES), 0
    while len([node for node in g.nodes if node.op_type != "Constant"]) < wanted and tries < 60:
        tries += 1
        add = branch if g.chance(0.01) else g.pick(LAYERS if g.chance(0.5) else OPERATORS)
        try:
            add(g)
            g.commit()
        except NotApplicableError:
            g.drop()
    if not g.nodes:
        return make_random_model(seed + 1_000_003)
    dynamic = g.chance(0.7)
    shapes = {name: (0 if dynamic else BATCHES[0], *g.shape(name)[1:]) for name in inputs}
    ir_version = 3 if g.opset <= 8 and g.chance(0.5) else 8
    model = assemble(
        g.nodes,
        [_describe(g, name, dynamic=dynamic) for name in inputs],
        [_describe(g, name, dynamic=dynamic) for name in _choose_outputs(g, inputs)],
        _used_weights(g),
        g.opset,
        ir_version,
    )
    made = RandomModel(seed, model, shapes)
    try:
        for optimized in (False, True):
            run(model, made.feeds(BATCHES[0]), optimized=optimized)
    except Exception:  # noqa: BLE001 - onnxruntime infers the sizes of some pools wrongly, and refuses what reads them
        return make_random_model(seed + 1_000_003)
    return made


def _add_inputs(g: RandomGraph) -> list[str]:
    rank = g.pick((2, 3, 4, 4, 5, 5, 5))
    wide = g.chance(0.25)
    channels = g.pick((8, 16, 24)) if wide else g.number(1, 6)
    sizes = [g.number(5, 10) if wide else g.number(1, 9) for _ in range(rank - 2)]
    for name in ["x", "z"] if g.chance(0.15) else ["x"]:
        shape = channels, *sizes
        g.values[name] = tuple(g.rng.standard_normal((n, *shape)).astype(np.float32) for n in BATCHES)  # type: ignore[assignment]
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
