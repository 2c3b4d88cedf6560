"""Class names go from the checkpoint's origin, or from `--labels`, into every file that is written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import origins
from helpers.checkpoints import narrow_state
from helpers.manifests import MANIFEST
from helpers.run import Done, call
from torch import nn

from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError, CheckpointError, UsageError
from exporter.formats import FORMATS
from exporter.requests import ExportRequest
from exporter.types import FormatName
from exporter.workflows.export import export
from models import BuiltModel, OutputSpec, TensorSpec, build
from models.checkpoints.checkpoint import read_checkpoint
from models.class_names import get_class_names
from models.options import BuildOptions

UCF101 = get_class_names("ucf101")


def caffe(folder: Path, classes: int) -> Path:
    """A narrow caffemodel of so many classes."""
    path = folder / "c3d.caffemodel"
    origins.write_caffe(path, {name: value.numpy() for name, value in narrow_state(classes).items()}, "C3D-v1.0")
    return path


def renamed(classes: int, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """A narrow state_dict under other names of layers."""
    state: dict[str, torch.Tensor] = {}
    for name, value in narrow_state(classes).items():
        layer, parameter = name.split(".")
        state[f"{names.get(layer, layer)}.{parameter}"] = value
    return state


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Caffe checkpoint of 101 classes, exported in both formats."""
    folder = tmp_path_factory.mktemp("caffe")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        request = ExportRequest(
            ("onnx", "torchscript"), BuildOptions(weights=caffe(folder, 101)), output_dir=folder, verify=False
        )
        export(request)
    return folder


def test_they_stand_in_the_manifest_and_in_the_model_file(written: Path) -> None:
    files: tuple[tuple[FormatName, str], ...] = (("onnx", "c3d.onnx"), ("torchscript", "c3d.pt"))
    for format_name, file in files:
        beside = Manifest.from_json((written / f"{file}.json").read_text())
        inside = FORMATS[format_name].read_embedded(written / file)
        assert inside is not None
        assert beside.class_names == inside.class_names == UCF101


def test_an_artifact_read_as_weights_has_them_back(written: Path) -> None:
    built = build(BuildOptions(weights=written / "c3d.onnx"))
    assert built.class_names == UCF101


def test_inspect_shows_the_first_and_its_json_all(written: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for file in ("c3d.onnx", "c3d.pt", "c3d.caffemodel"):
        shown = call("c3d-export", "inspect", file, cwd=written, capture=capfd).stdout
        (line,) = [line for line in shown.splitlines() if line.startswith("class names")]
        assert "101 (ucf101): ApplyEyeMakeup" in line
        assert len(line) < 120
        found = json.loads(call("c3d-export", "inspect", file, "--json", cwd=written, capture=capfd).stdout)
        assert tuple(found["class_names"]) == UCF101


def test_the_user_s_names_replace_those_of_the_origin(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    caffe(tmp_path, 101)
    (tmp_path / "names.txt").write_text("".join(f"{number} action {number}\n" for number in range(1, 102)))
    options = (
        "--format",
        "torchscript",
        "--weights",
        "c3d.caffemodel",
        "--no-verify",
        "--labels",
        "names.txt",
        "--json",
    )
    done = call("c3d-export", *options, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads(done.stdout)["artifacts"][0]["manifest"]
    assert manifest["class_names"][:2] == ["action 1", "action 2"]


@pytest.mark.parametrize(
    ("labels", "code", "reported"),
    [
        ("sports1m", 2, ("487 names", "101 classes")),
        ("two.txt", 2, ("2 names", "101 classes")),
        ("none.txt", 3, ("sports1m",)),
        ("twice.txt", 3, ("twice.txt", "1 and 2")),
    ],
)
def test_names_that_do_not_fit_are_refused_before_anything_is_written(
    labels: str, code: int, reported: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    caffe(tmp_path, 101)
    (tmp_path / "two.txt").write_text("walk\nrun\n")
    (tmp_path / "twice.txt").write_text("walk\nwalk\n")
    for command in (("--format", "onnx", "--weights"), ("convert", "-o", "c3d.safetensors")):
        done: Done = call("c3d-export", *command, "c3d.caffemodel", "--labels", labels, cwd=tmp_path, capture=capfd)
        assert done.returncode == code
        assert done.stderr.count("\n") == 1
        assert all(part in done.stderr for part in reported)
    assert {path.name for path in tmp_path.iterdir()} == {"c3d.caffemodel", "two.txt", "twice.txt"}


def test_a_network_without_known_names_says_how_to_give_them_and_its_manifest_is_as_before(tmp_path: Path) -> None:
    torch.save(narrow_state(101), tmp_path / "c3d.pth")
    made = export(
        ExportRequest(("torchscript",), BuildOptions(weights=tmp_path / "c3d.pth"), output_dir=tmp_path, verify=False)
    )
    assert any("--labels ucf101, --labels ucf101-sorted or --labels FILE" in note for note in made.notes)
    assert "class_names" not in json.loads((tmp_path / "c3d.pt.json").read_text())


def test_features_alone_and_a_new_head_have_no_names(tmp_path: Path) -> None:
    path = caffe(tmp_path, 101)
    options = BuildOptions(weights=path)
    features = ExportRequest(("torchscript",), options, outputs=("fc6",), output_dir=tmp_path, verify=False)
    assert export(features).artifacts[0].manifest.class_names is None
    assert build(BuildOptions(weights=path, num_classes=487, new_head=True)).class_names is None
    named = BuildOptions(weights=path, num_classes=2, new_head=True, labels=("walk", "run"))
    assert build(named).class_names == ("walk", "run")
    assert build(BuildOptions(num_classes=2, base_channels=1, feature_dim=2, labels=("a", "b"))).class_names == (
        "a",
        "b",
    )


@pytest.mark.parametrize(
    ("classes", "names", "expected"),
    [
        (487, {}, "sports1m"),
        (101, {}, None),
        (487, origins.JFZHANG95, "sports1m"),
        (101, origins.JFZHANG95, None),
        (101, {"conv1": "conv1a", "conv2": "conv2a"}, None),
    ],
    ids=["identity 487", "identity 101", "jfzhang95 487", "sequential 101", "caffe names 101"],
)
def test_names_are_claimed_only_where_the_origin_is_certain(
    classes: int, names: dict[str, str], expected: str | None, tmp_path: Path
) -> None:
    torch.save(renamed(classes, names), tmp_path / "c3d.pth")
    found = read_checkpoint(tmp_path / "c3d.pth").class_names
    assert found == (get_class_names(expected) if expected else None)


def test_the_user_s_word_for_an_origin_brings_its_names(tmp_path: Path) -> None:
    torch.save(renamed(101, {"conv1": "conv1a", "conv2": "conv2a"}), tmp_path / "c3d.pth")
    assert read_checkpoint(tmp_path / "c3d.pth", "caffe").class_names == UCF101
    torch.save(narrow_state(101), tmp_path / "own.pth")
    assert read_checkpoint(tmp_path / "own.pth", "jfzhang95-training").class_names == get_class_names("ucf101-sorted")


def test_a_converted_checkpoint_carries_them_and_a_wrong_number_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    torch.save(narrow_state(3), tmp_path / "c3d.pth")
    (tmp_path / "names.json").write_text('["walk", "run", "jump"]')
    options = ("convert", "c3d.pth", "-o", "c3d.safetensors", "--labels", "names.json", "--json")
    done = call("c3d-export", *options, cwd=tmp_path, capture=capfd)
    assert json.loads(done.stdout)["class_names"] == ["walk", "run", "jump"]
    again = build(BuildOptions(weights=tmp_path / "c3d.safetensors"))
    assert again.class_names == ("walk", "run", "jump")
    metadata = {"c3d_export.conventions": '{"class_names": ["walk", "run"]}'}
    save_file(narrow_state(3), tmp_path / "damaged.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match="2 class names.* 3 outputs"):
        build(BuildOptions(weights=tmp_path / "damaged.safetensors"))


@pytest.mark.parametrize("names", [UCF101[:-1], (*UCF101[:-1], UCF101[0]), (*UCF101[:-1], "a\nb")])
def test_a_manifest_with_names_that_cannot_be_is_damaged(names: tuple[str, ...]) -> None:
    assert Manifest.from_json(replace(MANIFEST, class_names=UCF101).to_json()).class_names == UCF101
    with pytest.raises(ArtifactError, match="not a manifest"):
        Manifest.from_json(replace(MANIFEST, class_names=names).to_json())


def test_a_network_of_one_s_own(tmp_path: Path) -> None:
    model = BuiltModel(
        network=nn.Sequential(nn.Flatten(), nn.Linear(8, 3)).eval(),
        input=TensorSpec("x", "float32", ("batch", 8)),
        outputs=(OutputSpec("scores", (3,)),),
        class_names=("walk", "run", "jump"),
    )
    made = export(ExportRequest(("onnx",), model, output_dir=tmp_path, verify=False))
    assert made.artifacts[0].manifest.class_names == ("walk", "run", "jump")
    for names, reported in ((("walk", "run"), "2 class names"), (("walk", "run", "run"), "2 and 3")):
        with pytest.raises(UsageError, match=reported):
            export(ExportRequest(("onnx",), replace(model, class_names=names), output_dir=tmp_path, verify=False))
