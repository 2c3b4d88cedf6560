"""convert: any origin's checkpoint becomes a file that loads everywhere without a flag, and states where it came from."""

import json
from pathlib import Path

import pytest
import torch
from helpers import origins
from helpers.built import profile
from helpers.checkpoints import narrow_state
from helpers.run import Done, call

from exporter.artifacts.files import sha256_file
from exporter.errors import CheckpointError, OutputError, UsageError
from exporter.requests import ConvertRequest
from exporter.workflows.convert import convert
from models import build
from models.builder import state_sha256
from models.config import C3DConfig
from models.options import BuildOptions


@pytest.fixture
def caffe(tmp_path: Path) -> Path:
    """A narrow caffemodel."""
    path = tmp_path / "c3d.caffemodel"
    origins.write_caffe(path, {name: value.numpy() for name, value in narrow_state(7).items()}, "C3D-v1.0")
    return path


def test_the_same_network_under_this_projects_names_with_its_conventions_in_the_same_bytes(caffe: Path) -> None:
    output, second = caffe.with_name("c3d.safetensors"), caffe.with_name("again.safetensors")
    made = convert(ConvertRequest(BuildOptions(weights=caffe), output))
    assert made.entry.sha256 == sha256_file(output)
    first, again = build(BuildOptions(weights=caffe)), build(BuildOptions(weights=output))
    assert state_sha256(again.network) == state_sha256(first.network)
    assert (again.settings, again.setting_sources["pool5"]) == (first.settings, "file")
    assert again.preprocessing == first.preprocessing
    assert (again.settings["pool5"], profile(again)) == ("right", "caffe-sports1m")
    assert convert(ConvertRequest(BuildOptions(weights=caffe), second)).entry.sha256 == made.entry.sha256
    assert [path.name for path in caffe.parent.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_is_made_is_noted(caffe: Path) -> None:
    output = caffe.parent / "new" / "c3d.safetensors"
    assert convert(ConvertRequest(BuildOptions(weights=caffe), output)).notes == (f"{output.parent} is a new folder",)
    assert convert(ConvertRequest(BuildOptions(weights=caffe), output)).notes == ()


def test_an_assumed_convention_is_not_written(tmp_path: Path) -> None:
    torch.save(narrow_state(3), tmp_path / "c3d.pth")
    convert(ConvertRequest(BuildOptions(weights=tmp_path / "c3d.pth"), tmp_path / "c3d.safetensors"))
    assert build(BuildOptions(weights=tmp_path / "c3d.safetensors")).setting_sources["pool5"] == "default"


def test_what_is_refused(caffe: Path, tmp_path: Path) -> None:
    output = tmp_path / "c3d.safetensors"
    output.write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"must be called \*.safetensors"):
        convert(ConvertRequest(BuildOptions(weights=caffe), tmp_path / "c3d.pth"))
    with pytest.raises(UsageError, match="is the checkpoint itself"):
        convert(ConvertRequest(BuildOptions(weights=output), output))
    with pytest.raises(CheckpointError, match="not those of the layout jfzhang95"):
        convert(ConvertRequest(BuildOptions(weights=caffe, layout="jfzhang95"), output))
    with pytest.raises(OutputError, match="--output .*: cannot be written to: .*it is a file, not a folder"):
        convert(ConvertRequest(BuildOptions(weights=caffe), caffe / "sub" / "c3d.safetensors"))
    assert output.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c3d.caffemodel", "c3d.safetensors"]


def test_the_commands(caffe: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def export(*arguments: str) -> Done:
        return call("c3d-export", *arguments, cwd=caffe.parent, capture=capfd)

    done = export("convert", caffe.name, "-o", "c3d.safetensors", "--pool5", "symmetric", "--json")
    reported = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert reported["source"]["layout"] == "caffe"
    assert reported["network"] == C3DConfig(7, base_channels=2, feature_dim=4).settings()
    assert (
        build(BuildOptions(weights=caffe.with_name("c3d.safetensors"))).settings["pool5"] == "symmetric"
    )  # the override stays
    inspected = export("inspect", "c3d.safetensors")
    assert "converted" in inspected.stdout
    assert "c3d-export --format onnx --weights c3d.safetensors" in inspected.stdout
    listed = json.loads(export("layouts", "--json").stdout)
    assert {row["layout"]: row["pool5"] for row in listed["layouts"]}["caffe"] == "right"
    refused = export("inspect", "https://localhost:9/c3d.pth")
    assert refused.returncode == 3
    assert refused.stderr.startswith("Error: https://localhost:9/c3d.pth: the download failed")
    assert refused.stderr.count("\n") == 1
