"""The parity check detects every fault of the table in a narrow C3D, and in a network that is no C3D."""

from pathlib import Path

import pytest
import torch
from helpers import small_models
from helpers.run import python
from onnx import TensorProto

from exporter.errors import UsageError
from exporter.fault_injection.results import SelfTestOptions
from exporter.workflows.export import ExportResult
from exporter.workflows.self_test import self_test


def test_one_fault_of_each_type_is_detected_in_a_narrow_network(
    narrow_artifacts: ExportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.fault_injection.samples.run_samples", lambda *_: ())  # they have tests of their own
    report = self_test(narrow_artifacts.artifacts[0].path, SelfTestOptions(quick=True))
    assert report.passed
    assert len(report.faults) == report.fault_types > 100
    assert not report.of("invalid")
    assert len(report.of("detected")) >= 95
    assert report.clean.runs == 6


def test_other_formats_are_refused(narrow_artifacts: ExportResult) -> None:
    with pytest.raises(UsageError, match="not into torchscript files"):
        self_test(narrow_artifacts.artifacts[1].path)


def test_lower_precision_is_refused_before_anything_runs(tmp_path: Path) -> None:
    half = small_models.narrowed(small_models.network(tmp_path / "m.onnx"), tmp_path / "h.onnx", TensorProto.FLOAT16)
    with pytest.raises(UsageError, match="this file is float16.*--precision fp32"):
        self_test(half)


@pytest.mark.parametrize("name", ["h.onnx", "w.pt", "t.txt"])
def test_what_is_refused_is_refused_without_torch(name: str, tmp_path: Path) -> None:
    small_models.narrowed(small_models.network(tmp_path / "m.onnx"), tmp_path / "h.onnx", TensorProto.FLOAT16)
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pt")
    (tmp_path / "t.txt").write_text("no network")
    code = """
import sys, exporter
try:
    exporter.self_test(sys.argv[1])
except (exporter.ArtifactError, exporter.UsageError):
    sys.exit("torch" in sys.modules)
sys.exit("not refused")
"""
    done = python(code, name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
