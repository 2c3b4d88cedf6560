"""`--preprocess` and `--mean` at export: recorded in the manifest and the model file, and found again by `verify`."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.clips import make_clip
from helpers.run import call

from exporter.artifacts.files import manifest_path, read_manifest
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.rebuilding import rebuild_network
from exporter.errors import ArtifactError, UsageError
from exporter.formats import FORMATS, load_artifact
from exporter.requests import ExportRequest
from exporter.types import FormatName, ParityOptions
from exporter.workflows.export import export
from exporter.workflows.inspect import inspect
from exporter.workflows.verify import verify_parity
from models import build
from models.options import BuildOptions
from models.preprocessing.files import find_profile, format_profile
from models.preprocessing.mean import load_mean
from models.preprocessing.profiles import JFZHANG95, MMACTION2

CUBE = np.random.default_rng(0).uniform(80, 120, (3, 16, 128, 171)).astype(np.float32)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a narrow checkpoint that states no profile, a mean file, and an artifact that takes that mean."""
    made = tmp_path_factory.mktemp("published")
    torch.save(narrow_state(4), made / "c3d.pth")
    (made / "means").mkdir()
    np.save(made / "means" / "mean.npy", CUBE)
    run_export(made, BuildOptions(preprocess="jfzhang95", mean=made / "means" / "mean.npy"))
    return made


@pytest.fixture
def folder(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, in which the test runs."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_export(folder: Path, options: BuildOptions, kind: FormatName = "onnx") -> Manifest:
    """Export without verifying; return the manifest beside the file."""
    request = ExportRequest((kind,), replace(options, weights=folder / "c3d.pth"), output_dir=folder, verify=False)
    return read_manifest(manifest_path(export(request).artifacts[0].path))


def test_the_profile_is_recorded_as_the_users_choice(folder: Path) -> None:
    manifest = run_export(folder, BuildOptions(preprocess="mmaction2"))
    assert manifest.preprocessing == MMACTION2
    assert manifest.network.setting_sources["preprocess"] == "option"
    assert FORMATS["onnx"].read_embedded(folder / "c3d.onnx") == manifest.embedded()
    assert build(BuildOptions(weights=folder / "c3d.onnx")).preprocessing == MMACTION2  # also as a checkpoint
    assert "preprocess" not in run_export(folder, BuildOptions(), "torchscript").network.setting_sources


def test_the_mean_file_is_recorded_by_name_hash_and_place_and_found_again(folder: Path) -> None:
    manifest = Manifest.from_json((folder / "c3d.onnx.json").read_text())
    assert manifest.preprocessing is not None
    record = manifest.preprocessing.mean_cube
    assert record is not None
    digest = hashlib.sha256((folder / "means" / "mean.npy").read_bytes()).hexdigest()
    assert (record.file, record.path, record.sha256) == ("mean.npy", "means/mean.npy", digest)
    embedded = FORMATS["onnx"].read_embedded(folder / "c3d.onnx")
    assert embedded is not None
    assert embedded == manifest.embedded()
    assert "means/" not in embedded.to_json()
    artifact = load_artifact(folder / "c3d.onnx")
    model, notes = rebuild_network(artifact, BuildOptions())
    assert (model.preprocessing, notes) == (manifest.preprocessing, ())
    assert model.mean_cube is not None
    assert np.array_equal(model.mean_cube, CUBE[:, :, 8:120, 30:142])


def test_without_the_mean_file_clips_take_the_channel_means_and_a_note_says_so(folder: Path) -> None:
    (folder / "means" / "mean.npy").rename(folder / "elsewhere.npy")
    artifact = load_artifact(folder / "c3d.onnx")
    model, notes = rebuild_network(artifact, BuildOptions())
    assert (model.preprocessing, model.mean_cube) == (JFZHANG95, None)
    assert "clips take the channel means" in notes[0]
    again, _ = rebuild_network(artifact, BuildOptions(mean=folder / "elsewhere.npy"))
    assert again.mean_cube is not None
    assert artifact.manifest is not None
    inside = replace(artifact.manifest, options=artifact.manifest.options | {"with_preprocess": True})
    with pytest.raises(ArtifactError, match="mean.npy is not at .*name it with --mean"):
        rebuild_network(replace(artifact, manifest=inside), BuildOptions())


def test_clips_without_colour_have_no_profile() -> None:
    with pytest.raises(UsageError, match="clips of 3 channels; these have 2"):
        build(BuildOptions(base_channels=2, feature_dim=8, input_size=(2, 16, 112, 112), preprocess="mmaction2"))


def test_on_the_command_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.json").write_text(format_profile(replace(MMACTION2, name="mine", resize=140)))
    options = ("--weights", "c3d.pth", "--no-verify", "--preprocess", "mine.json", "--mean", "small.npy")
    np.save(folder / "small.npy", np.full((3, 112, 112), 7.0))
    done = call("c3d-export", "--format", "torchscript", *options, "--json", cwd=folder, capture=capfd)
    assert (done.returncode, done.stderr) == (0, "")
    recorded = json.loads(done.stdout)["artifacts"][0]["manifest"]["preprocessing"]
    assert (recorded["name"], recorded["resize"], recorded["mean_cube"]["path"]) == ("mine", 140, "../small.npy")
    done = call("c3d-export", "convert", "c3d.pth", "-o", "c.safetensors", *options[3:], cwd=folder, capture=capfd)
    assert done.returncode == 0
    assert load_mean(folder / "small.npy")[1].sha256 in (folder / "c.safetensors").read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--preprocess", "nope"), 2, "no profile nope; known are caffe-sports1m"),
        (("--preprocess", "nope.json"), 3, "no such preprocessing profile: nope.json"),
        (("--mean", "nope.npy"), 3, "no such mean file: nope.npy"),
        (("--preprocess", "hx173149", "--mean", "means/mean.npy"), 3, "a mean of 3x16x128x171 does not fit"),
    ],
)
def test_wrong_values_are_one_line_and_write_nothing(
    options: tuple[str, ...], code: int, message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call("c3d-export", "--format", "onnx", "--weights", "c3d.pth", *options, cwd=folder, capture=capfd)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "artifacts").exists() or not list((folder / "artifacts").iterdir())


def test_the_profiles_are_listed_and_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shown = call("c3d-export", "layouts", "--profiles", cwd=tmp_path, capture=capfd).stdout
    assert "mmaction2  RGB, 0-255, short side 128, centre crop 112, mean (104, 117, 128)" in shown
    found = json.loads(call("c3d-export", "layouts", "--profiles", "--json", cwd=tmp_path, capture=capfd).stdout)
    layouts = {row["name"]: row["layouts"] for row in found["profiles"]}
    assert layouts["caffe-sports1m"] == ["caffe", "chainer", "lasagne"]
    assert layouts["ekosman"] == []
    printed = call("c3d-export", "layouts", "--profile", "ekosman", cwd=tmp_path, capture=capfd).stdout
    (tmp_path / "mine.json").write_text(printed)
    assert find_profile(tmp_path / "mine.json") == find_profile("ekosman")


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_mean_file_inside_the_artifact_is_subtracted_there_too(folder: Path) -> None:
    options = BuildOptions(weights=folder / "c3d.pth", preprocess="jfzhang95", mean=folder / "means" / "mean.npy")
    request = ExportRequest(("onnx", "torchscript"), options, output_dir=folder, with_preprocess=True, verify=False)
    export(request)
    frames = np.random.default_rng(1).integers(0, 256, (1, 16, 60, 80, 3), dtype=np.uint8)
    model = build(options)
    clip = make_clip(JFZHANG95, frames[0], (16, 112, 112), CUBE[:, :, 8:120, 30:142])
    with torch.inference_mode():
        expected = model.network(torch.from_numpy(clip)[None]).numpy()
    found = {
        "onnx": onnxruntime.InferenceSession(folder / "c3d.onnx").run(None, {"frames": frames})[0],
        "torchscript": torch.jit.load(folder / "c3d.pt")(torch.from_numpy(frames)).numpy(),
    }
    for returned in found.values():
        assert np.abs(returned - expected).max() <= 1e-4 * np.abs(expected).max()
    (report,) = verify_parity([folder / "c3d.onnx"], ParityOptions(input_types=("video",)))
    assert report.passed
    (folder / "means" / "mean.npy").unlink()
    with pytest.raises(ArtifactError, match="mean.npy is not at .*name it with --mean"):
        verify_parity([folder / "c3d.onnx"], ParityOptions(input_types=("video",)))


def test_inspect_shows_the_recipe_and_the_mean_file(folder: Path) -> None:
    shown = inspect(folder / "c3d.onnx").facts["preprocessing"]
    assert shown.startswith("jfzhang95: BGR, 0-255, 171x128, crop 112 at (8, 30), mean file mean.npy (jfzhang95/")
    run_export(folder, BuildOptions(), "torchscript")
    assert inspect(folder / "c3d.pt").facts["preprocessing"].startswith("not known: give --preprocess")
