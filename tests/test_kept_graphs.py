"""Tests get a copy of an earlier export only of a network that is the same in everything that decides its graph."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from helpers.torch_exporter import export_anew, keep_graphs
from torch import nn

from exporter.formats import onnx_graph
from models.specs import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "float32", ("batch", 2)),), (TensorSpec("y", "float32", ("batch", 2)),))


class Scaled(nn.Linear):
    """A linear layer with an attribute and a buffer, and a parameter that may be the weight itself."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.factor = 1
        self.register_buffer("shift", torch.zeros(2))
        self.second = nn.Parameter(self.weight.detach().clone())

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as Linear's
        return super().forward(input) * self.factor + self.get_buffer("shift")


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules of which a graph was really made: one with the weight, in the weight's own memory."""
    made: list[nn.Module] = []

    def export(module: Scaled, _: Signature) -> ir.Model:
        made.append(module)
        weight = ir.Value(name="weight", const_value=ir.Tensor(module.weight.detach().numpy(), name="weight"))
        return ir.Model(ir.Graph([], [], nodes=[], initializers=[weight]), ir_version=10)

    monkeypatch.setattr(onnx_graph, "_export", export)
    keep_graphs(monkeypatch)
    return made


def make() -> Scaled:
    torch.manual_seed(0)
    return Scaled().eval()


def read_weight(model: ir.Model) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    tensor = model.graph.initializers["weight"].const_value
    assert tensor is not None
    return tensor.numpy()


def export(module: nn.Module, signature: Signature = SIGNATURE) -> ir.Model:
    return onnx_graph._export(module, signature)  # pyright: ignore[reportPrivateUsage]


def test_a_copy_shares_nothing(exported: list[nn.Module]) -> None:
    module = make()
    expected = module.weight.detach().numpy().copy()
    first = export(module)
    read_weight(first)[:] = 0
    first.graph.initializers["weight"].name = "renamed"
    with torch.no_grad():
        module.weight.zero_()
    assert np.array_equal(read_weight(export(make())), expected)
    assert exported == [module]


def test_a_copy_is_made_only_where_asked_for(exported: list[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    export(make())
    export_anew(monkeypatch)
    export(make())
    assert len(exported) == 2


def _change(name: str, value: object) -> Callable[[Scaled], None]:
    return lambda module: setattr(module, name, value)


CHANGES: dict[str, Callable[[Scaled], object]] = {
    "weight": lambda module: module.weight.data.mul_(1.001),
    "weight's layout": lambda module: setattr(module.weight, "data", module.weight.data.T.contiguous().T),
    "buffer": lambda module: module.get_buffer("shift").add_(1),
    "attribute": _change("factor", 2),
    "training": lambda module: module.train(),
    "shared parameter": lambda module: setattr(module, "second", module.weight),
    "hook": lambda module: module.register_forward_hook(lambda *_: None),
    "layer": lambda module: module.add_module("inner", nn.ReLU()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_the_graph_makes_a_new_one(change: str, exported: list[nn.Module]) -> None:
    export(make())
    other = make()
    CHANGES[change](other)
    assert read_weight(export(other)).tobytes() == other.weight.detach().numpy().tobytes()
    assert exported[1:] == [other]


def test_another_input_or_other_code_makes_a_new_one(
    exported: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    export(make())
    export(make(), Signature((TensorSpec("x", "float32", (3, 2)),), SIGNATURE.outputs))
    monkeypatch.setattr(Scaled, "forward", nn.Linear.forward)
    export(make())
    assert len(exported) == 3
