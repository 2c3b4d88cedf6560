"""One node of a graph, with its attributes as Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import AttributeProto, helper

NodeValues = Sequence[Any]
"""A node's inputs or outputs: NumPy arrays, lists of them for sequences, None for an optional value that is absent."""


class UnsupportedError(Exception):
    """A kernel does not cover this form of its operator; another implementation is tried."""


@dataclass(frozen=True)
class Node:
    """A node and what its kernels need to know about the graph around it.

    Attributes:
        proto: the node itself.
        opsets: {domain: version} that the model imports.
        attributes: {name: value} as `onnx.helper.get_attribute_value` returns them, strings decoded; no graphs.
        constants: the inputs that are initialisers or outputs of Constant nodes.
    """

    proto: onnx.NodeProto
    opsets: Mapping[str, int]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    constants: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, str]:
        """Its domain ("" for ONNX's own) and operator."""
        return normalize_domain(self.proto.domain), self.proto.op_type

    @property
    def opset(self) -> int:
        """The version of its domain that the model imports."""
        return self.opsets.get(self.key[0], 1)

    @property
    def label(self) -> str:
        """`name (Operator)`; a node without a name goes by its first output."""
        name = self.proto.name or next((name for name in self.proto.output if name), "?")
        return f"{name} ({self.proto.op_type})"

    @property
    def outputs(self) -> int:
        """The number of outputs up to the last one that is used."""
        return max((number for number, name in enumerate(self.proto.output, 1) if name), default=0)


def make_node(proto: onnx.NodeProto, opsets: Mapping[str, int], constants: frozenset[str] = frozenset()) -> Node:
    """Return a node with its attributes converted."""
    attributes = {
        attribute.name: _plain(helper.get_attribute_value(attribute))
        for attribute in proto.attribute
        if attribute.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    }
    return Node(proto, opsets, attributes, constants.intersection(proto.input))


def normalize_domain(domain: str) -> str:
    """Return "" for both spellings of ONNX's own domain."""
    return "" if domain == "ai.onnx" else domain


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [item.decode("utf-8", "replace") for item in value]
    return value
