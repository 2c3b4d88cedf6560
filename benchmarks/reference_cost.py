"""What `verify parity X --against X` takes for 3-D U-Nets, beside the estimate that it states before it starts."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from measure import BIN, machine
from onnx import TensorProto, helper, numpy_helper

FEATURES = (32, 32, 64, 128, 256)
"""MONAI's BasicUNet: channels by level; the last level up has 32 again."""
SIZES = (64, 96, 128)
TIMEOUT_S = 3600


@dataclass
class Graph:
    """Nodes and weights of a network under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    weights: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(
        self, operator: str, inputs: Sequence[str], shapes: Sequence[tuple[int, ...]] = (), **attributes: Any
    ) -> str:
        """Add a node whose last inputs are new weights of these shapes, and return its output."""
        names = [f"w{len(self.weights) + number}" for number in range(len(shapes))]
        for name, shape in zip(names, shapes, strict=True):
            fan_in = int(np.prod(shape[1:])) or 1
            values = self.random.standard_normal(shape).astype(np.float32) * np.float32(fan_in**-0.5)
            self.weights.append(numpy_helper.from_array(values, name))
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs, *names], [output], **attributes))
        return output

    def two_convolutions(self, x: str, channels_in: int, channels: int) -> str:
        """Twice convolution, instance normalisation and leaky ReLU."""
        for size in (channels_in, channels):
            x = self.add("Conv", [x], [(channels, size, 3, 3, 3), (channels,)], kernel_shape=[3] * 3, pads=[1] * 6)
            x = self.add("InstanceNormalization", [x], [(channels,), (channels,)])
            x = self.add("LeakyRelu", [x], alpha=0.1)
        return x


def write_unet(path: Path, size: int) -> None:
    """Write a BasicUNet of one input channel and two classes, for volumes of one size."""
    graph = Graph()
    x, skips, before = "image", list[tuple[str, int]](), 1
    for level, channels in enumerate(FEATURES):
        if level:
            x = graph.add("MaxPool", [x], kernel_shape=[2] * 3, strides=[2] * 3)
        x = graph.two_convolutions(x, before, channels)
        skips.append((x, channels))
        before = channels
    skips.pop()
    for skip, channels in reversed(skips):
        half = before // 2 if before != channels else before
        x = graph.add("ConvTranspose", [x], [(before, half, 2, 2, 2), (half,)], kernel_shape=[2] * 3, strides=[2] * 3)
        x = graph.add("Concat", [skip, x], axis=1)
        x = graph.two_convolutions(x, channels + half, channels)
        before = channels
    x = graph.add("Conv", [x], [(2, before, 1, 1, 1), (2,)], kernel_shape=[1] * 3)
    shape = [1, 1, size, size, size]
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *shape[2:]])]
        for name, channels in (("image", 1), (x, 2))
    ]
    made = helper.make_graph(graph.nodes, "unet", ports[0], ports[1], graph.weights)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def verify(model: Path, inputs: str) -> tuple[float, float, str]:
    """Verify a file against itself; return seconds, peak memory in GB, and the estimate in the report.

    Raises:
        SystemExit: it did not pass.
    """
    command = [BIN / "verify", "parity", model, "--against", model, "--inputs", inputs, "--json"]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        reports = json.load(output)
    if process.returncode != 0:
        raise SystemExit(f"failed: {reports}")
    notes = re.findall(r"estimated before it started: ([^\"]*?)\"", json.dumps(reports))
    return seconds, usage.ru_maxrss * 1024 / 1e9, notes[0] if notes else "not stated (small)"


def main() -> None:
    """Measure each size, and print."""
    print(machine())
    sizes = tuple(int(size) for size in sys.argv[1:]) or SIZES
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            model = Path(folder) / f"unet{size}.onnx"
            write_unet(model, size)
            seconds, gigabytes, estimate = verify(model, "random")
            print(
                f"1x1x{size}x{size}x{size}: {seconds:.0f} s, peak {gigabytes:.2f} GB; estimated {estimate}", flush=True
            )


if __name__ == "__main__":
    main()
