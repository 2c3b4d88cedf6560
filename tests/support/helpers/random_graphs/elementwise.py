"""Operators without windows: activations, arithmetic, rearrangements, reductions, control flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from helpers.random_graphs.graph import NotApplicableError, RandomGraph

PLAIN_ACTIVATIONS = (
    *("Relu", "Relu", "Sigmoid", "Tanh", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid", "ThresholdedRelu"),
    *("Celu", "Mish", "Abs", "Neg", "Erf", "LogSoftmax", "Exp"),
)
"""Operators of one input that need no attribute."""


def activation(g: RandomGraph) -> None:
    """An activation with one input, or its slopes or limits as weights."""
    x = g.value()
    operator = g.pick(
        (*PLAIN_ACTIVATIONS, "LeakyRelu", "PRelu", "PRelu", "Clip", "HardSwish", "Softmax", "silu", "gelu")
    )
    if operator == "gelu":
        _gelu(g, x)
    elif operator == "silu":
        g.op("Mul", [x, g.op("Sigmoid", [x])])
    elif operator == "PRelu":
        channels = g.shape(x)[1] if len(g.shape(x)) > 1 else 1
        slopes = (channels, *[1] * max(0, len(g.shape(x)) - 2)) if g.chance(0.7) else (1,)
        g.op("PRelu", [x, g.weight(g.rng.uniform(-0.3, 0.5, slopes).astype(np.float32))])
    elif operator == "Clip" and g.opset < 11:
        g.op("Clip", [x], min=-0.5, max=6.0)
    elif operator == "Clip":
        low = g.weight(np.array(-0.5, np.float32), plain=True) if g.chance(0.7) else ""
        g.op("Clip", [x, low, g.weight(np.array(6, np.float32), plain=True)])
    elif operator == "HardSwish" and g.opset < 14:
        y = g.op("HardSigmoid", [x], alpha=1 / 6, beta=0.5)
        g.op("Mul", [x, y])
    elif operator == "Softmax":
        g.op("Softmax", [x], axis=g.number(1, len(g.shape(x)) - 1)) if len(g.shape(x)) > 1 else g.op("Relu", [x])
    else:
        g.op(operator, [x], **({"alpha": 0.2} if operator == "LeakyRelu" and g.chance(0.5) else {}))


def _gelu(g: RandomGraph, x: str) -> None:
    """Add Gelu, or the nodes that torch writes for it."""
    if g.opset >= 20 and g.chance(0.6):
        g.op("Gelu", [x], **({"approximate": g.pick(("tanh", "none"))} if g.chance(0.6) else {}))
        return
    root, one, half = (g.weight(np.array(number, np.float32), plain=True) for number in (2**0.5, 1, 0.5))
    inner = g.op("Erf", [g.op("Div", [x, root])])
    g.op("Mul", [g.op("Mul", [x, g.op("Add", [inner, one])]), half])


def several(g: RandomGraph) -> None:
    """Max, Min, Sum or Mean of one to three values, broadcast."""
    x = g.value()
    shape = g.shape(x)
    others = [g.value(lambda y: y.shape == shape) for _ in range(g.number(0, 2))]
    if g.chance(0.3):
        others.append(g.weight(g.rng.standard_normal(shape[-1:]).astype(np.float32)))
    g.op(g.pick(("Max", "Min", "Sum", "Mean")), [x, *others])


def arithmetic(g: RandomGraph) -> None:
    """Add, Mul, Sub or Div with a weight that is broadcast, from either side."""
    x = g.value()
    shape = g.shape(x)
    sizes = [size if g.chance(0.4) else 1 for size in (1, *shape[1:])]
    sizes = sizes[g.number(0, len(sizes) - 1) :] if g.chance(0.5) else sizes
    operator = g.pick(("Add", "Mul", "Sub", "Div"))
    numbers = g.rng.uniform(0.5, 1.5, sizes) if operator == "Div" else g.rng.standard_normal(sizes)
    pair = [x, g.weight(numbers.astype(np.float32))]
    g.op(operator, pair if operator == "Div" or g.chance(0.7) else pair[::-1])


def residual(g: RandomGraph) -> None:
    """Add or Mul of two values, of one shape or broadcast."""
    x = g.value()
    shape = g.shape(x)
    y = g.value(
        lambda y: y.shape == shape or (y.ndim == len(shape) and set(y.shape[2:]) == {1} and y.shape[:2] == shape[:2])
    )
    g.op(g.pick(("Add", "Add", "Mul", "Sub")), [x, y] if g.chance(0.5) else [y, x])


def concat(g: RandomGraph) -> None:
    """Concat of two or three values that differ in one axis at most, of a value with itself too."""
    x = g.value(lambda x: x.ndim >= 2)
    shape = g.shape(x)
    axis = g.number(1, len(shape) - 1)

    def suits(y: Any) -> bool:
        same = [a == b or place == axis for place, (a, b) in enumerate(zip(y.shape, shape, strict=False))]
        return y.ndim == len(shape) and all(same)

    others = [g.value(suits) for _ in range(g.number(1, 2))]
    g.op("Concat", [x, *others], axis=axis if g.chance(0.7) else axis - len(shape))


def pad(g: RandomGraph) -> None:
    """Pad in every mode, by nothing and by negative amounts too."""
    x = g.value(lambda x: x.ndim >= 2)
    shape = g.shape(x)
    mode = g.pick(
        ("constant", "constant", "reflect", "edge", "wrap") if g.opset >= 19 else ("constant", "reflect", "edge")
    )
    most = 0 if g.chance(0.15) else 2
    amounts = [0 if place % len(shape) < 1 or g.chance(0.4) else g.number(0, most) for place in range(2 * len(shape))]
    if mode == "constant" and g.chance(0.15):
        amounts[g.number(1, len(shape) - 1)] = -1
    if mode in ("reflect", "wrap") and any(n >= shape[place % len(shape)] for place, n in enumerate(amounts)):
        raise NotApplicableError("more than there is to mirror")
    if g.opset < 11:
        g.op("Pad", [x], mode=mode, pads=amounts, **({"value": 0.5} if g.chance(0.3) else {}))
        return
    inputs = [x, g.integers(*amounts)]
    if mode == "constant" and g.chance(0.4):
        inputs.append(g.weight(np.array(0.5, np.float32), plain=True))
    g.op("Pad", inputs, **({} if mode == "constant" and g.chance(0.5) else {"mode": mode}))


def reshape(g: RandomGraph) -> None:
    """Reshape, Flatten, Squeeze or Unsqueeze that keep the batch first."""
    x = g.value()
    shape = g.shape(x)
    operator = g.pick(("Reshape", "Flatten", "Squeeze", "Unsqueeze"))
    ones = [axis for axis, size in enumerate(shape) if axis and size == 1]
    if operator == "Flatten":
        g.op("Flatten", [x], axis=1)
    elif operator == "Squeeze" and ones:
        _with_axes(g, "Squeeze", x, [g.pick(ones)], 13)
    elif operator == "Unsqueeze" and len(shape) < 5:
        _with_axes(g, "Unsqueeze", x, [g.number(1, len(shape))], 13)
    else:
        rest = int(np.prod(shape[1:]))
        first = g.pick([n for n in range(1, rest + 1) if rest % n == 0])
        sizes = g.pick(((0, -1), (-1, rest), (0, first, -1), (-1, first, rest // first)))
        if g.chance(0.3):
            size = g.op("Slice" if g.opset < 10 else "Gather", *_get_batch(g, x))
            g.op("Reshape", [x, g.op("Concat", [size, g.integers(rest)], axis=0)])
            return
        g.op("Reshape", [x, g.integers(*sizes)])


def _get_batch(g: RandomGraph, x: str) -> tuple[list[str]]:
    if g.opset < 10:
        raise NotApplicableError("Slice of opset 1 has attributes")
    return ([g.op("Shape", [x]), g.integers(0)],)


def _with_axes(g: RandomGraph, operator: str, x: str, axes: Sequence[int], since: int, **attributes: Any) -> str:
    if g.opset < since:
        return g.op(operator, [x], axes=list(axes), **attributes)
    return g.op(operator, [x, g.integers(*axes)], **attributes)


def transpose(g: RandomGraph) -> None:
    """Transpose and perhaps back, with something in between."""
    x = g.value(lambda x: x.ndim >= 3)
    rank = len(g.shape(x))
    perm = [0, *range(2, rank), 1] if g.chance(0.5) else [0, *(1 + g.rng.permutation(rank - 1)).tolist()]
    y = g.op("Transpose", [x], perm=perm)
    way = g.rng.random()
    if way < 0.3:
        y = g.op(g.pick(("Relu", "Sigmoid", "Neg")), [y])
    elif way < 0.5:
        y = g.op(g.pick(("Add", "Mul")), [y, g.weight(g.rng.standard_normal(g.shape(x)[perm[-1]]).astype(np.float32))])
    if g.chance(0.6):
        g.op("Transpose", [y], perm=np.argsort(perm).tolist())


def cut(g: RandomGraph) -> None:
    """Slice or Split along an axis that is not the batch."""
    x = g.value(lambda x: x.ndim >= 2 and max(x.shape[1:]) > 1)
    shape = g.shape(x)
    axis = g.pick([axis for axis, size in enumerate(shape) if axis and size > 1])
    first = g.number(1, shape[axis] - 1)
    if g.chance(0.4):
        parts = [first, shape[axis] - first]
        inputs, attributes = ([x], {"split": parts}) if g.opset < 13 else ([x, g.integers(*parts)], {})
        g.op("Split", inputs, 2, axis=axis, **attributes)
    elif g.opset < 10:
        g.op("Slice", [x], axes=[axis], starts=[0], ends=[first])
    else:
        step = g.pick((1, 1, 2, -1))
        ends = (first, 2**31, 2**63 - 1) if step > 0 else (-(2**31),)
        starts = 0 if step > 0 else shape[axis] - 1
        g.op("Slice", [x, *(g.integers(n) for n in (starts, g.pick(ends), axis, step))])


def reduce(g: RandomGraph) -> None:
    """ReduceMean, ReduceMax or ReduceSum over spatial axes or the channels."""
    x = g.value(lambda x: x.ndim >= 3)
    rank = len(g.shape(x))
    axes = g.pick(([*range(2, rank)], [1], [-1], [rank - 1], [2], [1, -1], [*range(1, rank)]))
    others = "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"
    operator = g.pick(("ReduceMean", "ReduceMean", *others))
    _with_axes(g, operator, x, axes, 13 if operator == "ReduceSum" else 18, keepdims=g.number(0, 1))


def passing(g: RandomGraph) -> None:
    """Identity, Dropout without training, or casts to another type and back."""
    x = g.value()
    way = g.pick(("Identity", "Dropout", "half", "half", "double", "same"))
    if way == "Dropout":
        mask = g.opset >= 12 and g.chance(0.2)  # before, what it holds is not defined
        g.op("Dropout", [x], 2 if mask else 1, **({"ratio": 0.3} if g.opset < 12 else {}))
    elif way == "Identity":
        g.op("Identity", [x])
    else:
        own = helper.np_dtype_to_tensor_dtype(np.dtype(g.dtype))
        kind = {"half": TensorProto.FLOAT16, "double": TensorProto.DOUBLE, "same": own}[way]
        y = g.op("Cast", [x], to=kind)
        if g.chance(0.5):
            y = g.op(g.pick(("Sigmoid", "Tanh") if way != "double" else ("Sigmoid",)), [y])
        g.op("Cast", [y], to=own)


def again(g: RandomGraph) -> None:
    """A node that is there already, on the same inputs and on others of the same shape."""
    old = g.pick(g.nodes) if g.nodes else None
    if old is None or old.op_type in ("Constant", "If", "Loop"):
        raise NotApplicableError("no node to repeat")
    inputs = [*old.input]
    if g.chance(0.5) and inputs[0] in g.values:
        shape, dtype = g.shape(inputs[0]), str(g.values[inputs[0]][0].dtype)
        inputs[0] = g.value(lambda x: x.shape == shape, dtype)
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in old.attribute}
    g.op(old.op_type, inputs, len(old.output), **attributes)


OPERATORS = (
    activation,
    activation,
    activation,
    several,
    arithmetic,
    residual,
    residual,
    concat,
    pad,
    reshape,
    transpose,
    cut,
    reduce,
    passing,
    again,
)
"""Functions that add an operator; some more often than others."""
