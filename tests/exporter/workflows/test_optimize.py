"""optimize: any ONNX file; what passes the check is published, what nothing changes is left alone byte for byte."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import ExportedByCommand
from helpers.graphs import graph, node, normal, positive, run_float64, run_onnxruntime
from helpers.run import run

from exporter.artifacts.manifest import read_manifest
from exporter.errors import ArtifactError, IntegrityError, UsageError
from exporter.formats import load_artifact
from exporter.formats.onnx import PASSES_KEY
from exporter.passes import pipelines
from exporter.passes.base import GraphPass
from exporter.passes.record import RECORD_KEY
from exporter.reports.json_report import dump
from exporter.reports.optimize import optimization_to_dict
from exporter.types import InputOptions, OptimizeOptions, OptimizeRequest
from exporter.workflows.optimization.decisions_file import read_decisions
from exporter.workflows.optimize import OptimizationMismatchError, optimize

request = partial(OptimizeRequest, measure=False)
"""A request whose result does not depend on how fast this machine is."""
CUBE = {"kernel_shape": [3] * 3, "pads": [1] * 6}


def unet(size: int | str = 8, batch: int | str = "n", opset: int = 18) -> onnx.ModelProto:
    """A 3-D U-Net of one level: convolution and norm, down, convolution, up, skip, head."""
    held = {
        "w1": normal(8, 2, 3, 3, 3),
        "w2": normal(8, 8, 3, 3, 3),
        "up": normal(8, 8, 2, 2, 2),
        "w3": normal(3, 16, 1, 1, 1),
        "gamma": normal(8),
        "beta": normal(8, seed=1),
        "mean": normal(8, seed=2),
        "var": positive(8),
    }
    norm = "gamma beta mean var"
    nodes = [
        node("Conv", "image w1", "a", **CUBE),
        node("BatchNormalization", f"a {norm}", "b"),
        node("Relu", "b", "c"),
        node("MaxPool", "c", "d", kernel_shape=[2] * 3, strides=[2] * 3),
        node("Conv", "d w2", "e", **CUBE),
        node("BatchNormalization", f"e {norm}", "f"),
        node("Relu", "f", "g"),
        node("ConvTranspose", "g up", "h", kernel_shape=[2] * 3, strides=[2] * 3),
        node("Concat", "h c", "i", axis=1),
        node("Conv", "i w3", "mask", kernel_shape=[1] * 3),
    ]
    ports = {"image": (batch, 2, size, size, size)}, {"mask": (batch, 3, size, size, size)}
    return graph(nodes, *ports, held, opset)


def ineligible() -> onnx.ModelProto:
    return graph([node("Relu", "x", "y")], {"x": ("n", 6)}, {"y": ("n", 6)}, {})


def saved(model: onnx.ModelProto, path: Path, *, external: bool = False) -> Path:
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.bin", size_threshold=64)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


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


def test_a_model_that_no_pass_changes_is_not_written(tmp_path: Path) -> None:
    path = saved(ineligible(), tmp_path / "m.onnx")
    before, when = contents(tmp_path), path.stat().st_mtime_ns
    done = optimize(request(path))
    assert (done.modified, done.path, done.files) == (False, path, ())
    assert (contents(tmp_path), path.stat().st_mtime_ns) == (before, when)


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_an_ineligible_model_is_copied_where_asked(external: bool, tmp_path: Path) -> None:
    model = graph([node("Gemm", "x w", "y")], {"x": ("n", 64)}, {"y": ("n", 8)}, {"w": normal(64, 8)})
    path = saved(model, tmp_path / "m.onnx", external=external)
    done = optimize(request(path, tmp_path / "copy" / "c.onnx"))
    copied = contents(tmp_path / "copy")
    assert copied.pop("c.onnx") == path.read_bytes()
    assert copied == ({"m.onnx.bin": (tmp_path / "m.onnx.bin").read_bytes()} if external else {})
    assert done.files[0] == done.path == tmp_path / "copy" / "c.onnx"


def test_a_copy_does_not_overwrite_another_models_data_file(tmp_path: Path) -> None:
    model = graph([node("Gemm", "x w", "y")], {"x": ("n", 64)}, {"y": ("n", 8)}, {"w": normal(64, 8)})
    path = saved(model, tmp_path / "m.onnx", external=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "m.onnx.bin").write_bytes(b"theirs")
    with pytest.raises(UsageError, match="is another file"):
        optimize(request(path, tmp_path / "other" / "c.onnx"))
    assert contents(tmp_path / "other") == {"m.onnx.bin": b"theirs"}


def test_the_same_path_is_replaced(tmp_path: Path) -> None:
    path = saved(unet(), tmp_path / "unet.onnx")
    old = path.read_bytes()
    done = optimize(request(path, path))
    assert done.path == path
    assert path.read_bytes() != old
    assert list(contents(tmp_path)) == ["unet.onnx"]
    assert not optimize(request(path)).modified


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_a_file_under_several_names_is_read_and_its_data_file_is_not(external: bool, tmp_path: Path) -> None:
    path = saved(unet(), tmp_path / "unet.onnx", external=external)
    (tmp_path / "linked.onnx").hardlink_to(path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link.onnx").symlink_to(path)
    if not external:
        assert optimize(request(tmp_path / "linked.onnx")).modified
        assert optimize(request(tmp_path / "other" / "link.onnx")).modified
        return
    (tmp_path / "stolen.bin").hardlink_to(tmp_path / "unet.onnx.bin")
    with pytest.raises(ArtifactError, match=r"data file unet.onnx.bin has hard links"):
        optimize(request(path))


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


def test_named_sizes_are_fixed_in_the_result_and_the_batch_stays_free(tmp_path: Path) -> None:
    path = saved(unet(size="s"), tmp_path / "unet.onnx")
    done = optimize(request(path, inputs=InputOptions({"image": (1, 2, 8, 8, 8)})))
    assert done.report is not None
    assert done.report.passed
    after = onnx.load(done.path).graph
    assert list(after.input) == list(unet(size=8).graph.input)
    assert list(after.output) == list(unet(size=8).graph.output)


def test_sizes_that_the_model_contradicts_are_refused(tmp_path: Path) -> None:
    path = saved(unet(size="s"), tmp_path / "unet.onnx")
    for shape, message in (((1, 3, 8, 8, 8), "axis 1 is 2"), ((1, 2, 8), "5 axes"), ((1, 2, 8, 4, 8), "both 's'")):
        with pytest.raises(UsageError, match=message):
            optimize(request(path, inputs=InputOptions({"image": shape})))


def test_sizes_that_the_model_cannot_have_are_refused(tmp_path: Path) -> None:
    nodes = [node("MaxPool", "x", "a", kernel_shape=[2], strides=[2]), node("Add", "a w", "y")]
    model = graph(nodes, {"x": [1, 1, "s"]}, {"y": [1, 1, "t"]}, {"w": np.ones((1, 1, 4), np.float32)})
    path = saved(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="does not take the sizes of --shape: .*Incompatible dimensions"):
        optimize(request(path, inputs=InputOptions({"x": (1, 1, 6)})))


class BreaksOpset(GraphPass):
    """Leaves a node that no opset has."""

    name, condition, reason = "breaks-opset", "Always.", "None."

    def rewrite(self, model: ir.Model) -> bool:
        model.graph[0].op_type = "NoSuchOperator"
        return True


class Unopened(GraphPass):
    """Leaves a model that is valid and that onnxruntime does not open: it has no kernel for this operator."""

    name, condition, reason = "unopened", "Always.", "None."

    def rewrite(self, model: ir.Model) -> bool:
        relu = next(node for node in model.graph if node.op_type == "Relu")
        relu.domain = "nowhere"
        model.graph.opset_imports["nowhere"] = 1
        return True


@pytest.mark.parametrize("broken", [BreaksOpset(), Unopened()], ids=lambda step: step.name)
def test_a_pass_that_breaks_the_model_is_undone_and_the_others_count(
    broken: GraphPass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(unet(), tmp_path / "unet.onnx")
    expected = optimize(request(path, tmp_path / "a.onnx")).path.read_bytes()
    passes = pipelines.build_passes(OptimizeOptions("cpu"))
    monkeypatch.setattr(pipelines, "build_passes", lambda *_: [*passes[:2], broken, *passes[2:]])
    done = optimize(request(path, tmp_path / "b.onnx"))
    assert done.path.read_bytes() == expected
    (undone,) = [reason for reason in done.unchanged if reason.undone]
    assert undone.example == broken.name
    assert ".c3d-export-" not in undone.reason


def test_no_message_names_the_staging_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exporter.workflows.optimization import rewriter

    path = saved(unet(), tmp_path / "unet.onnx")
    monkeypatch.setattr(rewriter.Rewriter, "_opening_fault", lambda *_: None)
    monkeypatch.setattr(pipelines, "build_passes", lambda *_: [Unopened()])
    with pytest.raises(ArtifactError, match=r"out/new\.onnx: onnxruntime rejects it") as caught:
        optimize(request(path, tmp_path / "out" / "new.onnx"))
    assert ".c3d-export-" not in str(caught.value)


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


def test_float16_weights_are_left_and_the_rest_is_rewritten(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a", **CUBE),
        node("BatchNormalization", "a gamma beta mean var", "b"),
        node("Cast", "s", "f", to=onnx.TensorProto.FLOAT),
        node("Mul", "b f", "c"),
        node("Cast", "c", "h", to=onnx.TensorProto.FLOAT16),
        node("Conv", "h v", "k", **CUBE),
        node("Cast", "k", "y", to=onnx.TensorProto.FLOAT),
    ]
    held = {
        "w": normal(8, 2, 3, 3, 3),
        "v": normal(4, 8, 3, 3, 3).astype(np.float16),
        "s": np.full((1, 8, 1, 1, 1), 0.5, np.float16),
        **{name: positive(8, seed=seed) for seed, name in enumerate(("gamma", "beta", "mean", "var"))},
    }
    model = graph(nodes, {"x": ("n", 2, 4, 6, 6)}, {"y": ("n", 4, 4, 6, 6)}, held)
    done = optimize(request(saved(model, tmp_path / "m.onnx")))
    assert "fold-batch-norm" in done.passes
    assert "its weights are float16, not float32" in [reason.reason for reason in done.unchanged]


def test_weights_of_ir_version_3_are_constants_and_the_summary_says_so(tmp_path: Path) -> None:
    model = unet(opset=11)
    model.ir_version = 3
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    path = saved(model, tmp_path / "m.onnx")
    done = optimize(request(path))
    assert done.report is not None
    assert done.report.passed
    assert {"constant-initializers", "fold-batch-norm"} <= {*done.passes}
    assert [value.name for value in onnx.load(done.path).graph.input] == ["image"]
    model.ir_version = 8  # from 4 on, an input with a default value is meant to be replaced
    done = optimize(request(saved(model, path)))
    assert not done.modified
    assert any("the caller may replace" in reason.reason and reason.remedy for reason in done.unchanged)


def broken(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are none, or not whole."""
    whole = saved(unet(), folder / "whole.onnx").read_bytes()
    for name, content in (("empty", b""), ("text", b"hello\n"), ("cut", whole[:5000])):
        (folder / f"{name}.onnx").write_bytes(content)
    saved(unet(), folder / "data.onnx", external=True)
    (folder / "data.onnx.bin").write_bytes(b"short")
    saved(unet(), folder / "lost.onnx", external=True)
    (folder / "lost.onnx.bin").unlink()
    wrong = unet()
    wrong.graph.node[0].input[0] = "undefined"
    onnx.save(wrong, folder / "wrong.onnx")
    sparse = unet()
    values = onnx.helper.make_tensor("sp", onnx.TensorProto.FLOAT, [1], [1.0])
    places = onnx.helper.make_tensor("spi", onnx.TensorProto.INT64, [1], [0])
    sparse.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [4]))
    onnx.save(sparse, folder / "sparse.onnx")
    return {
        "no such file": (folder / "nothing.onnx", "no such"),
        "empty": (folder / "empty.onnx", "not a complete ONNX file"),
        "text": (folder / "text.onnx", "not a complete ONNX file"),
        "cut off": (folder / "cut.onnx", "not a complete ONNX file"),
        "short data": (folder / "data.onnx", "does not hold them"),
        "no data": (folder / "lost.onnx", "not beside it"),
        "checker": (folder / "wrong.onnx", "checker rejects it"),
        "sparse": (folder / "sparse.onnx", "sparse weights"),
    }


def test_bad_files_are_refused(tmp_path: Path) -> None:
    for case, (path, message) in broken(tmp_path).items():
        with pytest.raises(ArtifactError, match=message):
            optimize(request(path))
        assert not list(tmp_path.glob("*optimized*")), case


def test_bad_names_are_refused_before_any_work(tmp_path: Path) -> None:
    path = saved(unet(), tmp_path / "unet.onnx")
    for output, message in (("x.pt", "ends in .onnx"), (".onnx", "ends in .onnx"), ("-x.onnx", "plain file name")):
        with pytest.raises(UsageError, match=message):
            optimize(request(path, tmp_path / output))
    (tmp_path / "taken.onnx.json").write_text("{}")
    with pytest.raises(UsageError, match="describes another artifact"):
        optimize(request(path, tmp_path / "taken.onnx"))


def test_an_optimized_artifact_has_a_manifest_that_records_the_passes(
    exported: ExportedByCommand, tmp_path: Path
) -> None:
    wanted = request(exported.onnx, tmp_path / "half.onnx", OptimizeOptions("cpu", weight_dtype="fp16"), verify=False)
    done = optimize(wanted)
    subject = load_artifact(done.path)  # hashes, and the manifest inside against the one beside
    old = read_manifest(exported.onnx.with_name("c3d.onnx.json"))
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


def test_an_artifact_that_its_manifest_does_not_describe_is_refused(
    tmp_path: Path, exported: ExportedByCommand
) -> None:
    path = saved(unet(), tmp_path / "c3d.onnx")
    (tmp_path / "c3d.onnx.json").write_bytes(exported.onnx.with_name("c3d.onnx.json").read_bytes())
    with pytest.raises(IntegrityError):
        optimize(request(path))


def test_the_command_explains_and_prints_json(tmp_path: Path) -> None:
    saved(unet(), tmp_path / "unet.onnx")
    done = run("c3d-export", "optimize", "unet.onnx", "--explain", "--no-measure", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("a.node", "BatchNormalization", "folded", "predicted", "measured", "passed", "unet.optimized.onnx"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_the_json_report_is_complete(tmp_path: Path) -> None:
    done = optimize(request(saved(unet(), tmp_path / "unet.onnx"), tmp_path / "u.onnx", verify=False))
    actual = json.loads(dump(optimization_to_dict(done)))
    assert actual["path"] == str(tmp_path / "u.onnx")
    assert actual["parity"] is None
    assert actual["decisions"][0]["action"] == "folded"
    assert actual["bytes"]["after"] == done.path.stat().st_size


def test_the_command_refuses_a_bad_file_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    bad = run("c3d-export", "optimize", "text.onnx", cwd=tmp_path)
    assert (bad.returncode, bad.stdout) == (3, "")
    assert bad.stderr == "Error: text.onnx: not a complete ONNX file (truncated, or another file format)\n"
