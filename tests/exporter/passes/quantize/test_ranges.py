"""Ranges of activations on clips, by three methods."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import graph, node, save

from exporter.errors import ArtifactError
from exporter.passes.quantize import ranges
from exporter.passes.quantize.ranges import ENTROPY, MIN_MAX, PERCENTILE, measure_ranges

CLIPS = np.random.default_rng(0).standard_normal((4, 3, 4, 32, 32)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    nodes = [node("Relu", "x", "r"), node("Neg", "r", "n")]
    shape = ("n", 3, 4, 32, 32)
    return save(tmp_path / "m.onnx", graph(nodes, {"x": shape}, {"n": shape}, {}, 17))


def test_the_methods(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PERCENT", 99.0)
    monkeypatch.setattr(ranges, "BINS", 1024)
    printed = io.StringIO()
    with redirect_stdout(printed):
        found = measure_ranges(path, ["x", "r", "n"], CLIPS)
    assert not printed.getvalue()
    relu = np.maximum(CLIPS, 0)
    assert found[MIN_MAX] == {
        "x": pytest.approx((CLIPS.min(), CLIPS.max())),
        "r": pytest.approx((0, relu.max())),
        "n": pytest.approx((-relu.max(), 0)),
    }
    width = 2 * float(np.abs(CLIPS).max()) / 1024
    assert found[PERCENTILE]["x"] == pytest.approx(np.quantile(CLIPS, [0.005, 0.995]), abs=2 * width)
    assert found[PERCENTILE]["r"][1] == pytest.approx(np.quantile(relu, 0.995), abs=2 * width)
    low, high = found[ENTROPY]["r"]
    assert low == 0
    assert np.quantile(relu, 0.9) < high <= relu.max()


def test_a_value_that_is_not_finite_is_an_error(path: Path) -> None:
    clips = CLIPS.copy()
    clips[2, 0, 0, 0, 0] = np.inf
    with pytest.raises(ArtifactError, match="n is not finite on calibration clip 3"):
        measure_ranges(path, ["n"], clips)
