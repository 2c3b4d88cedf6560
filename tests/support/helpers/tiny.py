"""A small network of C3D's kind, twice: as an ONNX file made by hand, and as torch calls that a test can bend."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor
from torch.nn import functional as F

from helpers import graphs

CLIP = (3, 4, 14, 14)
SHAPES = {"conv1": (4, 3, 3, 3, 3), "conv2": (4, 4, 3, 3, 3), "fc6": (8, 128), "fc7": (8, 8), "fc8": (5, 8)}


def weights() -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(7)
    shapes = {f"{name}.weight": shape for name, shape in SHAPES.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in SHAPES.items()}
    return {name: generator.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


def save(path: Path, batch: int | str = "batch", data: str | None = None, *, right: bool = False) -> Path:
    """Write the network as an exporter would: `conv1.out`, `conv1.relu.out`, …; `data` keeps weights beside it."""

    def pool(name: str, source: str, kernel: list[int], pads: list[int]) -> onnx.NodeProto:
        return helper.make_node(
            "MaxPool", [source], [f"{name}.out"], name, kernel_shape=kernel, strides=kernel, pads=pads
        )

    def conv(name: str, source: str) -> onnx.NodeProto:
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        return helper.make_node("Conv", inputs, [f"{name}.out"], name, kernel_shape=[3, 3, 3], pads=[1] * 6)

    def linear(name: str, source: str, target: str) -> onnx.NodeProto:
        return helper.make_node("Gemm", [source, f"{name}.weight", f"{name}.bias"], [target], name, transB=1)

    def relu(name: str) -> onnx.NodeProto:
        return helper.make_node("Relu", [f"{name}.out"], [f"{name}.relu.out"], f"{name}.relu")

    nodes = [
        conv("conv1", "clip"),
        relu("conv1"),
        pool("pool1", "conv1.relu.out", [1, 2, 2], [0] * 6),
        conv("conv2", "pool1.out"),
        relu("conv2"),
        pool("pool2", "conv2.relu.out", [2, 2, 2], [0, 1, 1, 0, 1, 1]),
        helper.make_node("Flatten", ["pool2.out"], ["flatten.out"], "flatten"),
        linear("fc6", "flatten.out", "fc6.out"),
        relu("fc6"),
        linear("fc7", "fc6.relu.out", "fc7.out"),
        relu("fc7"),
        linear("fc8", "fc7.relu.out", "logits"),
    ]
    if right:  # pool5's other convention, as torch exports it
        nodes[5].ClearField("attribute")
        steps = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2], "ceil_mode": 1}
        nodes[5].attribute.extend(helper.make_attribute(name, value) for name, value in steps.items())
    return graphs.save(
        path, graphs.graph(nodes, {"clip": (batch, *CLIP)}, {"logits": (batch, 5)}, weights(), opset=21), data
    )


def clips(count: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((count, *CLIP), np.float32)


@dataclass
class Tiny:
    """The network as torch calls in float64; each step can be overridden."""

    state: dict[str, Tensor] = field(
        default_factory=lambda: {name: torch.from_numpy(value).double() for name, value in weights().items()}
    )

    def conv(self, name: str, x: Tensor) -> Tensor:
        return F.conv3d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], padding=1)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def relu(self, name: str, x: Tensor) -> Tensor:
        return torch.relu(x)

    def pool1(self, x: Tensor) -> Tensor:
        return F.max_pool3d(x, (1, 2, 2))

    def pool2(self, x: Tensor) -> Tensor:
        return F.max_pool3d(x, 2, padding=(0, 1, 1))

    def flatten(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def __call__(self, clip: NDArray[np.float32]) -> NDArray[np.float64]:
        x = self.pool1(self.relu("conv1", self.conv("conv1", torch.from_numpy(clip).double())))
        x = self.flatten(self.pool2(self.relu("conv2", self.conv("conv2", x))))
        x = self.relu("fc7", self.linear("fc7", self.relu("fc6", self.linear("fc6", x))))
        return self.linear("fc8", x).numpy()
