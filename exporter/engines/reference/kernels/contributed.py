"""Operators of onnxruntime's own domain, com.microsoft, of its optimised models; it runs most in float32 only.

Source: onnxruntime's list of contributed operators (ContribOperators in its repository).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from exporter.engines.reference.kernels.convolution import conv
from exporter.engines.reference.kernels.elementwise import gelu
from exporter.engines.reference.kernels.normalization import layer_normalization
from exporter.engines.reference.kernels.types import to_tensor
from exporter.engines.reference.node import Node, UnsupportedError

EPSILON = float(np.float32(1e-12))
"""Default of the skip normalisations."""


def bias_gelu(node: Node, x: Any, bias: Any) -> Any:
    """Gelu of a sum."""
    return gelu(node, x + bias)


def fused_conv(node: Node, x: Any, w: Any, b: Any = None, added: Any = None) -> Any:
    """Convolution, plus a tensor, then an activation."""
    y = to_tensor(conv(node, x, w, b))
    if added is not None:
        y += to_tensor(added)
    return _activate(y, node.attributes.get("activation", ""), node.attributes.get("activation_params") or []).numpy()


def _activate(y: torch.Tensor, name: str, parameters: list[float]) -> torch.Tensor:
    if name == "":
        return y
    if name == "Relu":
        return y.relu_()
    if name == "LeakyRelu":
        return F.leaky_relu(y, parameters[0])
    if name == "Clip":
        return y.clamp_(parameters[0], parameters[1])
    if name == "HardSigmoid":
        return (y * parameters[0] + parameters[1]).clamp_(0, 1)
    functions = {"Sigmoid": torch.sigmoid, "Tanh": torch.tanh}
    if name not in functions:
        raise UnsupportedError(f"activation {name}")
    return functions[name](y)


def skip_layer_normalization(
    node: Node, x: Any, skip: Any, gamma: Any, beta: Any = None, bias: Any = None
) -> tuple[Any, ...]:
    """Layer normalisation of a sum; the sum is the fourth output."""
    total = x + skip if bias is None else x + skip + bias
    epsilon = node.attributes.get("epsilon", EPSILON)
    wide = Node(node.proto, node.opsets, {"epsilon": epsilon})
    y = layer_normalization(wide, total, gamma, beta)
    return _with_sum(node, y[0], total)


def skip_rms_normalization(node: Node, x: Any, skip: Any, gamma: Any, bias: Any = None) -> tuple[Any, ...]:
    """Root mean square normalisation of a sum; the sum is the fourth output."""
    total = x + skip if bias is None else x + skip + bias
    square = np.square(total).mean(axis=-1, keepdims=True)
    return _with_sum(node, total / np.sqrt(square + node.attributes.get("epsilon", EPSILON)) * gamma, total)


def _with_sum(node: Node, y: Any, total: Any) -> tuple[Any, ...]:
    if any(node.proto.output[1:3]):
        raise UnsupportedError("statistics as outputs")
    return (y, None, None, total)[: max(node.outputs, 1)]


def fast_gelu(_node: Node, x: Any, bias: Any = None) -> Any:
    """Gelu by its approximation with a hyperbolic tangent, as the operator is defined."""
    total = x if bias is None else x + bias
    return total * (0.5 + 0.5 * np.tanh(total * (0.035677408136300125 * total * total + math.sqrt(2 / math.pi))))
