"""The attributes of a node as Python values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:  # its import takes longer than refusing a file that cannot be read
    import onnx_ir as ir


def get_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return {name: value} of a message's attributes; strings are bytes."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def read_attributes(node: ir.Node) -> dict[str, Any]:
    """Return {name: value} of a node's attributes, without those that refer to a function's."""
    return {name: attribute.value for name, attribute in node.attributes.items() if not attribute.is_ref()}
