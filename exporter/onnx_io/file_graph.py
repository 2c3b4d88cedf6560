"""A model file as checks of its weights read it: its nodes, its constants, and who reads and computes each value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.subgraphs import all_graphs, needed_nodes
from exporter.onnx_io.weights import read_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class FileGraph:
    """A model whose large weights are left in its file.

    Attributes:
        path: the file.
        model: the model.
        nodes: those that its outputs may depend on, of subgraphs and local functions too.
    """

    path: Path
    model: ModelProto
    nodes: Sequence[NodeProto]

    @classmethod
    def load(cls, path: Path) -> FileGraph:
        """Load a model.

        Raises:
            ArtifactError: unreadable, or not ONNX.
        """
        model = load_without_weights(path)
        return cls(path, model, needed_nodes(model))

    @cached_property
    def initializers(self) -> list[TensorProto]:
        """The initialisers of every graph."""
        return [tensor for graph in all_graphs(self.model.graph) for tensor in graph.initializer]

    @cached_property
    def named_tensors(self) -> list[tuple[str, TensorProto]]:
        """The names and tensors of initialisers and Constant nodes; graphs inside others may use a name again."""
        return [*find_tensors(self.model, self.nodes)]

    @cached_property
    def tensors(self) -> dict[str, TensorProto]:
        """{name: tensor} of initialisers and Constant nodes; the innermost where a name is used again."""
        return dict(self.named_tensors)

    @cached_property
    def readers(self) -> dict[str, list[NodeProto]]:
        """{value: the nodes that read it}."""
        readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        return readers

    @cached_property
    def producers(self) -> dict[str, NodeProto]:
        """{value: the node that computes it}."""
        return {name: node for node in self.nodes for name in node.output if name}

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the names and numbers of some constants.

        Raises:
            ArtifactError: see `exporter.onnx_io.weights.take_weights`.
        """
        return read_weights(self.model, {name: self.tensors[name] for name in names}, self.path)


def find_tensors(model: ModelProto, nodes: Sequence[NodeProto]) -> Iterator[tuple[str, TensorProto]]:
    """Yield the names and tensors of initialisers and Constant nodes."""
    for graph in all_graphs(model.graph):
        yield from _name_tensors(graph.initializer, ())
    yield from _name_tensors((), nodes)


def own_tensors(graph: GraphProto) -> dict[str, TensorProto]:
    """Return {name: tensor} of a graph's own initialisers and Constant nodes.

    Those of the graphs inside it may have the names of other values here.
    """
    return dict(_name_tensors(graph.initializer, graph.node))


def _name_tensors(initializers: Iterable[TensorProto], nodes: Iterable[NodeProto]) -> Iterator[tuple[str, TensorProto]]:
    for tensor in initializers:
        yield tensor.name, tensor
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                yield node.output[0], attribute.t
