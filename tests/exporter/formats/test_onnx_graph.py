"""Nodes and values of exported graphs have the names of the network's layers."""

from pathlib import Path

import onnx
import torch
from torch import nn

from exporter.requests import ExportRequest
from exporter.workflows.export import ExportResult, export
from models.built_model import BuiltModel
from models.specs import OutputSpec, TensorSpec


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv3d(8, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.norm(self.conv(x)) + x)


class Residual(nn.Module):
    """Batch normalisation, two residual connections, a nested module, and a parameter that is no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.pool = nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.MaxPool3d(2)
        self.layer1 = Block()
        self.layer2 = nn.Sequential(Block(), nn.Conv3d(8, 4, 1))
        self.scale = nn.Parameter(torch.ones(1))
        self.linear = nn.Linear(4, 5)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(self.pool(torch.relu(self.norm(self.stem(video))))))
        return self.linear(x.mean((2, 3, 4)) * self.scale)


def test_c3d(narrow_artifacts: ExportResult) -> None:
    names = [node.name for node in onnx.load(narrow_artifacts.artifacts[0].path).graph.node]
    assert names[:6] == ["conv1", "conv1.relu", "pool1", "conv2", "conv2.relu", "pool2"]
    assert names[-7:] == ["pool5", "pool5.reshape", "fc6", "fc6.relu", "fc7", "fc7.relu", "fc8"]


def test_batch_normalisation_residual_connections_and_nested_modules(tmp_path: Path) -> None:
    model = BuiltModel(
        network=Residual().eval().requires_grad_(False),
        input=TensorSpec("video", "float32", ("batch", 3, 4, 8, 8)),
        outputs=(OutputSpec("scores", (5,)),),
    )
    (artifact,) = export(ExportRequest(("onnx",), model, output_dir=tmp_path, verify=False)).artifacts
    graph = onnx.load(artifact.path).graph
    names = [node.name for node in graph.node]
    assert [name for name, node in zip(names, graph.node, strict=True) if node.op_type in ("Conv", "Gemm")] == [
        "stem",
        "layer1.conv",
        "layer2.0.conv",
        "layer2.1",
        "linear",
    ]
    assert {"pool", "stem.relu", "layer1.conv.add", "layer1.conv.relu", "layer2.0.conv.add"} <= set(names)
    assert len(set(names)) == len(names)
    assert [value for node in graph.node[:-1] for value in node.output] == [f"{name}.out" for name in names[:-1]]
    assert {"stem.weight", "layer2.1.bias", "scale"} <= {tensor.name for tensor in graph.initializer}
