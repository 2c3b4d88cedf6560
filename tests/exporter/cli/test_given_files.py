"""A file that is not there, and an impossible value, are refused without the imports that take seconds."""

import json
from pathlib import Path

import pytest
from helpers import small_models
from helpers.checkpoints import narrow_state
from helpers.run import call, python
from helpers.tf_checkpoint import write_v2

from exporter.cli.given_files import check_given_files, refuse_unreadable
from exporter.errors import ArtifactError, BadInputError, CheckpointError, UsageError, VideoError

REFUSED = """
import json, sys
for name in ("torch", "onnxruntime", "onnx_ir", "openvino"):
    sys.modules[name] = None  # importing it raises ImportError
from exporter.cli.main import cli
from exporter.errors import C3DExportError
found = []
for line in json.load(open("commands.json")):
    try:
        cli.main(line.split(), standalone_mode=False)
        found.append([0, ""])
    except C3DExportError as error:
        found.append([error.exit_code, str(error)])
json.dump(found, open("found.json", "w"))
"""
COMMANDS: dict[str, tuple[int, str]] = {
    "predict m.onnx none.mp4": (3, "none.mp4"),
    "predict m.onnx empty list.txt": (3, "list.txt, line 2: "),
    "predict m.onnx list.txt": (3, "none of 2 videos"),
    "predict video.mp4 m.onnx": (2, "video.mp4"),
    "predict list.txt m.onnx": (2, "list.txt"),
    "features empty m.onnx": (2, "empty"),
    "features m.onnx none.mp4": (3, "none.mp4"),
    "predict m.onnx video.mp4 --labels none.txt": (3, "none.txt"),
    "predict m.onnx video.mp4 --mean none.npy": (3, "--mean: "),
    "predict m.onnx video.mp4 --preprocess none.json": (3, "none.json"),
    "predict m.onnx video.mp4 --preprocess none": (2, "--preprocess: "),
    "verify parity none.onnx": (3, "none.onnx"),
    "verify parity m.onnx --clip none.mp4": (3, "--clip: no such video: none.mp4"),
    "verify parity m.onnx --clip list.txt": (3, "--clip: list.txt, line 1: no such video: gone.mp4"),
    "verify parity m.onnx --weights none.pth": (3, "none.pth"),
    "verify parity m.onnx --baseline none.json": (3, "none.json"),
    "verify parity m.onnx --html a --junit a": (2, "--html a"),
    "verify parity m.onnx --junit m.onnx": (2, "--junit m.onnx"),
    "verify self-test none.onnx": (3, "none.onnx"),
    "--format onnx --weights none.pth": (3, "none.pth"),
    "--format onnx --precision int8 --calibrate none.mp4": (3, "--calibrate: no such video: none.mp4"),
    "--format onnx --precision int8 --calibrate none.npz": (3, "none.npz"),
    "--format onnx -o m.onnx/out": (3, "--output-dir m.onnx/out"),
    "--format onnx --name a/b": (2, "a/b"),
    "--format onnx --opset 3": (2, "--opset"),
    "--format onnx --num-classes 0": (2, "--num-classes"),
    "--format onnx --batch 0": (2, "--batch"),
    "bench none.onnx": (3, "none.onnx"),
    "bench m.onnx --batch 0": (2, "--batch"),
    "bench m.onnx --threads 2,2": (2, "--threads"),
    "bench --all --seconds 0": (2, "--seconds"),
    "bench --all --format onnx --format onnx": (2, "each format once"),
    "bench --all --calibrate none.mp4": (3, "none.mp4"),
    "convert none.pth -o a.safetensors": (3, "none.pth"),
}


def test_nothing_is_imported_for_what_is_not_there(tmp_path: Path) -> None:
    small_models.network(tmp_path / "m.onnx")
    (tmp_path / "empty").mkdir()
    (tmp_path / "video.mp4").touch()
    (tmp_path / "list.txt").write_text("gone.mp4\ngone.avi\n")
    (tmp_path / "commands.json").write_text(json.dumps(list(COMMANDS)))
    done = python(REFUSED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = dict(zip(COMMANDS, json.loads((tmp_path / "found.json").read_text()), strict=True))
    assert {command: code for command, (code, _) in found.items()} == {
        command: code for command, (code, _) in COMMANDS.items()
    }
    assert [command for command, (_, name) in COMMANDS.items() if name not in found[command][1]] == []


def test_videos_of_which_one_is_there(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").touch()
    there, gone = str(tmp_path / "video.mp4"), str(tmp_path / "gone.mp4")
    check_given_files({"videos": (gone, there), "clips": 4})
    check_given_files({"videos": (gone, "https://127.0.0.1:9/a.mp4"), "clips": ("https://127.0.0.1:9/a.mp4",)})
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        check_given_files({"videos": (gone, gone)})
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        check_given_files({"calibration_clips": (there, gone)})


def test_weights_that_are_an_address_or_a_tensorflow_prefix(tmp_path: Path) -> None:
    write_v2(tmp_path / "model.ckpt", {name: value.numpy() for name, value in narrow_state().items()})
    with pytest.raises(CheckpointError, match="Connection refused"):
        check_given_files({"weights": "https://127.0.0.1:9/a.pth"})
    check_given_files({"weights": tmp_path / "model.ckpt"})
    with pytest.raises(BadInputError):
        check_given_files({"weights": tmp_path / "other.ckpt"})
    with pytest.raises(CheckpointError, match="not those of"):
        check_given_files({"weights": tmp_path / "model.ckpt", "layout": "jfzhang95"})


def test_errors_are_in_the_order_of_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("one.mp4\nempty\ntwo.mp4\n")
    with pytest.raises(VideoError, match=r"list\.txt, line 1: .*list\.txt, line 2: .*list\.txt, line 3: "):
        check_given_files({"videos": ("list.txt",)})
    with pytest.raises(VideoError, match=r"a\.mp4.*empty.*b\.mp4"):
        check_given_files({"videos": ("a.mp4", "empty", "b.mp4")})


@pytest.mark.parametrize("videos", ["clip.3gp", "clip.ogv", "https://127.0.0.1:9/clip.ts"])
def test_a_folder_of_tensorflow_is_a_model_whatever_the_videos_are_called(videos: str, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in (videos, "model.onnx"):
        if "://" not in name:
            (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    write_v2(tmp_path / "folder" / "model.ckpt", {"conv1": next(iter(narrow_state().values())).numpy()})
    named = videos if "://" in videos else str(tmp_path / videos)
    check_given_files({"model": tmp_path / "folder", "videos": (named,)})
    (tmp_path / "folder" / "checkpoint").write_text('model_checkpoint_path: "gone"')
    check_given_files({"model": tmp_path / "folder", "videos": (named,)})  # what reads it says what is wrong
    with pytest.raises(UsageError):
        check_given_files({"model": tmp_path / "videos", "videos": (str(tmp_path / "model.onnx"),)})


def test_the_reason_with_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("c3d-export", "predict", "m.onnx", "none.mp4", "--json", cwd=tmp_path, capture=capfd)
    assert (done.returncode, json.loads(done.stdout)["error"]["kind"]) == (3, "VideoError")


EMPTY = (
    ("c3d-export", "--format", "onnx", "-o"),
    ("c3d-export", "--format", "onnx", "--weights"),
    ("c3d-export", "--format", "onnx", "--labels"),
    ("c3d-export", "--format", "onnx", "--preprocess"),
    ("c3d-export", "inspect"),
    ("c3d-export", "predict", "m.onnx"),
    ("c3d-export", "bench", "m.onnx", "--html"),
    ("verify", "parity"),
    ("verify", "integrity"),
)


@pytest.mark.parametrize("words", EMPTY)
def test_an_empty_path_is_not_the_current_folder(
    words: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small_models.network(tmp_path / "m.onnx")
    done = call(*words, "", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (2, "")
    assert "empty" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


UNREADABLE = """
import sys
for name in ("torch", "onnxruntime", "onnx_ir", "openvino"):
    sys.modules[name] = None  # importing it raises ImportError
from exporter.cli.main import cli
from exporter.errors import ArtifactError
for words in ("verify parity", "verify self-test", "bench", "inspect", "optimize", "predict"):
    arguments = [*words.split(), sys.argv[1], *["video.mp4"] * (words == "predict")]
    try:
        cli.main(arguments, standalone_mode=False)
        sys.exit(f"{words}: not refused")
    except ArtifactError as error:
        assert "not a complete ONNX file" in str(error), (words, error)
"""


def test_no_command_imports_torch_for_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(small_models.network(tmp_path / "whole.onnx").read_bytes()[:-40])
    (tmp_path / "video.mp4").touch()
    done = python(UNREADABLE, str(cut), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_is_left_to_the_command(tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut.onnx", small_models.network(tmp_path / "whole.onnx")
    cut.write_bytes(whole.read_bytes()[:-40])
    refuse_unreadable(None, "openvino", whole, tmp_path)
    with pytest.raises(ArtifactError, match="no such file"):
        refuse_unreadable(tmp_path / "missing.onnx")
    with pytest.raises(ArtifactError, match="not a complete ONNX file"):
        refuse_unreadable(whole, cut)
    (tmp_path / "cut.onnx.json").touch()
    refuse_unreadable(cut)  # its hash is compared with its manifest's


def test_an_openvino_file_that_is_no_xml(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    path.write_text("<net")
    with pytest.raises(ArtifactError, match="not an OpenVINO model"):
        refuse_unreadable(path)
