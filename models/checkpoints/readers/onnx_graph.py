"""What an ONNX graph states of a C3D: pool5's convention, the clip's size, and which weight belongs to which layer.

Exporters rename weights: torch's older one folds a BatchNorm into its convolution and calls the result `onnx::Conv_45`.
The graph still says which layer reads which weight, if it is C3D's chain of operators and nothing else. Nothing of it
runs. Field numbers: onnx/onnx.proto of the ONNX project.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from models.checkpoints.file_tensor import FileTensor
from models.checkpoints.layout import LINEARS
from models.checkpoints.readers.base import MappedFile
from models.checkpoints.unnamed_layers import find_base_channels
from models.config import CONVOLUTIONS, InputSize
from models.pooling import Pool5
from models.protobuf_wire import VARINT, Field, signed

MARGINS: dict[tuple[int, ...], Pool5] = {(0, 1, 1, 0, 1, 1): "symmetric", (0, 0, 0, 0, 1, 1): "right"}
"""{pads of pool5, starts before ends: the convention}."""
WINDOWS = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
"""Of pool1 to pool5, and their steps."""
MAX_NODES = 500
"""Of a graph that is searched for C3D's chain, which has thirty to sixty."""

ONE = struct.pack("<f", 1)
NO_PADS, ONES = (0,) * 6, (1,) * 6
LETTERS = {
    "Conv": "C",
    "Relu": "R",
    "MaxPool": "P",
    "Flatten": "F",
    "Reshape": "F",
    "Gemm": "L",
    "MatMul": "M",
    "Add": "A",
    "Softmax": "S",
    "LogSoftmax": "S",
}
CHAIN = re.compile(r"CRPCRPCRCRPCRCRPCRCRPF+((?:L|MA?)(?:R(?:L|MA?)){0,2})(R|S)?")
"""C3D's operators by their letters; a MatMul has its bias in an Add. A ReLU at the end: the outputs are features."""
CONV_ATTRIBUTES = {"kernel_shape": (3, 3, 3), "strides": (1, 1, 1), "dilations": (1, 1, 1), "group": (1,)}
"""C3D's convolutions; each is also what is meant where a node does not state it (kernel_shape: the weight's)."""
WITHOUT_EFFECT = ("Dropout", "Identity")
ATTRIBUTES = frozenset((*CONV_ATTRIBUTES, "pads", "auto_pad", "ceil_mode", "axis", "transA", "transB", "alpha", "beta"))
"""Those that are looked at: of others a file may hold any amount."""
MAX_ATTRIBUTE = 128
"""Bytes of their names, texts and lists, which need far fewer."""
TOO_LONG = (-1,)
"""In place of a longer list: no attribute may be so."""


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        operator: its type; "" for one of another domain than ONNX's own.
        inputs: names of values.
        outputs: names of values.
        numbers: {attribute: its integers}, of `ATTRIBUTES`; of a single one a tuple of one.
        texts: {attribute: its text}.
        scaled: attributes that are a number with a fraction, and not 1.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    scaled: frozenset[str] = frozenset()

    @property
    def pads(self) -> tuple[int, ...] | None:
        """Its padding, starts before ends; None where its size follows from the input's (`SAME_UPPER`)."""
        return None if self.texts.get("auto_pad", "").startswith("SAME") else self.numbers.get("pads", NO_PADS)

    @property
    def ceil(self) -> bool:
        """Whether windows that reach over the end count."""
        return any(self.numbers.get("ceil_mode", ()))

    def is_pool(self, windows: tuple[int, ...]) -> bool:
        """Return whether it is a max pool of these windows, one beside the other."""
        dense = self.numbers.get("dilations", (1, 1, 1)) == (1, 1, 1)
        return dense and self.numbers.get("kernel_shape") == windows == self.numbers.get("strides", (1, 1, 1))


def read_node(file: MappedFile, span: Field) -> Node:
    """Return a node.

    NodeProto: input 1, output 2, op_type 4, attribute 5, domain 7. AttributeProto: name 1, f 2, i 3, s 4, ints 8.

    Raises:
        WireError: no valid message.
    """
    wire = file.wire
    node = wire.members(span)
    numbers, texts, scaled = dict[str, tuple[int, ...]](), dict[str, str](), set[str]()
    for attribute in (wire.members(member) for member in node.get(5, [])):
        key = _short_text(file, attribute.get(1, []))
        if key not in ATTRIBUTES:
            continue
        single = tuple(signed(entry.value) for entry in attribute.get(3, []) if entry.wire == VARINT)
        runs = attribute.get(8, [])
        long = len(runs) > MAX_ATTRIBUTE or any(run.end - run.start > MAX_ATTRIBUTE for run in runs)
        numbers[key] = single or (TOO_LONG if long else tuple(size for run in runs for size in wire.packed(run)))
        if 4 in attribute:
            texts[key] = _short_text(file, attribute[4])
        if any(wire.data[entry.start : entry.end] != ONE for entry in attribute.get(2, [])):
            scaled.add(key)
    inputs, outputs = (tuple(map(wire.text, node.get(number, []))) for number in (1, 2))
    domain = wire.text(node[7][-1]) if 7 in node else ""
    operator = wire.text(node[4][-1]) if 4 in node and domain in ("", "ai.onnx") else ""
    return Node(operator, inputs, outputs, numbers, texts, frozenset(scaled))


def _short_text(file: MappedFile, spans: Sequence[Field]) -> str:
    """Return the last of a field's texts; "" where there is none, or a long one."""
    return file.wire.text(spans[-1]) if spans and spans[-1].end - spans[-1].start <= MAX_ATTRIBUTE else ""


def find_pool5(file: MappedFile, nodes: Sequence[Field]) -> Pool5 | None:
    """Return the convention of the last MaxPool, if it has the windows of pool5.

    Raises:
        WireError: a node is no valid message.
    """
    for span in reversed(nodes):
        node = read_node(file, span)
        if node.operator == "MaxPool":
            return _convention(node) if node.numbers.get("kernel_shape") == WINDOWS[-1] else None
    return None


def _convention(pool: Node) -> Pool5 | None:
    pads = pool.pads
    if pads is None:
        return "right" if pool.texts["auto_pad"] == "SAME_UPPER" else None
    return "right" if pool.ceil and not any(pads) else MARGINS.get(pads)


def name_by_position(
    file: MappedFile, nodes: Sequence[Field], tensors: Mapping[str, FileTensor], clip: InputSize | None
) -> dict[str, FileTensor]:
    """Return {canonical name: weight} where the graph is C3D's chain of operators; {} for any other graph.

    Args:
        file: the model.
        nodes: of its graph.
        tensors: its weights, under the names that the nodes use.
        clip: the size of a clip, if the graph states it.

    Returns:
        the weights as torch lays them out: a linear layer's as (outputs, inputs).

    Raises:
        WireError: a node is no valid message.
    """
    if len(nodes) > MAX_NODES:
        return {}
    chain = [node for node in _walk([read_node(file, span) for span in nodes]) if node.operator not in WITHOUT_EFFECT]
    found = CHAIN.fullmatch("".join(LETTERS.get(node.operator, "?") for node in chain))
    if found is None:
        return {}
    pools = [node for node in chain if node.operator == "MaxPool"]
    if not _are_pools(pools, clip) or not all(map(_keeps_rows, chain)):
        return {}
    layers = [_conv(node, tensors) for node in chain if node.operator == "Conv"]
    base = None if None in layers else find_base_channels([weight.shape for weight, _ in filter(None, layers)])
    linears = list(_linears(chain, tensors))
    number, features = len(re.findall("[LM]", found[1])), found[2] == "R"
    if base is None or not _are_chained([weight.shape for weight, _ in linears], 8 * base, number):
        return {}
    if features and number == len(LINEARS):  # C3D has no ReLU after fc8
        return {}
    ends = LINEARS[:number] if features else (*LINEARS[: number - 1], LINEARS[-1])
    named = zip((*CONVOLUTIONS, *ends), (*filter(None, layers), *linears), strict=True)
    return {
        f"{layer}.{parameter}": tensor
        for layer, pair in named
        for parameter, tensor in zip(("weight", "bias"), pair, strict=True)
        if tensor is not None
    }


Layer = tuple[FileTensor, FileTensor | None]
"""A weight, and a bias where there is one."""


def _walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Walk from the first convolution along its result; it ends at a value that two nodes read, or none."""
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.inputs) if node.operator != "Shape" else ():
            readers.setdefault(name, []).append(node)
    made = {name for node in nodes if node.operator != "Constant" for name in node.outputs}
    node = next((node for node in nodes if node.operator == "Conv"), None)
    if node is None or not node.inputs or node.inputs[0] in made:
        return
    for _ in nodes:
        yield node
        following = readers.get(node.outputs[0], []) if node.outputs else []
        if (
            len(following) != 1
            or node.outputs[0] not in following[0].inputs[: 2 if following[0].operator == "Add" else 1]
        ):
            if following:
                yield Node("", (), ())  # no chain
            return
        node = following[0]


def _keeps_rows(node: Node) -> bool:
    """Return whether a Flatten begins at the channels, and a softmax is over the classes."""
    axes = {"F": (1,), "S": (1, -1)}.get(LETTERS.get(node.operator, ""))
    return axes is None or all(axis in axes for axis in node.numbers.get("axis", ()))


def _are_pools(pools: Sequence[Node], clip: InputSize | None) -> bool:
    """Return whether these are C3D's pools; a window that reaches over the end is pool5's only."""
    if not all(pool.is_pool(windows) for pool, windows in zip(pools, WINDOWS, strict=True)):
        return False
    *first, last = pools
    even = clip is not None and not any(size % step for size, step in zip(clip[1:], (8, 16, 16), strict=True))
    inside = all(not any(pool.pads or ()) and (even or not (pool.ceil or pool.pads is None)) for pool in first)
    return inside and (_convention(last) is not None or (last.pads == NO_PADS and not last.ceil))


def _conv(node: Node, tensors: Mapping[str, FileTensor]) -> Layer | None:
    """Return the parameters of a convolution that is as C3D's; None for another, or of weights that are computed."""
    plain = all(node.numbers.get(name, default) == default for name, default in CONV_ATTRIBUTES.items())
    padded = node.pads in (ONES, None) and node.texts.get("auto_pad") != "VALID"
    weight, bias = (tensors.get(node.inputs[at]) if len(node.inputs) > at else None for at in (1, 2))
    lost = len(node.inputs) > 2 and bias is None
    return None if not (plain and padded) or weight is None or lost else (weight, bias)


def _linears(chain: Sequence[Node], tensors: Mapping[str, FileTensor]) -> Iterator[Layer]:
    """Return the parameters of the linear layers; fewer than there are where one is not plain."""
    for node, after in pairwise([*chain, Node("", (), ())]):
        if node.operator not in ("Gemm", "MatMul") or len(node.inputs) < 2:
            continue
        weight = tensors.get(node.inputs[1])
        if node.operator == "Gemm":
            names = node.inputs[2:]
            swapped = node.numbers.get("transB", (0,)) == (0,)
            plain = node.numbers.get("transA", (0,)) == (0,) and not {"alpha", "beta"} & node.scaled
        else:
            names = tuple(name for name in after.inputs if name in tensors) if after.operator == "Add" else ()
            swapped, plain = True, after.operator != "Add" or len(names) == 1
        bias = tensors.get(names[0]) if names and names[0] else None
        if plain and weight is not None and len(weight.shape) == 2 and (bias is not None) == bool(names):
            yield weight.transpose() if swapped else weight, bias


def _are_chained(shapes: Sequence[tuple[int, ...]], channels: int, number: int) -> bool:
    """Return whether linear weights (outputs, inputs) read one another, the first one conv5b's channels."""
    if len(shapes) != number or shapes[0][1] % channels:
        return False
    return all(after[1] == before[0] for before, after in pairwise(shapes))
