"""Which artifacts are measured, and which one is the plain graph."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.graphs import graph, node, normal, positive, save
from helpers.manifests import MANIFEST
from helpers.small_models import convolution, network

from exporter.artifacts.loading import LoadedArtifact
from exporter.bench.plan import is_plain, make_plan
from exporter.bench.types import BenchRequest, Skipped
from exporter.errors import ArtifactError
from exporter.requests import OptimizeRequest
from exporter.workflows.optimize import optimize
from models.progress import no_progress


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({"target": "portable", "opset": 28, "external_data": False}, True),
        ({"target": "cpu", "opset": 28, "external_data": False}, False),
        ({"target": "portable", "weights_as": "int8"}, False),
    ],
)
def test_a_graph_is_plain_where_no_option_says_that_it_was_rewritten(options: dict[str, Any], plain: bool) -> None:
    described = replace(MANIFEST, options=options)
    assert is_plain(LoadedArtifact(Path("c3d.onnx"), "onnx", described, ())) is plain
    assert not is_plain(LoadedArtifact(Path("c3d.pt"), "torchscript", described, ()))


def test_a_model_without_a_manifest_is_plain_unless_optimize_changed_it(tmp_path: Path) -> None:
    weights = {"s": positive(3), "b": normal(3), "m": normal(3, seed=1), "v": positive(3, seed=1)}
    conv = [node("Conv", "x w", "x1", pads=[1] * 6), node("BatchNormalization", "x1 s b m v", "y")]
    shapes = {"x": ("n", 3, 4, 8, 8)}, {"y": ("n", 3, 4, 8, 8)}
    path = save(tmp_path / "m.onnx", graph(conv, *shapes, {**weights, "w": normal(3, 3, 3, 3, 3)}))
    assert is_plain(LoadedArtifact(path, "onnx", None, ()))
    optimize(OptimizeRequest(path, tmp_path / "fast.onnx", measure=False))
    assert not is_plain(LoadedArtifact(tmp_path / "fast.onnx", "onnx", None, ()))


def test_artifacts_that_are_refused_are_listed_and_the_others_planned(tmp_path: Path) -> None:
    absent, other, whole = tmp_path / "absent.onnx", network(tmp_path / "other.onnx"), convolution(tmp_path / "m.onnx")
    request = BenchRequest((absent, whole, other), keep_going=True)
    with make_plan(request, no_progress) as plan:
        assert [target.path for target in plan.targets] == [whole]
        missing, different = plan.missing
    assert missing == Skipped("absent.onnx", f"no such file: {absent}", added=False, exit_code=3)
    assert (different.target, different.exit_code) == ("other.onnx", 3)
    assert different.reason.startswith("takes other inputs than the first artifact")
    with (
        pytest.raises(ArtifactError, match="no such file"),
        make_plan(replace(request, keep_going=False), no_progress),
    ):
        pass
    with (
        pytest.raises(ArtifactError, match=r"absent\.onnx; no such file: .*gone\.onnx"),
        make_plan(replace(request, artifacts=(absent, tmp_path / "gone.onnx")), no_progress),
    ):
        pass
