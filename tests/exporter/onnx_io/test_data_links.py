"""External data in places that are not the model's own folder: refused alike by every command."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.run import call
from onnx import helper, numpy_helper


def save(folder: Path) -> Path:
    weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    shape = ["batch", 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 8, 6, 6])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    return path


def hard_link(path: Path) -> None:
    path.with_name("other").hardlink_to(path.with_name("m.data"))


def symbolic_link(path: Path) -> None:
    path.with_name("m.data").rename(path.with_name("other"))
    path.with_name("m.data").symlink_to("other")


def refer_to(path: Path, location: str) -> None:
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())


PLACES = {
    "hard link": hard_link,
    "symbolic link": symbolic_link,
    "parent": lambda path: refer_to(path, "../m.data"),
    "absolute": lambda path: refer_to(path, "/etc/passwd"),
    "proc": lambda path: refer_to(path, "/proc/self/mem"),
}
COMMANDS = (
    ("c3d-export", "inspect"),
    ("verify", "parity", "--against", "m.onnx"),
    ("c3d-export", "optimize"),
    ("c3d-export", "bench"),
    ("c3d-export", "predict", "v.mp4"),
)


@pytest.mark.parametrize("place", PLACES)
def test_every_command_says_the_same(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path)
    PLACES[place](path)
    (tmp_path / "v.mp4").touch()
    said: set[str] = set()
    for command, verb, *more in COMMANDS:
        done = call(command, verb, "m.onnx", *more, cwd=tmp_path, capture=capsys)
        assert done.returncode == 3, verb
        said.add(done.stderr)
    (line,) = said
    assert ("has hard links" if place == "hard link" else "not a file of its own folder") in line
