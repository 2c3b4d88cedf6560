"""Attributes of a node as Python values, of a message and of onnx_ir's node alike."""

import onnx_ir as ir
from onnx import AttributeProto, helper

from exporter.onnx_io.attributes import get_attributes, read_attributes

NODE = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1], group=2, auto_pad="VALID")


def test_values_of_a_message_and_of_a_node() -> None:
    assert get_attributes(NODE) == {"pads": [1, 1], "group": 2, "auto_pad": b"VALID"}
    assert {**read_attributes(ir.from_proto(NODE))} == {"pads": (1, 1), "group": 2, "auto_pad": "VALID"}


def test_what_refers_to_an_attribute_of_a_function_has_no_value() -> None:
    inside = helper.make_node("Conv", ["x", "w"], ["y"])
    inside.attribute.append(AttributeProto(name="group", ref_attr_name="groups", type=AttributeProto.INT))
    assert read_attributes(ir.from_proto(inside)) == {}
