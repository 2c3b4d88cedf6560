"""onnxruntime's sessions print nothing: what is wrong with a model is raised."""

from pathlib import Path

import onnx
import pytest
from helpers import small_models
from helpers.graphs import graph, node

from exporter.engines.ort_sessions import open_cpu_session, quiet_options


def test_a_session_prints_nothing_and_raises(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = small_models.network(tmp_path / "m.onnx")
    session = open_cpu_session(path, quiet_options(threads=1))
    assert session.get_session_options().intra_op_num_threads == 1
    assert session.get_providers() == ["CPUExecutionProvider"]
    (tmp_path / "damaged.onnx").write_bytes(path.read_bytes()[:-40])
    with pytest.raises(Exception, match="damaged.onnx"):
        open_cpu_session(tmp_path / "damaged.onnx")
    assert capfd.readouterr() == ("", "")


def test_the_graph_is_left_as_it_is_without_optimization(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Identity", "a", "b"), node("Relu", "b", "y")]
    onnx.save(graph(nodes, {"x": (3,)}, {"y": (3,)}, {}), tmp_path / "m.onnx")
    counts: list[int] = []
    for optimize in (True, False):
        options = quiet_options(optimize=optimize)
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        open_cpu_session(tmp_path / "m.onnx", options)
        counts.append(len(onnx.load(tmp_path / "optimized.onnx").graph.node))
    assert counts == [2, 3]
