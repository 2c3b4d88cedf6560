"""A network of the user's own is exported in int8, verified on held-out clips, and verified again from its file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.residual import residual_network

from exporter.passes import autotune
from exporter.requests import ExportRequest
from exporter.types import CalibrationOptions, OptimizeOptions, ParityOptions, PrecisionOptions, Target
from exporter.workflows.export import export
from exporter.workflows.verify import verify_parity


def measure(variants: Mapping[str, onnx.ModelProto], *_: object) -> dict[str, float]:
    return {name: 1.0 if name == "QLinearConv" or "stacked" in name else 2.0 for name in variants}


@pytest.mark.parametrize("target", ["portable", "cpu"])
def test_a_residual_network(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "_measure", measure)
    monkeypatch.setattr(autotune, "autotune_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("exporter.passes.quantize.ranges.BINS", 512)
    clips = np.random.default_rng(0).standard_normal((6, 3, 4, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "clips.npz", volume=clips)
    model = residual_network()
    request = ExportRequest(
        ("onnx",),
        model=model,
        optimize=OptimizeOptions(target=target),
        precision=PrecisionOptions("int8", calibration=CalibrationOptions((tmp_path / "clips.npz",))),
        output_dir=tmp_path,
        name="residual",
    )
    finished: list[str] = []
    done = export(request, finished=finished.append)
    (artifact,), (report,) = done.artifacts, done.reports
    assert report.passed
    # in a log each stage has a line, in this order
    assert finished[0].startswith("calibration clips: ")
    measured = artifact.manifest.options["range_methods"]
    assert isinstance(measured, Sequence)
    assert [line for line in finished if "ranges by" in line] == [
        f"onnx: ranges by {row} on the held-out clips" for row in measured
    ]
    assert ("onnx: no layer raised: " in finished[-2], finished[-1]) == (True, "onnx: written; verifying it")
    assert artifact.manifest.options["precision"] == "int8"
    assert artifact.manifest.parity is not None
    structure = artifact.manifest.parity.structure
    assert structure is not None
    assert (structure.passed, structure.originals) == (True, structure.weights)
    assert structure.weights >= 2
    operators = [node.op_type for node in onnx.load(artifact.path).graph.node]
    assert operators.count("QLinearConv") == (2 if target == "cpu" else 0)
    (again,) = verify_parity([artifact.path], ParityOptions(input_types=("random",), localize=True), model)
    assert again.passed
    assert again.localization is not None
    assert {"conv1", "conv2"} <= {layer.layer for layer in again.localization.layers}
