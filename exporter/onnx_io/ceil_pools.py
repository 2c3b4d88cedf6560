"""Pools with `ceil_mode`, as onnx's shape inference must see them to get their sizes right.

Before opset 22, onnx counts a last window that begins after the input and its first padding. The operators'
definition (opset 22) and every engine leave it out. For as long as onnx looks at a model, such pools have explicit
paddings that give the right number of windows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import onnx

from exporter.onnx_io.attributes import read_attributes
from exporter.onnx_io.subgraphs import STANDARD_DOMAINS, all_graphs
from exporter.onnx_io.windows import explicit_pads, read_window

if TYPE_CHECKING:  # its import takes longer than reading a model, and few models have such pools
    import onnx_ir as ir

POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})
RIGHT_SINCE = 22
"""The first opset for which onnx leaves the window out."""


def has_ceil_pools(model: ir.Model) -> bool:
    """Return whether onnx may infer the size of a pool wrongly."""
    return bool(_find_pools(model))


@contextlib.contextmanager
def explicit_ceil_pools(model: ir.Model) -> Generator[None]:
    """Give pools that onnx infers wrongly, of known input sizes, other attributes; restore them after the block.

    The model's other parts, and the shapes that its values state, are unchanged.
    """
    pools = _find_pools(model)
    if not pools:
        yield
        return
    before = [dict(node.attributes) for node in pools]
    try:
        _set_pads(pools, _find_pads(model, pools))
        yield
    finally:
        for node, attributes in zip(pools, before, strict=True):
            node.attributes.clear()
            node.attributes.update(attributes)


def with_explicit_ceil_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model in which the pools are as in `explicit_ceil_pools`; the model itself if it has none."""
    nodes = [node for graph in all_graphs(model.graph) for node in graph.node if node.op_type in POOLS]
    if not any(attribute.name == "ceil_mode" and attribute.i for node in nodes for attribute in node.attribute):
        return model
    import onnx_ir as ir

    held = ir.from_proto(model)
    with explicit_ceil_pools(held):
        pools = {
            str(node.outputs[0].name): ir.to_proto(node) for node in held.graph.all_nodes() if node.op_type in POOLS
        }
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in all_graphs(copy.graph):
        for node in graph.node:
            if node.op_type in POOLS:
                node.CopyFrom(pools[node.output[0]])
    return copy


def _find_pools(model: ir.Model) -> list[ir.Node]:
    """Return the pools whose last window may begin after the input, in the order of the graph."""
    if (model.opset_imports.get("") or RIGHT_SINCE) >= RIGHT_SINCE:
        return []
    return [
        node
        for node in model.graph.all_nodes()
        if node.op_type in POOLS and node.domain in STANDARD_DOMAINS and _may_exceed(read_attributes(node))
    ]


def _may_exceed(attributes: dict[str, Any]) -> bool:
    kernel: Any = attributes.get("kernel_shape")
    if not attributes.get("ceil_mode") or not _is_window(attributes):
        return False
    strides, _, spans = read_window(attributes, kernel)
    pads = attributes.get("pads") or [0] * (2 * len(kernel))
    return _is_same(attributes) or any(
        stride + pad > span for stride, pad, span in zip(strides, pads[len(kernel) :], spans, strict=True)
    )


def _is_window(attributes: dict[str, Any]) -> bool:
    """Return whether a pool has the sizes that its kernel's rank asks for; others are left for onnx to refuse."""
    kernel: Any = attributes.get("kernel_shape")
    rank: int = len(kernel) if isinstance(kernel, list | tuple) else 0  # pyright: ignore[reportUnknownArgumentType]
    lengths = {"kernel_shape": rank, "strides": rank, "dilations": rank, "pads": 2 * rank}
    return rank > 0 and all(
        len(given) == length and all(isinstance(size, int) and size >= (name != "pads") for size in given)
        for name, length in lengths.items()
        if (given := attributes.get(name))
    )


def _find_pads(model: ir.Model, pools: Sequence[ir.Node]) -> dict[int, list[int]]:
    """Return {position among `pools`: its explicit paddings}. A pool's size may depend on that of one before it."""
    from onnx_ir.passes.common import ShapeInferencePass

    given = [read_attributes(node) for node in pools]
    pads: dict[int, list[int]] = {}
    for _ in pools:
        copy = model.clone()
        copies = _find_pools(copy)
        _set_pads(copies, pads)
        for node in copy.graph.all_nodes():  # stated shapes may be those that onnx has inferred wrongly
            for value in node.outputs:
                value.shape = None
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(copy)
        found = {
            number: explicit_pads(attributes, sizes, spans, strides, pool=True)
            for number, (node, attributes) in enumerate(zip(copies, given, strict=True))
            if not _is_same(attributes)
            if (sizes := _spatial_sizes(node)) is not None
            for strides, _, spans in [read_window(attributes, attributes["kernel_shape"])]
            if len(sizes) == len(spans)
        }
        if found == pads:
            break
        pads = found
    return pads


def _set_pads(pools: Sequence[ir.Node], pads: dict[int, list[int]]) -> None:
    import onnx_ir as ir

    for number, node in enumerate(pools):
        if _is_same(read_attributes(node)):  # its number of windows does not depend on ceil_mode
            node.attributes.pop("ceil_mode", None)
        elif number in pads:
            for name in ("auto_pad", "ceil_mode"):
                node.attributes.pop(name, None)
            node.attributes["pads"] = ir.AttrInt64s("pads", pads[number])


def _is_same(attributes: dict[str, Any]) -> bool:
    return str(attributes.get("auto_pad", "")).startswith("SAME")


def _spatial_sizes(node: ir.Node) -> list[int] | None:
    """Return the spatial sizes of a pool's input; None where one is unknown."""
    shape = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    sizes = [] if shape is None else [size for size in shape[2:] if isinstance(size, int)]
    return sizes if shape is not None and len(sizes) == len(shape) - 2 else None
