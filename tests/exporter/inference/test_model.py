"""A model that is opened for video."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import graphs
from helpers.code_files import own
from helpers.small_video_model import PROFILE, SmallVideoModel
from onnx import helper

from exporter.errors import ArtifactError, BadInputError, CheckFailedError, IntegrityError, UnavailableError, UsageError
from exporter.inference.model import open_video_model
from exporter.inference.types import InferenceOptions
from exporter.requests import ExportRequest
from exporter.workflows.export import export
from models.builder import build
from models.options import BuildOptions
from models.preprocessing.files import find_profile

OPTIONS = InferenceOptions(preprocess=PROFILE)
CLIPS = [np.random.default_rng(seed).normal(0, 50, (3, 16, 112, 112)).astype(np.float32) for seed in range(3)]


def foreign(path: Path, *, softmax: bool = False, time: int | str = 4, batch: int | str = "n") -> Path:
    """Write another tool's video network: the mean of each channel, then a linear layer of 4 classes."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y0" if softmax else "y"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y0"], ["y"], axis=1))
    weights = {"w": np.arange(12, dtype=np.float32).reshape(3, 4) / 10}
    return graphs.save(path, graphs.graph(nodes, {"x": [batch, 3, time, 8, 8]}, {"y": [batch, 4]}, weights))


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_outputs_have_a_row_for_each_clip(small_video_model: SmallVideoModel, kind: str) -> None:
    with open_video_model(getattr(small_video_model, kind), OPTIONS) as model:
        outputs = model.run(CLIPS)
        alone = model.run(CLIPS[1:2])
    assert {name: rows.shape for name, rows in outputs.items()} == {"logits": (3, 5), "fc6": (3, 8)}
    assert np.allclose(alone["logits"], outputs["logits"][1:2], rtol=1e-4, atol=1e-4)
    assert (model.size, model.batch, model.fixed_batch, model.takes_frames) == ((16, 112, 112), 1, False, False)
    assert [(output.name, output.kind) for output in model.outputs] == [("logits", "scores"), ("fc6", "features")]


def test_only_the_outputs_that_are_asked_for(small_video_model: SmallVideoModel) -> None:
    with open_video_model(small_video_model.onnx, replace(OPTIONS, outputs=("fc6",))) as model:
        assert [*model.run(CLIPS[:1])] == ["fc6"]
    with pytest.raises(
        UsageError, match="c3d.onnx does not return fc9; it returns logits, fc6. Its network can return"
    ):
        open_video_model(small_video_model.onnx, replace(OPTIONS, outputs=("fc9",)))


def test_a_fixed_batch_is_filled_up_and_the_filling_dropped(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    request = ExportRequest(("onnx",), BuildOptions(num_classes=5, base_channels=2, feature_dim=8, seed=3))
    export(replace(request, batch=4, output_dir=tmp_path, verify=False))
    with (
        open_video_model(tmp_path / "c3d.onnx", OPTIONS) as fixed,
        open_video_model(small_video_model.onnx, OPTIONS) as free,
    ):
        assert (fixed.batch, fixed.fixed_batch) == (4, True)
        outputs = fixed.run(CLIPS)
        assert outputs["logits"].shape == (3, 5)
        assert np.allclose(outputs["logits"], free.run(CLIPS)["logits"], rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="--batch 2: c3d.onnx takes 4 clips in one call"):
        open_video_model(tmp_path / "c3d.onnx", replace(OPTIONS, batch=2))


def test_an_unknown_profile_is_asked_for(small_video_model: SmallVideoModel) -> None:
    with pytest.raises(UsageError, match=r"--preprocess NAME\|FILE: .*mmaction2") as refused:
        open_video_model(small_video_model.onnx)
    assert refused.value.exit_code == 2


def test_the_recorded_profile_is_taken_and_another_replaces_it(tmp_path: Path) -> None:
    built = replace(
        build(BuildOptions(num_classes=5, base_channels=2, feature_dim=8)), preprocessing=find_profile("mmaction2")
    )
    export(ExportRequest(("onnx",), built, output_dir=tmp_path, name="m", verify=False))
    assert open_video_model(tmp_path / "m.onnx").preprocessing.name == "mmaction2"
    assert open_video_model(tmp_path / "m.onnx", OPTIONS).preprocessing.name == PROFILE


def test_a_profile_for_frames_of_another_size_is_scaled(tmp_path: Path) -> None:
    path = foreign(tmp_path / "f.onnx")
    model = open_video_model(path, OPTIONS)
    assert model.preprocessing == find_profile(PROFILE).scaled(8, 8)
    assert model.transform is not None
    assert model.transform(np.zeros((48, 64, 3), np.uint8)).shape == (8, 8, 3)


def test_a_foreign_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--preprocess"):
        open_video_model(foreign(tmp_path / "f.onnx"))
    clip = np.ones((3, 4, 8, 8), np.float32)
    with open_video_model(foreign(tmp_path / "f.onnx"), OPTIONS) as model:
        assert model.outputs[0].kind == "scores"
        assert np.allclose(model.run([clip, 2 * clip])["y"], [[1.2, 1.5, 1.8, 2.1], [2.4, 3.0, 3.6, 4.2]])
    assert open_video_model(foreign(tmp_path / "s.onnx", softmax=True), OPTIONS).outputs[0].kind == "probabilities"
    with pytest.raises(ArtifactError, match=r"leaves time open.*c3d-export optimize t.onnx --shape x=1x3xTxHxW"):
        open_video_model(foreign(tmp_path / "t.onnx", time="t"), OPTIONS)


def test_an_output_without_a_row_for_each_clip(tmp_path: Path) -> None:
    node = helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)
    path = graphs.save(tmp_path / "f.onnx", graphs.graph([node], {"x": ["n", 3, 4, 8, 8]}, {"y": []}, {}))
    with open_video_model(path, OPTIONS) as model, pytest.raises(CheckFailedError, match="a row for each clip"):
        model.run([np.ones((3, 4, 8, 8), np.float32)])


def test_a_torchscript_file_without_a_manifest_states_no_size(
    small_video_model: SmallVideoModel, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.pt"
    with zipfile.ZipFile(small_video_model.torchscript) as archive, zipfile.ZipFile(bare, "w") as copy:
        for member in archive.infolist():
            if "manifest" not in member.filename:
                copy.writestr(member, archive.read(member))
    with pytest.raises(ArtifactError, match="has no manifest"):
        open_video_model(own(bare), OPTIONS)


def test_class_names(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    options = replace(OPTIONS, labels=labels)
    assert open_video_model(small_video_model.onnx, options).class_names == ("a", "b", "c", "d", "e")
    assert open_video_model(small_video_model.onnx, OPTIONS).class_names is None
    labels.write_text("a\nb\n")
    with pytest.raises(UsageError, match="2 names, but the network has 5 classes"):
        open_video_model(small_video_model.onnx, options)


def test_a_mean_for_each_pixel(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    mean = np.random.default_rng(0).uniform(0, 255, (3, 16, 128, 171)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    options = InferenceOptions(preprocess="caffe-sports1m", mean=tmp_path / "mean.npy")
    model = open_video_model(small_video_model.onnx, options)
    window = np.full((16, 112, 112, 3), 100, np.uint8)
    assert np.allclose(model.to_input(window), 100 - mean[:, :, 8:120, 29:141])
    assert model.notes == ()
    without = open_video_model(small_video_model.onnx, replace(options, mean=None))
    assert "without --mean FILE the channel means" in without.notes[-1]
    assert np.allclose(without.to_input(window)[:, 0, 0, 0], 100 - np.array([90.25, 97.66, 101.41]))
    np.save(tmp_path / "mean.npy", mean[:, :, :64])
    with pytest.raises(BadInputError, match="does not fit"):
        open_video_model(small_video_model.onnx, options)


def test_the_record(small_video_model: SmallVideoModel) -> None:
    import hashlib

    with open_video_model(small_video_model.onnx, OPTIONS) as model:
        record = model.record()
    assert record.sha256 == hashlib.sha256(small_video_model.onnx.read_bytes()).hexdigest()
    assert record.engine.startswith("onnxruntime")
    assert (record.clip, record.preprocessing, record.preprocessing_inside) == ((16, 112, 112), PROFILE, False)


def test_what_cannot_be_opened(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        open_video_model(tmp_path / "none.onnx", OPTIONS)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ArtifactError):
        open_video_model(tmp_path / "text.onnx", OPTIONS)
    for path in (small_video_model.onnx, small_video_model.onnx.with_name("c3d.onnx.json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "c3d.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(IntegrityError):
        open_video_model(tmp_path / "c3d.onnx", OPTIONS)
    with pytest.raises(UsageError, match="torchscript does not run onnx"):
        open_video_model(small_video_model.onnx, replace(OPTIONS, engine="torchscript"))
    for threads in (0, 1_000_000):
        with pytest.raises(UsageError, match="--threads must be between 1 and 1,024"):
            open_video_model(small_video_model.onnx, replace(OPTIONS, threads=threads))


def test_a_device_that_is_not_there(small_video_model: SmallVideoModel) -> None:
    with pytest.raises(UnavailableError), open_video_model(small_video_model.onnx, replace(OPTIONS, device="tensorrt")):
        pass
