"""The result of optimize as JSON."""

import json
from pathlib import Path

from helpers.optimizing import request, saved, unet

from exporter.reports.json_report import dump
from exporter.reports.optimize import optimization_to_dict
from exporter.workflows.optimize import optimize


def test_the_json_report_is_complete(tmp_path: Path) -> None:
    done = optimize(request(saved(unet(), tmp_path / "unet.onnx"), tmp_path / "u.onnx", verify=False))
    actual = json.loads(dump(optimization_to_dict(done)))
    assert actual["path"] == str(tmp_path / "u.onnx")
    assert actual["parity"] is None
    assert actual["decisions"][0]["action"] == "folded"
    assert actual["bytes"]["after"] == done.path.stat().st_size
