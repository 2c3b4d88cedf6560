"""Activations in torch: all cores, and no copies of the input beside the output."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from exporter.engines.reference.kernels.types import to_tensor
from exporter.engines.reference.node import Node

LEAKY_SLOPE = float(np.float32(0.01))


def relu(node: Node, x: Any) -> Any:
    """NodeValues, or 0 where they are negative."""
    del node
    return torch.relu(to_tensor(x)).numpy()


def leaky_relu(node: Node, x: Any) -> Any:
    """NodeValues times a slope where they are negative."""
    return F.leaky_relu(to_tensor(x), node.attributes.get("alpha", LEAKY_SLOPE)).numpy()


def parametric_relu(node: Node, x: Any, slope: Any) -> Any:
    """NodeValues times a slope, which is broadcast to them, where they are negative."""
    del node
    values = to_tensor(x)
    return torch.where(values < 0, values * to_tensor(slope), values).numpy()


def sigmoid(node: Node, x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    del node
    return torch.sigmoid(to_tensor(x)).numpy()


def erf(node: Node, x: Any) -> Any:
    """Error function."""
    del node
    return torch.erf(to_tensor(x)).numpy()


def gelu(node: Node, x: Any) -> Any:
    """Gaussian error linear unit."""
    return F.gelu(to_tensor(x), approximate=node.attributes.get("approximate", "none")).numpy()
