"""Layers with windows and weights: convolutions, pools, normalisations, matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.random_graphs.graph import Array, RandomGraph


def is_image(x: Array) -> bool:
    """Return whether a value has a batch, channels and 1 to 3 spatial axes."""
    return 3 <= x.ndim <= 5


def _normal(g: RandomGraph, *shape: int) -> Array:
    scale = 1 / np.sqrt(max(1, np.prod(shape[1:])))
    return (g.rng.standard_normal(shape) * scale).astype(np.float32)


def _window(g: RandomGraph, rank: int, kernel: list[int], *, dilate: bool = True) -> dict[str, Any]:
    """Return the attributes of random windows; some are left out, which means their default."""
    found: dict[str, Any] = {}
    if g.chance(0.6):
        found["strides"] = [g.pick((1, 1, 2, 3)) for _ in range(rank)] if g.chance(0.5) else [1] * rank
    if dilate and g.chance(0.15):
        found["dilations"] = [g.number(1, 2) for _ in range(rank)]
    way = g.rng.random()
    if way < 0.15 and "dilations" not in found:
        found["auto_pad"] = g.pick(("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"))
        if g.chance(0.3):
            found["strides"] = [g.number(1, 5) for _ in range(rank)]
    elif way < 0.75:
        same = [size // 2 for size in kernel]
        found["pads"] = same * 2 if g.chance(0.7) else [g.number(0, max(0, size - 1)) for size in kernel * 2]
    return found


def _kernel(g: RandomGraph, rank: int) -> list[int]:
    if g.chance(0.5):
        return [3] * rank
    if rank == 3 and g.chance(0.5):
        return g.pick(([1, 3, 3], [3, 1, 1], [1, 1, 1]))
    return [g.number(1, 4) for _ in range(rank)]


def conv(g: RandomGraph) -> None:
    """Conv in 1 to 3 axes, perhaps in groups, without a bias, or followed by a normalisation and a pool."""
    x = g.value(is_image)
    channels, rank = g.shape(x)[1], len(g.shape(x)) - 2
    groups = g.pick([n for n in range(1, channels + 1) if channels % n == 0]) if g.chance(0.25) else 1
    outputs = groups * g.number(1, 4) if groups > 1 else g.pick((1, 2, 3, 4, 8, 16))
    kernel = _kernel(g, rank)
    attributes = _window(g, rank, kernel)
    if g.chance(0.7):
        attributes["kernel_shape"] = kernel
    if groups > 1 or g.chance(0.3):
        attributes["group"] = groups
    inputs = [x, g.weight(_normal(g, outputs, channels // groups, *kernel))]
    if g.chance(0.7):
        inputs.append(g.weight(_normal(g, outputs)))
    y = g.op("Conv", inputs, **attributes)
    _follow(g, y, outputs)


def conv_transpose(g: RandomGraph) -> None:
    """ConvTranspose, with output padding now and then."""
    x = g.value(is_image)
    channels, rank = g.shape(x)[1], len(g.shape(x)) - 2
    groups = g.pick([n for n in range(1, channels + 1) if channels % n == 0]) if g.chance(0.2) else 1
    outputs = g.pick((1, 2, 4))
    kernel = [g.number(1, 3) for _ in range(rank)]
    strides = kernel if g.chance(0.5) else [g.number(1, 3) for _ in range(rank)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    if groups > 1 or g.chance(0.2):
        attributes["group"] = groups
    if g.chance(0.1):
        attributes["dilations"] = [g.number(1, 2) for _ in range(rank)]
    if g.chance(0.3):
        attributes["pads"] = [g.number(0, size - 1) for size in kernel * 2]
    elif g.chance(0.15):
        attributes["auto_pad"] = g.pick(("SAME_UPPER", "SAME_LOWER", "VALID"))
    if g.chance(0.2):
        attributes["output_padding"] = [g.number(0, step - 1) for step in strides]
    if g.chance(0.1):
        sizes = zip(g.shape(x)[2:], strides, kernel, strict=True)
        attributes["output_shape"] = [(size - 1) * step + span - g.number(0, span - 1) for size, step, span in sizes]
    inputs = [x, g.weight(_normal(g, channels, outputs, *kernel))]
    outputs *= groups
    if g.chance(0.6):
        inputs.append(g.weight(_normal(g, outputs)))
    _follow(g, g.op("ConvTranspose", inputs, **attributes), outputs)


def _follow(g: RandomGraph, y: str, channels: int) -> None:
    """Perhaps put a normalisation, an activation and a pool after a layer, which passes look for there."""
    if g.chance(0.35):
        y = g.op("BatchNormalization", [y, *_statistics(g, channels)], **({"epsilon": 1e-3} if g.chance(0.3) else {}))
    if g.chance(0.35):
        y = g.op("Relu", [y])
    if g.chance(0.15):
        g.commit()
        _pool(g, y, "MaxPool")


def _statistics(g: RandomGraph, channels: int) -> list[str]:
    scale, bias, mean = (g.rng.standard_normal(channels).astype(np.float32) for _ in range(3))
    variance = g.rng.uniform(0.3, 2, channels).astype(np.float32)
    if g.chance(0.2):
        scale[g.number(0, channels - 1)] = 0
    return [g.weight(array) for array in (scale, bias, mean)] + [g.weight(variance, plain=True)]


def batch_norm(g: RandomGraph) -> None:
    """BatchNormalization of any value with channels."""
    x = g.value(lambda x: 2 <= x.ndim <= 5)
    g.op("BatchNormalization", [x, *_statistics(g, g.shape(x)[1])])


def instance_norm(g: RandomGraph) -> None:
    """InstanceNormalization, whose spatial sizes must be more than one number."""
    x = g.value(lambda x: is_image(x) and int(np.prod(x.shape[2:])) > 3)
    channels = g.shape(x)[1]
    g.op("InstanceNormalization", [x, g.weight(_normal(g, channels)), g.weight(_normal(g, channels))])


def group_norm(g: RandomGraph) -> None:
    """GroupNormalization: the operator, or the nodes that torch writes."""
    x = g.value(lambda x: is_image(x) and int(np.prod(x.shape[2:])) > 3)
    shape = g.shape(x)
    channels = shape[1]
    groups = g.pick([n for n in range(1, channels + 1) if channels % n == 0])
    if g.opset >= 21 and g.chance(0.6):
        weights = [g.weight(_normal(g, channels)), g.weight(_normal(g, channels))]
        g.op("GroupNormalization", [x, *weights], num_groups=groups)
        return
    flat = g.op("Reshape", [x, g.integers(0, groups, -1)])
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    normed = g.op("InstanceNormalization", [flat, g.weight(ones, plain=True), g.weight(zeros, plain=True)])
    back = g.op("Shape", [x]) if g.chance(0.5) else g.integers(0, *shape[1:])
    y = g.op("Reshape", [normed, back])
    sizes = (channels, *[1] * (len(shape) - 2))
    y = g.op("Mul", [y, g.weight(_normal(g, *sizes))])
    g.op("Add", [y, g.weight(_normal(g, *sizes))])


def pool(g: RandomGraph) -> None:
    """MaxPool, AveragePool or LpPool."""
    _pool(g, g.value(is_image), g.pick(("MaxPool", "MaxPool", "AveragePool", "LpPool")))


def _pool(g: RandomGraph, x: str, operator: str) -> None:
    rank = len(g.shape(x)) - 2
    kernel = [g.number(1, 3) for _ in range(rank)]
    dilate = operator == "MaxPool" and g.opset >= 10
    attributes = {"kernel_shape": kernel, **_window(g, rank, kernel, dilate=dilate)}
    if g.opset >= (18 if operator == "LpPool" else 10) and g.chance(0.3):
        attributes["ceil_mode"] = 1
    if operator == "AveragePool" and g.chance(0.4):
        attributes["count_include_pad"] = g.number(0, 1)
    indices = operator == "MaxPool" and g.opset >= 8 and g.chance(0.1)
    g.op(operator, [x], 2 if indices else 1, **attributes)


def global_pool(g: RandomGraph) -> None:
    """GlobalAveragePool or GlobalMaxPool."""
    g.op(g.pick(("GlobalAveragePool", "GlobalMaxPool")), [g.value(is_image)])


def gemm(g: RandomGraph) -> None:
    """Gemm with factors and transposed weights."""
    x = g.value(lambda x: x.ndim == 2)
    features, outputs = g.shape(x)[1], g.number(1, 9)
    attributes: dict[str, Any] = {"transB": 1} if g.chance(0.5) else {}
    if g.chance(0.3):
        attributes |= {"alpha": float(g.rng.uniform(0.3, 2)), "beta": float(g.rng.uniform(0.3, 2))}
    weight = _normal(g, outputs, features)
    inputs = [x, g.weight(weight if "transB" in attributes else np.ascontiguousarray(weight.T))]
    if g.opset < 11 or g.chance(0.7):
        inputs.append(g.weight(_normal(g, *g.pick(((outputs,), (1, outputs), (1,))))))
    g.op("Gemm", inputs, **attributes)


def matmul(g: RandomGraph) -> None:
    """MatMul by a weight of any rank, or of a value with its own Transpose."""
    x = g.value(lambda x: x.ndim >= 2)
    shape = g.shape(x)
    if len(shape) == 3 and g.chance(0.3):
        g.op("MatMul", [x, g.op("Transpose", [x], perm=[0, 2, 1])])
        return
    outputs = g.number(1, 6)
    y = g.op("MatMul", [x, g.weight(_normal(g, outputs, shape[-1]).T)])
    if g.chance(0.5):
        g.op("Add", [y, g.weight(_normal(g, outputs))])


POSITIONS = "half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"
NEAREST = "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"


def resize(g: RandomGraph) -> None:
    """Resize by scales or to sizes, in a random mode."""
    x = g.value(is_image)
    rank = len(g.shape(x)) - 2
    mode = g.pick(("nearest", "linear", "cubic") if rank == 2 else ("nearest", "linear"))
    factors = [g.pick((0.5, 0.6, 1, 1, 1.2, 1.5, 2, 2, 2.3)) for _ in range(rank)]
    if g.opset < 11:
        operator = "Upsample" if g.opset < 10 else "Resize"
        scales = np.array([1, 1, *map(np.ceil, factors)], np.float32)
        if g.opset < 9:
            g.op(operator, [x], mode="nearest", scales=scales.tolist())
        else:
            g.op(operator, [x, g.initializer(scales)], mode="nearest")
        return
    more = ("half_pixel_symmetric",) if g.opset >= 19 else ("tf_half_pixel_for_nn",) if g.opset < 13 else ()
    attributes: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": g.pick((*POSITIONS, "tf_crop_and_resize", *more, *more)),
    }
    inputs = [x, "" if g.opset >= 13 else g.initializer(np.zeros(0, np.float32))]
    if attributes["coordinate_transformation_mode"] == "tf_crop_and_resize":
        inputs[1] = g.initializer(np.array([0, 0, *[0.1] * rank, 1, 1, *[0.83] * rank], np.float32))
        attributes["extrapolation_value"] = 0.5
    if mode == "nearest" and g.chance(0.7):
        attributes["nearest_mode"] = g.pick(NEAREST)
    if mode == "cubic" and g.chance(0.5):
        attributes |= {"cubic_coeff_a": -0.5, "exclude_outside": g.number(0, 1)}
    if g.opset >= 18 and mode != "nearest" and g.chance(0.2):
        attributes["antialias"] = 1
    if g.opset >= 18 and g.chance(0.3) and len(inputs[1]) == 0:
        attributes["axes"] = [*range(2, rank + 2)]
        sizes = np.array([max(1, int(f * size)) for f, size in zip(factors, g.shape(x)[2:], strict=True)])
        g.op("Resize", [*inputs, "", g.initializer(sizes)], **attributes)
        return
    g.op("Resize", [*inputs, g.initializer(np.array([1, 1, *factors], np.float32))], **attributes)


LAYERS = (
    conv,
    conv,
    conv,
    conv,
    conv_transpose,
    batch_norm,
    instance_norm,
    group_norm,
    pool,
    pool,
    global_pool,
    gemm,
    matmul,
    resize,
)
"""Functions that add a layer; some more often than others."""
