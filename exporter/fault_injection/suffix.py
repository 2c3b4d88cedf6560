"""A faulty copy, cut before its fault: what the fault cannot have changed is not computed again.

A node counts as sound when a node of the original graph has the same operator and attributes and reads the same sound
values; everything after another node may be wrong, and is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from onnx import helper

from exporter.fault_injection.graph import FaultyGraph, OriginalGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = tuple[str, str, tuple[str, ...], tuple[bytes, ...]]


@dataclass(frozen=True)
class GraphSuffix:
    """The part of a faulty copy from its fault on.

    Attributes:
        model: a whole model of its own.
        feeds: {its input: the sound value that goes in}.
        sound: {output of the copy: the same value of the original graph}, for outputs before the fault.
        wrong: the names of the values after the fault, in the order computed.
        like: {value of the copy: the value of the original graph that it equals}.
    """

    model: onnx.ModelProto
    feeds: Mapping[str, str]
    original: Mapping[str, str]
    wrong: tuple[str, ...]
    like: Mapping[str, str]

    def intact(self, value: str) -> bool:
        """Return whether a value of the original graph is still there under its name."""
        return self.like.get(value) == value


def extract_suffix(
    copy: FaultyGraph, values: Mapping[str, NDArray[Any]], *, all_outputs: bool = False, until: str | None = None
) -> GraphSuffix:
    """Cut a faulty copy before its fault.

    Args:
        copy: with the fault in it.
        values: {value of the original graph: what it was on some batch}; types and sizes are taken from it.
        all_outputs: return every value after the fault, in the order computed.
        until: the last value of interest when exposed; None for all.
    """
    graph, constants = copy.graph, {tensor.name for tensor in copy.graph.initializer}
    like = _original_names(copy)
    wrong = [node for node in graph.node if any(name and name not in like for name in node.output)]
    last = next((place for place, node in enumerate(wrong, start=1) if until in node.output), len(wrong))
    wrong = wrong[:last] if all_outputs else wrong
    outputs = [value for value in graph.output if value.name not in like]
    needed = {value.name for value in outputs}
    kept: list[onnx.NodeProto] = []
    for node in reversed(wrong):
        if all_outputs or needed & {*node.output}:
            kept.insert(0, node)
            needed |= {*node.input}
    made = {name for node in kept for name in node.output}
    feeds = {name: like[name] for node in kept for name in node.input if name not in made | constants | {""}}
    model = onnx.ModelProto(ir_version=copy.model.ir_version, opset_import=copy.model.opset_import)
    model.graph.name = "tail"
    model.graph.node.extend(kept)
    model.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in needed)
    model.graph.input.extend(
        _typed(name, values[value], free=copy.original.batch is None) for name, value in feeds.items()
    )
    wrong_values = tuple(name for node in kept for name in node.output if name)
    stated = {value.name: value for value in outputs}
    shown = wrong_values if all_outputs else tuple(stated)
    model.graph.output.extend(stated.get(name, onnx.ValueInfoProto(name=name)) for name in shown)
    reported = {value.name: like[value.name] for value in graph.output if value.name in like}
    return GraphSuffix(model, feeds, reported, wrong_values, like)


def _typed(name: str, value: NDArray[Any], *, free: bool) -> onnx.ValueInfoProto:
    """Declare an input like a value that was seen; a free batch stays free."""
    sizes: tuple[int | str, ...] = value.shape
    if free and value.ndim > 1:
        sizes = ("batch", *value.shape[1:])
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), sizes)


def _original_names(copy: FaultyGraph) -> dict[str, str]:
    """Return {value of the copy: the value of the original graph that it equals}."""
    known = {_key(node, tuple(node.input)): node for node in copy.original.model.graph.node}
    old = {tensor.name for tensor in copy.original.model.graph.initializer} - {*copy.changed}
    like = {name: name for name in (*old, *_inputs(copy.original), "")}
    for node in copy.graph.node:
        if all(name in like for name in node.input):
            twin = known.get(_key(node, tuple(like[name] for name in node.input)))
            if twin is not None:
                like |= zip(node.output, twin.output, strict=True)
    return like


def _inputs(original: OriginalGraph) -> tuple[str, ...]:
    return tuple(value.name for value in original.model.graph.input)


def _key(node: onnx.NodeProto, inputs: tuple[str, ...]) -> Key:
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
    return node.domain, node.op_type, inputs, tuple(attributes)
