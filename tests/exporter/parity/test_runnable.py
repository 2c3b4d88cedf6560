"""ONNX files that no engine can run are refused by `optimize` as by `verify parity`, before anything is written."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal
from helpers.optimizing import request, saved
from helpers.parity import FEW

from exporter.errors import ArtifactError, BadInputError, CheckFailedError, UsageError
from exporter.formats import load_artifact
from exporter.parity.runnable import require_runnable
from exporter.types import InputOptions, ParityOptions, ValueRange
from exporter.workflows.optimize import optimize
from exporter.workflows.verify import verify_parity


def conv(
    *more: onnx.NodeProto, held: dict[str, Any] | None = None, sizes: Any = (8, 8, 8), **attributes: Any
) -> onnx.ModelProto:
    attributes = {"kernel_shape": [3] * 3, "pads": [1] * 6, **attributes}
    return graph(
        [node("Conv", "x w", "c", **attributes), *(more or [node("Relu", "c", "y")])],
        {"x": ("n", 3, *sizes)},
        {"y": ("n", *"abcd")},
        {"w": normal(4, 3, 3, 3, 3), **(held or {})},
    )


def with_opset(version: int, domain: str = "", operator: str = "Relu") -> onnx.ModelProto:
    model = conv(node(operator, "c", "y", domain=domain))
    model.opset_import[0].version = version
    return model


REFUSED = {
    "opset 999": (with_opset(999), "opset 999 is newer"),
    "unknown domain": (with_opset(17, "com.example"), "com.example"),
    "unknown operator": (conv(node("NoSuchOperator", "c", "y")), "y.node"),
    "newer operator": (with_opset(17, operator="Gelu"), "Gelu"),  # of opset 20
    "stride 0": (conv(strides=[0, 1, 1]), "c.node"),
    "dilation -1": (conv(dilations=[-1, 1, 1]), "c.node"),
    "pads of another rank": (conv(pads=[1] * 3), "c.node"),
    "kernel unlike the weight": (conv(kernel_shape=[5] * 3), "c.node"),
    "group 0": (conv(group=0), "c.node"),
    "group of too many channels": (conv(group=2), "c.node"),
    "window larger than its input": (conv(node("MaxPool", "c", "y", kernel_shape=[99] * 3)), "y.node"),
    "impossible reshape": (conv(node("Reshape", "c s", "y"), held={"s": np.array([7, 11, 13])}), "y.node"),
    "cycle": (conv(node("Add", "c b", "a"), node("Relu", "a", "b"), node("Relu", "a", "y")), "acyclic"),
    "missing input": (conv(node("Add", "c nowhere", "y")), "nowhere"),
    "value made twice": (conv(node("Relu", "c", "a"), node("Tanh", "c", "a"), node("Relu", "a", "y")), "a"),
    "hostile names": (conv(node("No\x1b[31m", "c", "y")), r"No\x1b[31m"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_engine_can_run_is_refused(case: str, tmp_path: Path) -> None:
    model, named = REFUSED[case]
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    before = path.read_bytes()
    for verified in (True, False):
        with pytest.raises(ArtifactError) as refused:
            optimize(request(path, tmp_path / "out" / "new.onnx", verify=verified))
        assert str(refused.value).startswith(f"{path}: ")
        assert str(named) in str(refused.value)
    with pytest.raises(ArtifactError, match=str(path)):
        verify_parity([path], ParityOptions(against=path, input_types=FEW))
    assert list(tmp_path.rglob("*")) == [path]
    assert path.read_bytes() == before


def test_sizes_and_values_that_only_the_user_knows_refuse_nothing(tmp_path: Path) -> None:
    free = saved(conv(node("MaxPool", "c", "y", kernel_shape=[99] * 3), sizes=("d", "h", "w")), tmp_path / "free.onnx")
    require_runnable(load_artifact(free))
    with pytest.raises(CheckFailedError):
        verify_parity([free], ParityOptions(against=free, inputs=InputOptions({"x": (1, 3, 8, 8, 8)})))


def test_a_file_that_runs_is_copied_where_nothing_is_rewritten(tmp_path: Path) -> None:
    path = saved(graph([node("Relu", "x", "y")], {"x": (2, 3)}, {"y": (2, 3)}, {}), tmp_path / "m.onnx")
    done = optimize(request(path, tmp_path / "new.onnx", verify=False))
    assert done.path.read_bytes() == path.read_bytes()


def test_a_wrong_feed_is_refused_where_nothing_is_rewritten(tmp_path: Path) -> None:
    path = saved(graph([node("Relu", "x", "y")], {"x": (2, 3)}, {"y": (2, 3)}, {}), tmp_path / "m.onnx")
    np.save(tmp_path / "far.npy", np.full((2, 3), 1e39))
    for feeds, error in (({"z": ValueRange(0, 1)}, UsageError), ({"x": tmp_path / "far.npy"}, BadInputError)):
        with pytest.raises(error):
            optimize(request(path, tmp_path / "new.onnx", inputs=InputOptions(feeds=feeds)))
    assert not (tmp_path / "new.onnx").exists()
