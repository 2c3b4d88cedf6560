"""Passes of onnx_ir that hand a model to onnx: its checker and its shape inference, in time linear in the weights.

onnx_ir makes every initialiser an input for the call, and looks each up in the list of inputs first: of 20,000
initialisers that takes seconds. Here the list finds its members in a set for as long as the pass runs.
"""

from __future__ import annotations

from collections import UserList
from collections.abc import Iterable
from typing import cast

import onnx_ir as ir

from exporter.onnx_io.ceil_pools import explicit_ceil_pools


def run_onnx_pass(step: ir.passes.PassBase, model: ir.Model) -> ir.passes.PassResult:
    """Run a pass that calls onnx, with what onnx infers wrongly corrected; raises what the pass raises."""
    with explicit_ceil_pools(model):
        return _run_quickly(step, model)


def _run_quickly(step: ir.passes.PassBase, model: ir.Model) -> ir.passes.PassResult:
    inputs = cast("UserList[ir.Value]", model.graph.inputs)  # onnx_ir declares it as any mutable sequence
    inputs.data = _IndexedList(inputs.data)
    try:
        return step(model)
    finally:
        inputs.data = [*inputs.data]


class _IndexedList(list[ir.Value]):
    """A list of values with a quick `in`, as far as `GraphInputs` changes its list while such a pass runs."""

    def __init__(self, values: Iterable[ir.Value]) -> None:
        super().__init__(values)
        self._members = {*map(id, self)}

    def __contains__(self, value: object) -> bool:
        return id(value) in self._members

    def append(self, value: ir.Value, /) -> None:
        super().append(value)
        self._members.add(id(value))

    def extend(self, values: Iterable[ir.Value], /) -> None:
        for value in values:
            self.append(value)

    def clear(self) -> None:
        super().clear()
        self._members.clear()
