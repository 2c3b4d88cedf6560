"""Passes of onnx_ir that hand a model to onnx: its checker and its shape inference, in time linear in the weights.

onnx_ir makes every initialiser an input for the call, and looks each up in the list of inputs first: of 20,000
initialisers that takes seconds. Here the list finds its members in a set for as long as the pass runs.
"""

from __future__ import annotations

from collections import UserList
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

from exporter.foreign_logging import suppress_foreign_logging
from exporter.isolation.worker import native_call
from exporter.memory_errors import is_out_of_memory
from exporter.onnx_io.ceil_pools import explicit_ceil_pools
from exporter.onnx_io.load import cause_line


def run_onnx_pass(step: ir.passes.PassBase, model: ir.Model, path: Path | None = None) -> ir.passes.PassResult:
    """Run a pass that calls onnx, watched, with what onnx infers wrongly corrected; raises what the pass raises.

    Args:
        step: the pass.
        model: any model.
        path: its file, if it was read from one.
    """
    title = "onnx's checker" if isinstance(step, CheckerPass) else "onnx's shape inference"
    with suppress_foreign_logging(), native_call(title, path), explicit_ceil_pools(model):
        return _run_quickly(step, model)


def find_fault(model: ir.Model, path: Path | None = None, *, full: bool = True) -> str | None:
    """Return why onnx's checker rejects a model, or None if it accepts it.

    Args:
        model: any model; it is unchanged afterwards.
        path: its file, if it was read from one.
        full: infer every shape and compare them with the declared ones too. A valid model of operators that onnx does
            not know, or knows wrongly, can fail this part.
    """
    try:
        run_onnx_pass(CheckerPass(full_check=full), model, path)
    except Exception as error:  # the checker, serialisation and shape inference share no class
        if is_out_of_memory(error):
            raise
        return cause_line(error)
    return None


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
