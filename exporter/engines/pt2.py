"""`torch.export` programs (`.pt2`) in torch, on the CPU or CUDA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_leaves

from exporter.engines.base import RuntimeOptions
from exporter.engines.torch_files import (
    RANDOM_OPERATORS,
    UNKNOWN_SHAPE,
    TorchFileRuntime,
    lowest_precision,
)
from exporter.results import Placement, Precision, ReferencePrecision
from models.specs import Signature, TensorSpec

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class ExportedProgramRuntime(TorchFileRuntime):
    """A `.pt2` file in torch. Loading one unpickles its constants and evaluates its expressions: it is code."""

    format = "pt2"
    title = "torch.export program"
    load_errors = (Exception,)  # torch's reader asserts, and raises what its parsers raise
    _module: torch.fx.GraphModule | None = None
    _program: ExportedProgram | None = None

    def load_file(self, stream: BinaryIO) -> None:
        """Load the program."""
        program: ExportedProgram = torch.export.load(stream)  # pyright: ignore[reportArgumentType]
        if self.options.device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self.options.device)
        self._program = program
        self._module = self._prepare(program)

    def release(self) -> None:
        """Release the program."""
        self._module = self._program = None

    def stated_signature(self) -> Signature:
        """Return what the program states, its outputs' names included."""
        assert self._program is not None, "enter the runtime first"
        stated = self._program.graph_signature
        nodes = {node.name: node.meta.get("val") for node in self._program.graph.nodes}
        outputs = [str(name) for name in stated.user_outputs]
        return Signature(
            tuple(_spec(str(name), nodes[str(name)]) for name in stated.user_inputs),
            tuple(_spec(name, nodes.get(name)) for name in outputs),
        )

    @property
    def precision(self) -> Precision:
        """Return the lowest precision of the program's weights."""
        assert self._program is not None, "enter the runtime first"
        return lowest_precision(tensor.dtype for tensor in self._program.state_dict.values() if tensor.dim())

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the program's weights and constants, by name."""
        assert self._program is not None, "enter the runtime first"
        yield from self._program.state_dict.items()
        for name, value in self._program.constants.items():
            if isinstance(value, torch.Tensor) and name not in self._program.state_dict:
                yield name, value

    @property
    def random_node(self) -> str | None:
        """Return the first operator of the program that draws random numbers."""
        assert self._program is not None, "enter the runtime first"
        for node in _nodes(self._program.graph_module):
            kind = node.target.name().partition(".")[0] if isinstance(node.target, OpOverload) else ""
            if kind in RANDOM_OPERATORS:
                training = RANDOM_OPERATORS[kind]
                if training is None or (len(node.args) > training and node.args[training] is True):
                    return f"{node.name} ({kind}{'' if training is None else ' in training mode'})"
        return None

    @property
    def placement(self) -> Placement:
        """Return the program's operator count; torch runs every one of them on the device or fails."""
        assert self._program is not None, "enter the runtime first"
        calls = [node for node in _nodes(self._program.graph_module) if node.op == "call_function"]
        return Placement(self.options.device, len(calls))

    def call(self, inputs: Sequence[torch.Tensor]) -> Any:
        """Run the program; what it returns in dictionaries and lists is in the order of its signature's outputs."""
        assert self._module is not None, "enter the runtime first"
        return _run_all(self._module, inputs) if self.options.all_outputs else tree_leaves(self._module(*inputs))

    def _prepare(self, program: ExportedProgram) -> torch.fx.GraphModule:
        return program.module()


class FloatProgram(ExportedProgramRuntime):
    """The same program with every floating-point number in one type."""

    def __init__(self, path: Path, options: RuntimeOptions, dtype: ReferencePrecision = "float64") -> None:
        super().__init__(path, options)
        self._dtype: torch.dtype = getattr(torch, dtype)

    def to_input(self, value: torch.Tensor) -> torch.Tensor:
        """Return a floating-point input in the type of the program."""
        return super().to_input(value.to(self._dtype) if value.is_floating_point() else value)

    def _prepare(self, program: ExportedProgram) -> torch.fx.GraphModule:
        return _cast(program.module(), self._dtype)


def _spec(name: str, value: Any) -> TensorSpec:
    """Return a value's name, dtype and shape, whose symbolic sizes are named: the first `batch`."""
    if not isinstance(value, torch.Tensor):
        return TensorSpec(name, "float32", UNKNOWN_SHAPE)
    sizes: list[Any] = [*value.shape]
    shape = tuple(
        size if type(size) is int else ("batch" if axis == 0 else str(size)) for axis, size in enumerate(sizes)
    )
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape)


def _graphs(module: torch.fx.GraphModule) -> Iterator[torch.fx.GraphModule]:
    """Yield a program's graph, and those of its loops."""
    yield from (part for part in module.modules() if isinstance(part, torch.fx.GraphModule))


def _nodes(module: torch.fx.GraphModule) -> Iterator[torch.fx.Node]:
    for part in _graphs(module):
        yield from part.graph.nodes


def _cast(module: torch.fx.GraphModule, dtype: torch.dtype) -> torch.fx.GraphModule:
    """Change every floating-point weight, constant and dtype argument of a program to `dtype`."""

    def change(value: Any) -> Any:
        return dtype if value in FLOATS else value

    for node in _nodes(module):
        if node.op == "call_function":
            node.args = map_aggregate(node.args, change)
            node.kwargs = map_aggregate(node.kwargs, change)
    for part in _graphs(module):
        part.recompile()
    return module.to(dtype)


def _run_all(module: torch.fx.GraphModule, inputs: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return {name: value} for every tensor that an operator returns, in the order computed.

    Those of a layer are named after it: `conv1`, then what is computed from it in the same layer.
    """
    values: dict[str, torch.Tensor] = {}

    class Collect(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if n.op == "call_function" and isinstance(value, torch.Tensor):
                values[n.name] = value.to("cpu", copy=True)  # operators that write in place may follow
            return value

    Collect(module).run(*inputs)
    return values
