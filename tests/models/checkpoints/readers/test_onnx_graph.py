"""A C3D in ONNX whose weights have lost their names: they are taken by the graph, and by no graph but C3D's."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.loaded import load_tensors
from helpers.onnx_chains import CHAIN_STATE as STATE
from helpers.onnx_chains import POOLED, make_chain, save_graph
from helpers.run import call
from onnx import GraphProto, NodeProto, helper
from safetensors.torch import load_file
from torch import nn

from models import build
from models.checkpoints.checkpoint import BY_POSITION
from models.checkpoints.readers import read_file
from models.checkpoints.readers.base import open_mapped
from models.checkpoints.readers.onnx_graph import read_node
from models.options import BuildOptions
from models.protobuf_wire import BYTES, Field

Change = Callable[[GraphProto], object]


@pytest.mark.parametrize(
    ("options", "pool5"),
    [
        ({}, "symmetric"),
        ({"linear": "transB", "pool5": {"ceil_mode": 1}}, "right"),
        ({"linear": "MatMul", "pool5": {"pads": [0, 0, 0, 0, 1, 1]}}, "right"),
        ({"auto_pad": True}, "right"),  # TensorFlow's SAME has more padding at the end
    ],
)
def test_weights_without_names(options: dict[str, Any], pool5: str, tmp_path: Path) -> None:
    built = build(BuildOptions(weights=save_graph(tmp_path / "c3d.onnx", make_chain(**options))))
    found = built.network.state_dict()
    assert found.keys() == STATE.keys()
    assert all(np.array_equal(found[name].numpy(), value) for name, value in STATE.items())
    assert (built.settings["pool5"], built.setting_sources["pool5"]) == (pool5, "file")
    assert built.checkpoint is not None
    assert BY_POSITION in built.checkpoint.notes


def test_inspect_and_convert(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_graph(tmp_path / "c3d.onnx", make_chain())
    done = call("c3d-export", "inspect", "c3d.onnx", cwd=tmp_path, capture=capfd)
    assert f"yes: 22 of 22 tensors, 5 classes; {BY_POSITION}" in done.stdout
    assert "onnx::Conv_0" in done.stdout  # the file's own names
    done = call("c3d-export", "convert", "c3d.onnx", "-o", "c3d.safetensors", cwd=tmp_path, capture=capfd)
    assert BY_POSITION in done.stdout
    found = load_file(tmp_path / "c3d.safetensors")
    assert all(np.array_equal(found[name].numpy(), value) for name, value in STATE.items())


def test_an_artifact_finds_them_again(tmp_path: Path) -> None:
    """By the layout and the selection that its manifest records."""
    path = save_graph(tmp_path / "nameless.onnx", make_chain())
    done = build(BuildOptions(weights=path)).checkpoint
    assert done is not None
    assert done.selection is not None
    again = build(BuildOptions(weights=path, layout=done.layout, selection=done.selection))
    assert all(np.array_equal(again.network.state_dict()[name].numpy(), value) for name, value in STATE.items())


def test_a_network_of_features(tmp_path: Path) -> None:
    """A ReLU after the last layer: it is fc7, whatever its width."""
    graph = make_chain()
    del graph.node[-3:]  # fc7's ReLU and Dropout, and fc8
    kept = save_graph(tmp_path / "linear.onnx", graph)
    assert build(BuildOptions(weights=kept)).settings["num_classes"] == 4  # no ReLU: class scores, of fc8 after fc6
    graph = make_chain()
    del graph.node[-1:]
    found = build(BuildOptions(weights=save_graph(tmp_path / "features.onnx", graph)))
    assert found.network.state_dict().keys() == {name for name in STATE if not name.startswith("fc8")}


class Normalized(nn.Module):
    """A C3D with BatchNorm, from torch's modules alone."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in [name.removesuffix(".weight") for name, value in STATE.items() if value.ndim == 5]:
            size, window = STATE[f"{layer}.weight"].shape, POOLED.get(layer)
            layers += [nn.Conv3d(size[1], size[0], 3, padding=1), nn.BatchNorm3d(size[0]), nn.ReLU()]
            layers += [nn.MaxPool3d(window, padding=(0, 1, 1) if layer == "conv5b" else 0)] if window else []
        linears = [nn.Flatten(), nn.Linear(256, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 5)]
        self.net = nn.Sequential(*layers, *linears)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.load_state_dict(
                    {
                        "running_mean": torch.rand(module.num_features),
                        "running_var": torch.rand(module.num_features) + 0.5,
                    },
                    strict=False,
                )

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.net(clip)


def test_the_older_exporter_folds_batch_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, clip = Normalized().eval(), torch.rand(1, 3, 16, 112, 112)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (clip,), str(tmp_path / "c3d.onnx"), dynamo=False, opset_version=17)
    assert any(name.startswith("onnx::Conv_") for name in load_tensors(tmp_path / "c3d.onnx"))
    built = build(BuildOptions(weights=tmp_path / "c3d.onnx"))
    with torch.no_grad():
        assert torch.allclose(built.network.eval()(clip), network(clip), rtol=1e-4, atol=1e-6)


def test_names_go_before_positions_where_they_say_as_much(tmp_path: Path) -> None:
    known, some = make_chain(linear="transB"), make_chain(linear="transB")
    weights = [tensor for tensor in known.initializer if "Reshape" not in tensor.name]
    other = make_chain()
    names = {tensor.name: name for tensor, name in zip(weights, STATE, strict=True)}
    for graph, taken in ((known, names), (some, dict(list(names.items())[:16])), (other, names)):
        for tensor in graph.initializer:
            if (name := taken.get(tensor.name)) is not None:
                for node in graph.node:
                    node.input[:] = [name if entry == tensor.name else entry for entry in node.input]
                tensor.name = name
    for graph, by_position in ((known, False), (some, True), (other, True)):  # all names; convolutions'; fc6 transposed
        built = build(BuildOptions(weights=save_graph(tmp_path / "c3d.onnx", graph)))
        assert built.checkpoint is not None
        assert (BY_POSITION in built.checkpoint.notes) == by_position
        assert all(np.array_equal(built.network.state_dict()[name].numpy(), value) for name, value in STATE.items())


def test_the_graph_decides_between_layers_of_one_shape(tmp_path: Path) -> None:
    """A network whose forward runs its conv5b before its conv5a."""
    graph = make_chain(linear="transB")
    weights = [tensor.name for tensor in graph.initializer if "Reshape" not in tensor.name]
    other = {"conv5a": "conv5b", "conv5b": "conv5a"}
    parts = [name.split(".") for name in STATE]
    names = {old: f"{other.get(layer, layer)}.{kind}" for old, (layer, kind) in zip(weights, parts, strict=True)}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    built = build(BuildOptions(weights=save_graph(tmp_path / "c3d.onnx", graph)))
    assert all(np.array_equal(built.network.state_dict()[name].numpy(), value) for name, value in STATE.items())


def find(graph: GraphProto, operator: str, number: int = 0) -> NodeProto:
    return [node for node in graph.node if node.op_type == operator][number]


def set_attribute(operator: str, number: int = 0, **attributes: Any) -> Change:
    def change(graph: GraphProto) -> None:
        node = find(graph, operator, number)
        for name, value in attributes.items():
            kept = [entry for entry in node.attribute if entry.name != name]
            node.ClearField("attribute")
            node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def put_before(operator: str, new: str, **attributes: Any) -> Change:
    def change(graph: GraphProto) -> None:
        node = find(graph, operator)
        at = list(graph.node).index(node)
        graph.node.insert(at, helper.make_node(new, [node.input[0]], ["new"], **attributes))
        graph.node[at + 1].input[0] = "new"

    return change


def swap_weights(one: int, other: int) -> Change:
    def change(graph: GraphProto) -> None:
        first, second = (find(graph, "Conv", number) for number in (one, other))
        first.input[1], second.input[1] = second.input[1], first.input[1]

    return change


def put_after(operator: str, new: str, *weights: str, number: int = 0, **attributes: Any) -> Change:
    def change(graph: GraphProto) -> None:
        node = find(graph, operator, number)
        end, node.output[0] = node.output[0], "inside"
        at = list(graph.node).index(node) + 1
        graph.node.insert(at, helper.make_node(new, ["inside", *weights], [end], **attributes))

    return change


def end_with(*operators: str, layers: int = 3, **attributes: Any) -> Change:
    """Put operators at the end, after the first linear layers."""

    def change(graph: GraphProto) -> None:
        last = list(graph.node).index(find(graph, "Gemm", layers - 1))
        del graph.node[last + 1 :]
        value = graph.node[-1].output[0]
        for number, operator in enumerate(operators):
            graph.node.append(helper.make_node(operator, [value], [f"end{number}"], **attributes))
            value = f"end{number}"

    return change


NEAR_MISSES: dict[str, Change] = {
    "a list that is too long": set_attribute("MaxPool", 1, pads=[0] * 200),
    "a pool with gaps": set_attribute("MaxPool", 1, dilations=[1, 2, 2]),
    "a padded pool with ceil_mode": set_attribute("MaxPool", 1, pads=[0, 1, 1, 0, 1, 1], ceil_mode=1),
    "an addition after a Gemm": put_after("Gemm", "Add", "onnx::Gemm_17"),
    "a ReLU after fc8": end_with("Relu"),
    "a softmax of features": end_with("Relu", "Softmax", layers=2),
    "a softmax over the batch": end_with("Softmax", axis=0),
    "a transposition before fc6": put_before("Reshape", "Transpose", perm=[0, 2, 3, 4, 1]),
    "a subtraction before conv1": put_before("Conv", "Neg"),
    "a second reader": lambda graph: graph.node.append(helper.make_node("Neg", ["v2"], ["side"])),
    "another activation": lambda graph: setattr(find(graph, "Relu", 3), "op_type", "LeakyRelu"),
    "another domain": lambda graph: setattr(find(graph, "Relu", 3), "domain", "com.example"),
    "kernels in another order": swap_weights(1, 2),
    "a stride": set_attribute("Conv", 2, strides=[1, 2, 2]),
    "no padding": set_attribute("Conv", 2, pads=[0] * 6),
    "groups": set_attribute("Conv", 2, group=2),
    "dilation": set_attribute("Conv", 2, dilations=[1, 2, 2]),
    "another pool": set_attribute("MaxPool", 0, kernel_shape=[2, 2, 2]),
    "pools that overlap": set_attribute("MaxPool", 1, strides=[1, 1, 1]),
    "a padded pool": set_attribute("MaxPool", 1, pads=[0, 1, 1, 0, 1, 1]),
    "pool5 of neither convention": set_attribute("MaxPool", 4, pads=[0, 1, 1, 0, 0, 0]),
    "a scaled Gemm": set_attribute("Gemm", 1, alpha=0.5),
    "a transposed input": set_attribute("Gemm", 1, transA=1),
    "a bias that is computed": lambda graph: graph.initializer.remove(graph.initializer[1]),
    "too many nodes": lambda graph: graph.node.extend(helper.make_node("Neg", ["z"], [f"z{n}"]) for n in range(500)),
    "a flattening from another axis": lambda graph: (
        find(graph, "Reshape").input.pop(),
        find(graph, "Reshape").attribute.append(helper.make_attribute("axis", 2)),
        setattr(find(graph, "Reshape"), "op_type", "Flatten"),
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_a_graph_that_is_not_c3d(name: str, tmp_path: Path) -> None:
    graph = make_chain()
    NEAR_MISSES[name](graph)
    assert not read_file(save_graph(tmp_path / "c3d.onnx", graph)).by_position


def test_attributes_of_other_names_are_not_kept(tmp_path: Path) -> None:
    """They could take many times the memory of the file."""
    graph = make_chain()
    graph.node.insert(0, helper.make_node("Neg", ["z"], ["z1"], anything=[1] * 60_000, a="b" * 60_000, pads=[1] * 9))
    with open_mapped(save_graph(tmp_path / "c3d.onnx", graph)) as file:
        members = file.wire.members(file.wire.members(Field(0, BYTES, 0, file.size, 0))[7][-1])
        node = read_node(file, members[1][0])
    assert (node.numbers, node.texts) == ({"pads": (1,) * 9}, {})


def test_wrong_shapes_are_refused_as_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graph = make_chain()
    swap_weights(1, 2)(graph)
    save_graph(tmp_path / "c3d.onnx", graph)
    done = call("c3d-export", "convert", "c3d.onnx", "-o", "c3d.safetensors", cwd=tmp_path, capture=capfd)
    assert done.returncode == 3
    assert "its tensors are not those of any known C3D layout" in done.stderr
