"""Files are read by their content: what is no checkpoint is named for what it is."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from helpers.openvino_files import MODEL, save

from models import build
from models.errors import CheckpointError
from models.options import BuildOptions


def refuse(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        build(BuildOptions(weights=path, **options))
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_missing(tmp_path: Path) -> None:
    refuse(tmp_path / "none.pth", "no such checkpoint")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    refuse(tmp_path / "folder.pth", "not a file: .*give the checkpoint itself")


def test_a_folder_with_a_checkpoint_names_it(tmp_path: Path) -> None:
    for name, size in {"config.json": 20, "c3d.safetensors": 900, "optimizer.pt": 5}.items():
        (tmp_path / name).write_bytes(bytes(size))
    refuse(tmp_path, "give the checkpoint itself, such as .*/c3d.safetensors$")


@pytest.mark.parametrize("given", ["", ".metadata", "__0_0.distcp"])
def test_a_distributed_checkpoint_is_named_with_the_command_that_joins_it(given: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is one process
        dcp.save({"model": {"conv1.weight": torch.ones(2)}}, checkpoint_id=tmp_path / "dcp")  # pyright: ignore
    refuse(tmp_path / "dcp" / given, "format_utils dcp_to_torch .*/dcp c3d.pth` makes a file of it")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zero_to_fp32.py", r"of DeepSpeed: `python -m deepspeed.utils.zero_to_fp32 '.*/a b' OUT` makes one"),
        ("_CHECKPOINT_METADATA", "of Orbax: restore it"),
    ],
)
def test_a_folder_of_another_framework_is_named(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / name).write_text("#")
    refuse(tmp_path / "a b", message)


MSGPACK = b"\x81\xa6params\x81\xa5conv1\x82\xa4bias\xc7"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c3d.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64, Created on: Mon" + bytes(200), "MATLAB, .* scipy.io.loadmat"),
        ("c3d.bin", b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon" + bytes(200), "MATLAB, .* scipy.io.loadmat"),
        ("c3d.t7", b"\x03\0\0\0\x01\0\0\0\x02\0\0\0" + bytes(40), "Lua Torch, .* torchfile"),
        ("net", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\r\0\0\0nn.Sequential" + bytes(40), "Lua Torch, "),
        ("c3d.msgpack", MSGPACK + bytes(40), "Flax, .* flax.serialization.msgpack_restore"),
        ("c3d.tflite", b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite, "),
        ("frozen.pb", b"\x0a\x08\x0a\x03wc1\x12\x05Const" * 9, "TensorFlow .*its checkpoint is read"),
        ("c3d.pdiparams", bytes(90), "PaddlePaddle .*its .pdparams is read"),
        ("c3d.ckpt", b"\x0a\x28\x0a\x0cconv1.weight\x12\x18\x08\x02\x12\x07Float32\x1a\x08" + bytes(8), "MindSpore, "),
        ("c3d.dnn", b"B\0C\0N\0\0\0" + bytes(40), "CNTK, "),
    ],
)  # fmt: skip
def test_a_checkpoint_of_a_framework_that_is_not_read(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    refuse(tmp_path / name, f"a file of {message}.*numpy.savez")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    refuse(tmp_path / "empty.pth", r"empty \(0 bytes\)")


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "weights.xyz").write_bytes(b"x")
    refuse(tmp_path / "weights.xyz", "unknown checkpoint format '.xyz'; known are .h5, .hdf5, .npz, .npy, .pt2, .pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "h5", "npz", "onnx", "caffemodel", "model", "xyz"])
@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"\n<!DOCTYPE html><html>Not Found</html>", "not a checkpoint but a web page or XML: the download went wrong"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "not a checkpoint but a Git LFS pointer"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it by `7z x .*`"),
    ],
)
def test_what_downloads_leave_instead(suffix: str, content: bytes, reported: str, tmp_path: Path) -> None:
    path = tmp_path / f"c3d.{suffix}"
    path.write_bytes(content * 50)
    refuse(path, reported)


def test_an_openvino_model_is_no_failed_download(tmp_path: Path) -> None:
    refuse(save(tmp_path, MODEL), "an OpenVINO model")


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "h5", "npz", "onnx", "caffemodel", "model", "xyz", "zip"])
def test_text_instead(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"notes.{suffix}"
    path.write_text("Weights of C3D\n" * 50)
    refuse(path, "not a checkpoint but a text file")


def test_another_network(tmp_path: Path) -> None:
    state = {f"encoder.{n}.weight": torch.zeros(64, 64, 3, 3) for n in range(1, 5)}
    torch.save(state, tmp_path / "other.pth")
    refuse(tmp_path / "other.pth", r"not those of any known C3D layout; it has encoder.1.weight \(64, 64, 3, 3\)")


@pytest.mark.parametrize("damage", ["content", "name", "no name"])
def test_a_damaged_zip_is_refused_while_its_checkpoint_is_sought(damage: str, tmp_path: Path) -> None:
    """Members are looked into before one is unpacked, so that damage shows there first."""
    with zipfile.ZipFile(tmp_path / "c3d.zip", "w") as archive:
        archive.writestr("weights", b"\0 some bytes of a member without a suffix")
    data = (tmp_path / "c3d.zip").read_bytes()
    directory = data.index(b"PK\x01\x02")
    if damage == "content":
        data = data.replace(b"some", b"same")
    elif damage == "name":
        data = data[:directory] + data[directory:].replace(b"weights", b"weighty")
    else:  # a name of 0 bytes; the 7 that it has become an extra field
        lengths = directory + 28
        data = data[:lengths] + b"\0\0\x07\0" + data[lengths + 4 :].replace(b"weights", b"\1\0\3\0abc")
    (tmp_path / "c3d.zip").write_bytes(data)
    refuse(tmp_path / "c3d.zip", r"c3d.zip: (the archive is damaged|a zip archive without)")
