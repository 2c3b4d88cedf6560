"""TorchScript files in torch, on the CPU or CUDA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import torch

from exporter.engines.base import RuntimeOptions
from exporter.engines.code_file import loadable
from exporter.engines.torch_files import (
    RANDOM_OPERATORS,
    UNKNOWN_SHAPE,
    TorchFileRuntime,
    lowest_precision,
)
from exporter.errors import ArtifactError
from exporter.results import Placement, Precision, ReferencePrecision
from models.specs import Signature, TensorSpec
from models.text import split_lines


class TorchScriptRuntime(TorchFileRuntime):
    """A TorchScript archive in torch's interpreter. Loading one runs its code."""

    format = "torchscript"
    title = "TorchScript"
    load_errors = (RuntimeError, ValueError)
    _module: torch.jit.ScriptModule | None = None
    _graph: Any = None
    _dtype: torch.dtype | None = None

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        super().__init__(path, options)
        self.optimized = options.optimize_for_inference and options.device == "cpu" and not options.all_outputs

    @property
    def description(self) -> str:
        """Return `TorchScript in torch 2.13.0 (cpu, optimize_for_inference)`."""
        plain = super().description
        return f"{plain[:-1]}, optimize_for_inference)" if self.optimized else plain

    def load_file(self, stream: BinaryIO) -> None:
        """Load the module."""
        loaded = torch.jit.load(loadable(stream), map_location=self.options.device)
        module = self._prepare(loaded.eval())
        self._module = torch.jit.optimize_for_inference(module) if self.optimized else module
        self._dtype = self._input_dtype()
        self._graph = _with_all_outputs(module) if self.options.all_outputs else None

    def release(self) -> None:
        """Release the module."""
        self._module = self._graph = None

    def stated_signature(self) -> Signature:
        """Return what the archive states: the names of arguments, and no sizes."""
        assert self._module is not None, "enter the runtime first"
        forward: Any = self._module.forward
        schema = forward.schema
        return Signature(
            tuple(TensorSpec(argument.name, "float32", UNKNOWN_SHAPE) for argument in schema.arguments[1:]),
            tuple(
                TensorSpec(name, "float32", UNKNOWN_SHAPE) for name in self._find_output_names(schema.returns[0].type)
            ),
        )

    def _find_output_names(self, returned: Any) -> list[str]:
        """Return a name for each tensor that the archive returns: its key in a dictionary, else `output0` and so on.

        Raises:
            ArtifactError: a list or dictionary whose length or keys are not constants of the graph.
        """
        assert self._module is not None
        kind = returned.kind()
        if kind == "TupleType":
            return [f"output{i}" for i in range(len(returned.elements()))]
        if kind not in ("DictType", "ListType"):
            return ["output0"]
        graph = self._module.inlined_graph
        node = next(graph.outputs()).node()
        values = [*node.inputs()]
        if node.kind() == "prim::ListConstruct" and values:  # an empty one is filled by a loop
            return [f"output{i}" for i in range(len(values))]
        keys = [value.toIValue() for value in values[::2]]
        if node.kind() != "prim::DictConstruct" or not all(isinstance(key, str) for key in keys):
            raise ArtifactError(
                f"{self.path}: returns a {returned}, whose tensors cannot be named before it runs; return a tuple, or "
                "a dictionary or list that is written out in forward"
            )
        return [str(key) for key in keys]

    @property
    def precision(self) -> Precision:
        """Return the lowest precision of the archive's parameters and constants."""
        assert self._module is not None, "enter the runtime first"
        return lowest_precision(tensor.dtype for tensor in _weights(self._module) if tensor.dim())

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield parameters, buffers and constants; their names are empty, because a graph's constants have none."""
        assert self._module is not None, "enter the runtime first"
        for tensor in _weights(self._module):
            yield "", tensor

    @property
    def random_node(self) -> str | None:
        """Return the first operator of the archive that draws random numbers."""
        assert self._module is not None, "enter the runtime first"
        graph = self._module.inlined_graph
        for kind, training in RANDOM_OPERATORS.items():
            for node in graph.findAllNodes(kind):  # pyright: ignore
                if training is None or [*node.inputs()][training].toIValue() is True:
                    mode = "" if training is None else " in training mode"
                    return f"{next(node.outputs()).debugName()} ({kind}{mode})"
        return None

    @property
    def placement(self) -> Placement:
        """Return the graph's operator count; torch runs every one of them on the device or fails."""
        assert self._module is not None, "enter the runtime first"
        operators = [node for node in self._module.inlined_graph.nodes() if node.kind().startswith("aten::")]
        return Placement(self.options.device, len(operators))

    def to_input(self, value: torch.Tensor) -> torch.Tensor:
        """Return a floating-point input in the type of the archive's weights."""
        return super().to_input(value.to(self._dtype) if value.is_floating_point() and self._dtype else value)

    def call(self, inputs: Sequence[torch.Tensor]) -> Any:
        """Run the module."""
        assert self._module is not None, "enter the runtime first"
        return self._module(*inputs) if self._graph is None else self._graph(*inputs)

    def find_reason(self, error: Exception) -> str:
        """Return the last line: before it are the lines of the archive's code."""
        return [type(error).__name__, *split_lines(str(error))][-1]

    def _prepare(self, module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
        return module

    def _input_dtype(self) -> torch.dtype | None:
        """Return what floating-point inputs are converted to: every weight's dtype, unless float32; None leaves it."""
        assert self._module is not None
        held = {tensor.dtype for tensor in _weights(self._module) if tensor.dim() and tensor.is_floating_point()}
        (only,) = held if len(held) == 1 else (None,)
        return None if only == torch.float32 else only


class FloatScript(TorchScriptRuntime):
    """The same archive with every number in one floating-point type."""

    def __init__(self, path: Path, options: RuntimeOptions, dtype: ReferencePrecision = "float64") -> None:
        super().__init__(path, replace(options, optimize_for_inference=False))
        self._float: torch.dtype = getattr(torch, dtype)

    def _prepare(self, module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
        return _cast(module, self._float)


def _weights(module: torch.jit.ScriptModule) -> Iterator[torch.Tensor]:
    """Yield parameters, buffers and the constants that freezing made of them."""
    yield from module.parameters()
    yield from module.buffers()
    graph = module.inlined_graph  # held here, because its nodes go with it
    for node in graph.findAllNodes("prim::Constant"):  # pyright: ignore
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            yield node.t("value")


def _cast(module: torch.jit.ScriptModule, dtype: torch.dtype) -> torch.jit.ScriptModule:
    """Return the module, frozen, with every floating-point constant in `dtype`.

    A float32, float16 or bfloat16 number is exactly a float64 one, so this is the same function without the rounding.
    """
    frozen = torch.jit.freeze(module.eval(), optimize_numerics=False)
    for node in frozen.graph.findAllNodes("prim::Constant"):  # pyright: ignore
        if node.hasAttribute("value") and node.kindOf("value") == "t" and node.t("value").is_floating_point():
            node.t_("value", node.t("value").to(dtype))
    return frozen


def _with_all_outputs(module: torch.jit.ScriptModule) -> Any:
    """Return a function that returns {value name: tensor} for every tensor of the module's frozen graph."""
    frozen = torch.jit.freeze(module.eval(), optimize_numerics=False)
    graph = frozen.graph.copy()
    tensor = torch._C.TensorType.get()  # pyright: ignore - what a graph is made of has no public name
    names: list[str] = []
    for output in [*graph.outputs()]:
        graph.eraseOutput(0)
        del output
    for node in graph.nodes():
        for value in node.outputs():
            if node.kind().startswith("aten::") and value.type().isSubtypeOf(tensor):
                names.append(value.debugName())
                graph.registerOutput(value)
    graph.makeMultiOutputIntoTuple()

    def run(*arguments: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = torch._C._jit_interpret_graph(graph, (frozen._c, *arguments))  # pyright: ignore
        values = outputs if isinstance(outputs, tuple) else (outputs,)
        return dict(zip(names, values, strict=True))

    return run
