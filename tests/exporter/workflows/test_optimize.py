"""optimize: any ONNX file; what passes the check is published, what nothing changes is left alone byte for byte."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal, run_float64, run_onnxruntime
from helpers.optimizing import CUBE, contents, request, saved, unet

from exporter.artifacts.files import read_manifest
from exporter.formats import load_artifact
from exporter.formats.onnx import PASSES_KEY
from exporter.passes import pipelines
from exporter.passes.base import GraphPass
from exporter.passes.decisions import RECORD_KEY
from exporter.types import OptimizeOptions
from exporter.workflows.optimization.files import read_decisions
from exporter.workflows.optimize import OptimizationMismatchError, optimize


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
@pytest.mark.parametrize("opset", [9, 18])
def test_a_network_is_rewritten_verified_and_published(opset: int, external: bool, tmp_path: Path) -> None:
    path = saved(unet(opset=opset), tmp_path / "unet.onnx", external=external)
    before = contents(tmp_path)
    done = optimize(request(path))
    assert done.modified
    assert done.path == tmp_path / "unet.optimized.onnx"
    assert done.report is not None
    assert {(row.batch, row.passed) for row in done.report.comparisons} == {(1, True), (2, True)}
    assert "fold-batch-norm" in done.passes
    assert {name: content for name, content in contents(tmp_path).items() if name in before} == before
    after = onnx.load(done.path)
    assert list(after.graph.input) == list(unet().graph.input)
    assert list(after.graph.output) == list(unet().graph.output)
    assert after.opset_import[0].version == max(opset, 13)
    metadata = {entry.key: entry.value for entry in after.metadata_props}
    assert metadata == {PASSES_KEY: ", ".join(done.passes), RECORD_KEY: done.record}
    assert len(done.files) == (2 if external else 1)
    assert {path.name for path in done.files} | set(before) == set(contents(tmp_path))
    feeds = {"image": normal(3, 2, 8, 8, 8)}
    golden, outputs = run_float64(unet(), feeds, tmp_path)["mask"], run_onnxruntime(after, feeds)["mask"]
    assert np.abs(outputs - golden).max() <= 3e-6 * np.abs(golden).max()


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    path = saved(unet(), tmp_path / "unet.onnx")
    first = optimize(request(path, tmp_path / "a.onnx", verify=False)).path.read_bytes()
    assert optimize(request(path, tmp_path / "b.onnx", verify=False)).path.read_bytes() == first


class Spoils(GraphPass):
    """Changes one weight by a thousandth."""

    name, condition, reason = "spoils", "Always.", "None."

    def rewrite(self, model: ir.Model) -> bool:
        value = model.graph.initializers["w1"]
        value.const_value = ir.tensor(np.asarray(value.const_value) * np.float32(1.001), name="w1")
        return True


def test_a_pass_that_changes_the_function_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(unet(), tmp_path / "unet.onnx")
    before = contents(tmp_path)
    monkeypatch.setattr(pipelines, "build_passes", lambda *_: [Spoils()])
    with pytest.raises(OptimizationMismatchError, match="nothing was written") as caught:
        optimize(request(path, path))
    assert not caught.value.report.passed
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 1  # no staging folder either


def test_free_sizes_are_the_reason_and_shape_the_remedy(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "y", **CUBE)]
    for sizes in (("t", 32, 32), (-1, -1, -1)):
        model = graph(nodes, {"x": (1, 4, *sizes)}, {"y": (1, 8, *sizes)}, {"w": normal(8, 4, 3, 3, 3)})
        done = optimize(request(saved(model, tmp_path / "m.onnx")))
        (reason,) = done.unchanged
        assert (reason.count, reason.operator) == (1, "Conv")
        assert "dynamic" in reason.reason
        assert "--shape" in reason.remedy
        (note,) = done.notes
        assert f"--shape x=1x4x{'x'.join(str(size) if size in (32,) else 'SIZE' for size in sizes)}" in note


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    done = optimize(request(saved(unet(batch=2), tmp_path / "unet.onnx")))
    assert done.report is not None
    assert {row.batch for row in done.report.comparisons} == {2}
    assert list(onnx.load(done.path).graph.input) == list(unet(batch=2).graph.input)


def test_an_optimized_artifact_has_a_manifest_that_records_the_passes(rewritable: Path, tmp_path: Path) -> None:
    wanted = request(rewritable, tmp_path / "half.onnx", OptimizeOptions("cpu", weight_dtype="fp16"), verify=False)
    done = optimize(wanted)
    subject = load_artifact(done.path)  # hashes, and the manifest inside against the one beside
    old = read_manifest(rewritable.with_name("c3d.onnx.json"))
    assert subject.manifest is not None
    assert subject.manifest.signature == old.signature
    assert subject.manifest.network.state_sha256 == old.network.state_sha256
    assert subject.manifest.name == "half"
    assert subject.manifest.options["weight_dtype"] == "fp16"
    assert subject.manifest.options["passes"] == [
        "winograd",
        "conv3d-as-conv2d",
        "cancel-transposes",
        "compress-weights",
    ]
    assert done.bytes_after < 0.51 * done.bytes_before
    assert read_decisions(done.path) == read_decisions(done.path.with_name("half.onnx.json"))
