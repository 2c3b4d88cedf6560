"""Versions of the standard operators: conversion to an older one, and the IR version that each needs."""

import contextlib
import logging
import re
from collections.abc import Generator

import onnx
import onnx_ir as ir

from exporter.errors import UsageError
from exporter.foreign_logging import suppress_foreign_logging
from exporter.isolation.worker import native_call
from exporter.onnx_io.load import cause_line
from exporter.onnx_io.subgraphs import STANDARD_DOMAINS


def min_ir_version(opset: int) -> int:
    """Return the oldest ONNX IR version that can hold a model of this opset: 8 for opset 17, 10 for opset 21."""
    return onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])


def convert_opset(model: ir.Model, target: int) -> None:
    """Convert a model to an older or newer opset, in place.

    Raises:
        UsageError: an operator does something that the other opset cannot express.
    """
    source = model.graph.opset_imports[""]
    if target < source:
        lower_opset(model, target)
    elif target > source and raise_opset(model, target) is not None:
        raise UsageError(f"the network cannot be converted to opset {target}; add --opset {source}")


def raise_opset(model: ir.Model, target: int) -> str | None:
    """Convert a model to a newer opset, in place, by onnxscript's converter, or onnx's where that has no adapter.

    Returns:
        Why it cannot be converted, or None. The model is then as it was, but for local functions, which are inlined.
    """
    from onnxscript.version_converter import ConvertVersionPass

    with (
        suppress_foreign_logging(),
        _collect_errors("onnxscript.version_converter") as errors,
        native_call("onnxscript's version converter"),
    ):
        ConvertVersionPass(target, fallback=True)(model)
    if model.graph.opset_imports[""] == target:
        model.ir_version = max(model.ir_version, min_ir_version(target))
        return None
    reason = cause_line(errors[-1]) if errors else "the converter has no adapter"
    return re.sub(r"^.*?Assertion `.*?` failed: ", "", reason)  # onnx's source file and line


@contextlib.contextmanager
def _collect_errors(name: str) -> Generator[list[BaseException]]:
    """Collect the exceptions that a logger reports at the level WARNING, without printing them."""
    errors: list[BaseException] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                errors.append(record.exc_info[1])

    logger, handler = logging.getLogger(name), Collector()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield errors
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def lower_opset(model: ir.Model, target: int) -> None:
    """Convert a model to an older opset, in place.

    An attribute that the older operator does not have is removed where it has its default value; axes that the older
    operator takes as an attribute (the Reduce operators before opset 18) become one; a Split into equal parts needs no
    `num_outputs`. An operator of the same version is the same operator.

    Raises:
        UsageError: an operator does something that the older opset cannot express.
    """
    source = model.graph.opset_imports[""]
    for node in list(model.graph.all_nodes()):
        if node.domain in STANDARD_DOMAINS and not _lower(node, source, target):
            raise UsageError(
                f"{node.name or node.op_type}: {node.op_type} is used in a way that opset {target} does not have; "
                f"add --opset {source}"
            )
    model.graph.opset_imports[""] = target
    for name in [name for name, value in model.graph.initializers.items() if not value.uses()]:
        if not model.graph.initializers[name].is_graph_output():
            del model.graph.initializers[name]


def _lower(node: ir.Node, source: int, target: int) -> bool:
    """Convert a node, and return whether the older operator can express it."""
    new = onnx.defs.get_schema(node.op_type, source)
    try:
        old = onnx.defs.get_schema(node.op_type, target)
    except onnx.defs.SchemaError:
        return False
    if new.since_version == old.since_version:
        return True
    axes = node.inputs[1] if "axes" in old.attributes and len(node.inputs) > 1 else None
    if axes is not None:
        tensor = ir.convenience.get_const_tensor(axes)
        if tensor is None:
            return False
        node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in tensor.numpy()])
        node.resize_inputs(1)
    if node.op_type == "Split" and "num_outputs" in node.attributes and _is_even(node):
        del node.attributes["num_outputs"]
    for name in [name for name in node.attributes if name not in old.attributes]:
        default = new.attributes[name].default_value
        if not default.name or onnx.helper.get_attribute_value(default) != _to_onnx(node.attributes[name]):
            return False
        del node.attributes[name]
    return len(node.inputs) <= old.max_input


def _is_even(node: ir.Node) -> bool:
    """Return whether a Split gives parts of one known size."""
    axis = node.attributes.get_int("axis", 0)
    sizes = [value.shape[axis] if value.shape is not None else None for value in node.outputs]
    return isinstance(sizes[0], int) and len(set(sizes)) == 1


def _to_onnx(attribute: ir.Attr) -> object:
    """Return an attribute's value as `onnx.helper.get_attribute_value` returns it: strings are bytes."""
    return attribute.value.encode() if isinstance(attribute.value, str) else attribute.value
