"""A network that `optimize` rewrites, one that it does not, and their files."""

from functools import partial
from pathlib import Path

import onnx

from exporter.requests import OptimizeRequest
from helpers.graphs import graph, node, normal, positive

request = partial(OptimizeRequest, measure=False)
"""A request whose result does not depend on how fast this machine is."""
CUBE = {"kernel_shape": [3] * 3, "pads": [1] * 6}


def unet(size: int | str = 8, batch: int | str = "n", opset: int = 18) -> onnx.ModelProto:
    """A 3-D U-Net of one level: convolution and norm, down, convolution, up, skip, head."""
    held = {
        "w1": normal(8, 2, 3, 3, 3),
        "w2": normal(8, 8, 3, 3, 3),
        "up": normal(8, 8, 2, 2, 2),
        "w3": normal(3, 16, 1, 1, 1),
        "gamma": normal(8),
        "beta": normal(8, seed=1),
        "mean": normal(8, seed=2),
        "var": positive(8),
    }
    norm = "gamma beta mean var"
    nodes = [
        node("Conv", "image w1", "a", **CUBE),
        node("BatchNormalization", f"a {norm}", "b"),
        node("Relu", "b", "c"),
        node("MaxPool", "c", "d", kernel_shape=[2] * 3, strides=[2] * 3),
        node("Conv", "d w2", "e", **CUBE),
        node("BatchNormalization", f"e {norm}", "f"),
        node("Relu", "f", "g"),
        node("ConvTranspose", "g up", "h", kernel_shape=[2] * 3, strides=[2] * 3),
        node("Concat", "h c", "i", axis=1),
        node("Conv", "i w3", "mask", kernel_shape=[1] * 3),
    ]
    ports = {"image": (batch, 2, size, size, size)}, {"mask": (batch, 3, size, size, size)}
    return graph(nodes, *ports, held, opset)


def saved(model: onnx.ModelProto, path: Path, *, external: bool = False) -> Path:
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.bin", size_threshold=64)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
