"""If, Loop and Scan."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from exporter.engines.reference.kernels.types import Body
from exporter.engines.reference.node import Node, NodeValues

Bodies = Mapping[str, Body]
Scope = MutableMapping[str, Any]


def run_if(_node: Node, bodies: Bodies, inputs: NodeValues, scope: Scope) -> Sequence[Any]:
    """Run the branch that the condition selects."""
    branch = bodies["then_branch" if np.asarray(inputs[0]).item() else "else_branch"]
    return _call(branch, [], scope)


def run_loop(node: Node, bodies: Bodies, inputs: NodeValues, scope: Scope) -> Sequence[Any]:
    """Run the body up to `trip count` times, while the condition holds; scan outputs are stacked along a new axis 0."""
    body = bodies["body"]
    count = None if inputs[0] is None else int(np.asarray(inputs[0]).item())
    going = len(inputs) < 2 or inputs[1] is None or bool(np.asarray(inputs[1]).item())
    carried = list(inputs[2:])
    scanned: list[list[Any]] = [[] for _ in body.outputs[1 + len(carried) :]]
    step = 0
    while going and (count is None or step < count):
        condition, *outputs = _call(body, [np.array(step, np.int64), np.array(going), *carried], scope)
        going, step = bool(np.asarray(condition).item()), step + 1
        carried = outputs[: len(carried)]
        for stack, value in zip(scanned, outputs[len(carried) :], strict=True):
            stack.append(value)
    return [*carried, *(np.stack(stack) if stack else np.empty((0,)) for stack in scanned)][: len(node.proto.output)]


def run_scan(node: Node, bodies: Bodies, inputs: NodeValues, scope: Scope) -> Sequence[Any]:
    """Run the body over slices of the scan inputs."""
    body, attributes = bodies["body"], node.attributes
    if node.opset < 9:
        return _scan_batches(node, body, inputs, scope)
    count = attributes["num_scan_inputs"]
    states, scans = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
    axes = attributes.get("scan_input_axes") or [0] * count
    directions = attributes.get("scan_input_directions") or [0] * count
    slices = [np.moveaxis(value, axis, 0) for value, axis in zip(scans, axes, strict=True)]
    slices = [value[::-1] if back else value for value, back in zip(slices, directions, strict=True)]
    states, stacks = _scan(body, states, slices, scope)
    axes = attributes.get("scan_output_axes") or [0] * len(stacks)
    directions = attributes.get("scan_output_directions") or [0] * len(stacks)
    stacks = [stack[::-1] if back else stack for stack, back in zip(stacks, directions, strict=True)]
    return [*states, *(np.moveaxis(stack, 0, axis) for stack, axis in zip(stacks, axes, strict=True))]


def _scan_batches(node: Node, body: Body, inputs: NodeValues, scope: Scope) -> Sequence[Any]:
    """Scan as of opset 8: every batch item by itself, over axis 1, up to its length."""
    lengths, *values = inputs
    count = node.attributes["num_scan_inputs"]
    directions = node.attributes.get("directions") or [0] * count
    items: list[list[Any]] = []
    for item in range(len(values[0])):
        states = [value[item] for value in values[: len(values) - count]]
        scans = [value[item] for value in values[len(values) - count :]]
        length = len(scans[0]) if lengths is None else int(lengths[item])
        slices = [s[:length][::-1] if back else s[:length] for s, back in zip(scans, directions, strict=True)]
        states, stacks = _scan(body, states, slices, scope)
        items.append([*states, *stacks])
    return [np.stack(outputs) for outputs in zip(*items, strict=True)]


def _scan(body: Body, states: list[Any], slices: Sequence[Any], scope: Scope) -> tuple[list[Any], list[Any]]:
    """Return the last states and the stacked scan outputs."""
    scanned: list[list[Any]] = [[] for _ in body.outputs[len(states) :]]
    for step in range(len(slices[0])):
        outputs = _call(body, [*states, *(values[step] for values in slices)], scope)
        states = outputs[: len(states)]
        for stack, value in zip(scanned, outputs[len(states) :], strict=True):
            stack.append(value)
    return states, [np.stack(stack) if stack else np.empty((0,)) for stack in scanned]


def _call(body: Body, inputs: NodeValues, scope: Scope) -> list[Any]:
    arrays = [np.asarray(value) if isinstance(value, np.generic) else value for value in inputs]
    values = body.run(dict(zip(body.inputs, arrays, strict=False)), scope)
    return [values[name] for name in body.outputs]
