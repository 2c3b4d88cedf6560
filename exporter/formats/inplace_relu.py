"""ReLUs of a TorchScript module that write into their input's memory, where nothing else reads it.

In place, a ReLU of a large tensor needs no new memory, which the system would have to map and clear first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_NOT_OWNED = ("prim::Param", "prim::Constant", "prim::GetAttr")
"""Nodes whose values belong to the caller or to the module."""


def use_inplace_relus(script: torch.jit.ScriptModule) -> None:
    """Run each ReLU of a frozen module in place if nothing reads its input, or a view of it, afterwards.

    Given y = relu(x), where no value that may share x's memory is an argument, a weight or a result of the module, or
    is used after the ReLU, the result is y = relu_(x): the same values in x's memory. torch's own alias analysis
    decides which values may share memory.

    Args:
        script: it is changed, and must not have run yet.
    """
    graph = script.graph
    aliases: Any = graph.alias_db()
    values = [*graph.inputs(), *_values(graph)]

    def unused_after(relu: Any) -> bool:
        shared = [value for value in values if aliases.may_contain_alias(value, relu.inputsAt(0))]
        users = [use.user for value in shared for use in value.uses()]
        owned = all(value.node().kind() not in _NOT_OWNED for value in shared)
        return owned and not any(user.kind() == "prim::Return" or user.isAfter(relu) for user in users)

    for relu in [node for node in graph.nodes() if node.kind() == "aten::relu" and unused_after(node)]:
        inplace = graph.create("aten::relu_", [relu.inputsAt(0)], 1)
        inplace.insertBefore(relu)
        inplace.copyMetadata(relu)
        inplace.output().setType(relu.output().type())
        relu.output().replaceAllUsesWith(inplace.output())
        relu.destroy()


def _values(block: Any) -> Iterator[Any]:
    """Yield every value of a graph or block, those of nested blocks too."""
    for node in block.nodes():
        yield from node.outputs()
        for inner in node.blocks():
            yield from inner.inputs()
            yield from _values(inner)
