"""Models beyond 2 GiB, which no single protobuf message can hold: memory of about the weights once."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from onnx import TensorProto, helper

LAYERS, WIDTH = 9, 8192
PEAK_FACTOR, CONSTANT_BYTES = 1.25, 600 << 20
"""Peak memory: this many times the weights, and what Python and its libraries take."""

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution that Winograd makes faster, and nine linear layers of 256 MiB each, as external data."""
    path = tmp_path_factory.mktemp("large") / "large.onnx"
    square = normal(WIDTH, WIDTH) / 90
    weights = {
        "w": normal(64, 64, 3, 3, 3) / 40,
        "up": normal(64, WIDTH) / 8,
        **{f"m{i}": square for i in range(LAYERS)},
    }
    tensors: list[TensorProto] = []
    with (path.parent / "large.data").open("wb") as stream:
        for name, values in weights.items():
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape)
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": "large.data", "offset": stream.tell(), "length": values.nbytes}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
            stream.write(np.ascontiguousarray(values).data)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3] * 3, pads=[1] * 6),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "up"], ["h0"]),
    ]
    for i in range(LAYERS):
        nodes.append(helper.make_node("MatMul", [f"h{i}", f"m{i}"], [f"p{i}"]))
        nodes.append(helper.make_node("Relu", [f"p{i}"], [f"h{i + 1}"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64, 16, 28, 28])
    y = helper.make_tensor_value_info(f"h{LAYERS}", TensorProto.FLOAT, ["n", WIDTH])
    graph = helper.make_graph(nodes, "large", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    assert (path.parent / "large.data").stat().st_size > 1 << 31
    return path


@pytest.mark.parametrize(
    "command",
    [
        "c3d-export optimize large.onnx -o fast.onnx --no-measure",
        "c3d-export verify parity large.onnx --against large.onnx --inputs quick",
        "c3d-export bench large.onnx --batch 1 --rounds 2 --load-rounds 1",
    ],
    ids=["optimize", "verify", "bench"],
)
@pytest.mark.timeout(1800)
def test_the_peak_of_memory_is_about_the_weights_once(command: str, large: Path) -> None:
    code, peak = run_and_measure(command.split(), large.parent)
    assert code == 0
    weights = (large.parent / "large.data").stat().st_size
    assert peak <= PEAK_FACTOR * weights + CONSTANT_BYTES


def run_and_measure(command: list[str], folder: Path) -> tuple[int, int]:
    """Run a command; return its exit code, and the peak of its resident memory and its children's in bytes."""
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvp(command[0], command)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
