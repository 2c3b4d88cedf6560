"""What is kept of a run holds no memory of the engine that returned it; text of floating-point numbers becomes numbers."""

from pathlib import Path

import numpy as np
import pytest
from helpers import small_models
from helpers.graphs import node, normal
from onnx import TensorProto, helper

from exporter.parity.feeds import as_rows
from exporter.results import ParityReport
from exporter.types import ParityOptions
from exporter.workflows.verify import verify_parity


def test_kept_outputs_are_copies() -> None:
    memory = np.zeros((4, 3), np.float32)
    for batched, shape in ((True, (2, 3)), (False, (1, 2, 3))):
        kept = as_rows({"y": memory[:2]}, batched=batched)["y"]
        assert kept.shape == shape
        assert not np.shares_memory(kept, memory)
    assert as_rows({"y": np.array(1.0)}, batched=True)["y"].shape == (1,)


def printer(path: Path, weight: np.ndarray) -> Path:
    """Write a network that returns a product as text."""
    nodes = [node("MatMul", "x w", "p"), node("Cast", "p", "t", to=TensorProto.STRING), node("Unsqueeze", "t one", "y")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.STRING, ["n", 1, 4])]
    return small_models.save(path, nodes, inputs, outputs, {"w": weight, "one": np.array([1])}, opset=20)


def check(mine: Path, theirs: Path) -> ParityReport:
    (report,) = verify_parity([mine], ParityOptions(against=theirs))
    return report


def test_text_of_floats_equals_itself_up_to_the_rounding_of_float32(tmp_path: Path) -> None:
    path = printer(tmp_path / "m.onnx", normal(6, 4))
    report = check(path, path)
    assert report.passed
    assert {row.equal for row in report.comparisons} == {None}
    assert any("compared as numbers" in note for note in report.notes)


@pytest.mark.parametrize("change", [-1.0, 1.001])
def test_text_of_other_floats_fails(change: float, tmp_path: Path) -> None:
    mine = printer(tmp_path / "a.onnx", normal(6, 4) * np.float32(change))
    assert not check(mine, printer(tmp_path / "b.onnx", normal(6, 4))).passed
