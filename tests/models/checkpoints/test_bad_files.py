"""A bad checkpoint is refused in one line that says what and where, and nothing of it ever runs."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import constant_state
from safetensors.torch import save_file

from models import build
from models.errors import CheckpointError
from models.options import BuildOptions


def refuse(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        build(BuildOptions(weights=path, **options))
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A valid torch file whose shapes do not matter, because it is damaged before they are looked at."""
    torch.save({"conv1.weight": torch.arange(50_000, dtype=torch.float32)}, tmp_path / "small.pth")
    return tmp_path / "small.pth"


def test_missing(tmp_path: Path) -> None:
    refuse(tmp_path / "none.pth", "no such checkpoint")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    refuse(tmp_path / "folder.pth", "not a file: .*give the checkpoint itself")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    refuse(tmp_path / "empty.pth", r"empty \(0 bytes\)")


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "weights.xyz").write_bytes(b"x")
    refuse(tmp_path / "weights.xyz", "unknown checkpoint format '.xyz'; known are .h5, .hdf5, .npz, .pth")


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


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "h5", "npz", "onnx", "caffemodel", "model"])
def test_text_instead(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"notes.{suffix}"
    path.write_text("Weights of C3D\n" * 50)
    refuse(path, "not a |damaged or truncated")


@pytest.mark.parametrize("keep", [1, 7, 100, 1000, 0.5, 0.99])
def test_truncated_torch(keep: float, small: Path) -> None:
    content = small.read_bytes()
    small.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    refuse(small, "damaged or truncated|not a valid|not a pickle")


@pytest.mark.parametrize("keep", [4, 20, 0.5, 0.999])
def test_truncated_safetensors(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "c3d.safetensors"
    save_file({"conv1.weight": torch.arange(50_000, dtype=torch.float32)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    refuse(path, "truncated|not a valid safetensors")


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_never_loads_as_other_weights(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "c3d.pth"
    torch.save({"w": torch.arange(1000, dtype=torch.float32)}, path)
    content = bytearray(path.read_bytes())
    position = (seed * 7919 + 13) % (len(content) * 8)
    content[position // 8] ^= 1 << position % 8
    path.write_bytes(content)
    from models.checkpoints.readers import read_file

    try:
        tensors = read_file(path).tensors
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:  # a bit that decides nothing: padding, a time stamp, a name's flag
        assert [tuple(t.shape) for t in tensors.values()] == [(1000,)]
        assert torch.equal(next(iter(tensors.values())), torch.arange(1000, dtype=torch.float32))


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)  # pyright: ignore[reportDeprecated]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("nested", [True, False])
def test_a_pickle_that_only_wants_to_call(protocol: int, nested: bool, tmp_path: Path) -> None:
    content = {"epoch": [1], "extra": Evil(tmp_path / "ran")} if nested else Evil(tmp_path / "ran")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(content, protocol))
    refuse(tmp_path / "evil.pickle", f"but no tensors; it contains {os.name}.system, not executed")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_weight_that_a_foreign_call_would_make(zipped: bool, tmp_path: Path) -> None:
    content = {"state_dict": constant_state() | {"conv2.weight": Evil(tmp_path / "ran")}}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    refuse(tmp_path / "evil.pth", f"state_dict.conv2.weight is made by calling {os.name}.system")
    assert not (tmp_path / "ran").exists()


def test_torchscript_is_never_loaded_as_a_checkpoint(tmp_path: Path) -> None:
    @torch.no_grad()
    def save() -> None:
        module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))  # pyright: ignore
        torch.jit.save(module, str(tmp_path / "script.pt"))  # pyright: ignore

    with pytest.warns(DeprecationWarning, match="torch.jit"):
        save()
    refuse(tmp_path / "script.pt", "TorchScript archive holds code")


def test_two_members_of_one_name(small: Path) -> None:
    with zipfile.ZipFile(small, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("small/data/0", b"x")
    refuse(small, "two members of the archive have the same name")


def test_a_compressed_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10_000_000))
    refuse(tmp_path / "bomb.pth", "is compressed; torch.save stores its members plainly")


def test_no_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "loss": [0.5]}, tmp_path / "log.pth")
    refuse(tmp_path / "log.pth", "holds a dict with the keys epoch, loss, but no tensors")


def test_another_network(tmp_path: Path) -> None:
    state = {f"encoder.{n}.weight": torch.zeros(64, 64, 3, 3) for n in range(1, 5)}
    torch.save(state, tmp_path / "other.pth")
    refuse(tmp_path / "other.pth", r"not those of any known C3D layout; it has encoder.1.weight \(64, 64, 3, 3\)")


def test_missing_and_unexpected_tensors_are_listed(tmp_path: Path) -> None:
    state = constant_state()
    del state["conv3b.bias"], state["fc7.weight"]
    torch.save(state, tmp_path / "part.pth")
    refuse(tmp_path / "part.pth", "2 of 22 tensors are missing: conv3b.bias, fc7.weight")
    torch.save({**constant_state(), "lstm.weight": torch.zeros(1)}, tmp_path / "more.pth")
    refuse(
        tmp_path / "more.pth",
        r"1 tensor does not belong to C3D \(identity layout\): lstm.weight; --ignore lstm.weight leaves it out",
    )


def test_wrong_shapes_are_all_listed(tmp_path: Path) -> None:
    state = constant_state()
    state["fc6.weight"] = torch.zeros(()).expand(4096, 8191)
    state["conv1.weight"] = torch.zeros(64, 3, 7, 7, 7)
    torch.save(state, tmp_path / "wrong.pth")
    refuse(
        tmp_path / "wrong.pth",
        r"2 tensors have another shape: (?=.*fc6.weight is \(4096, 8191\), the network's is \(4096, 8192\))(?=.*conv1)",
    )


def test_integers_are_refused(tmp_path: Path) -> None:
    state = constant_state() | {"conv2.bias": torch.zeros(128, dtype=torch.int64)}
    torch.save(state, tmp_path / "int.pth")
    refuse(tmp_path / "int.pth", "conv2.bias is int64 .*weights must be floats")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_value_that_is_not_finite_is_named_with_its_place(value: str, tmp_path: Path) -> None:
    state = constant_state()
    state["conv4a.weight"] = state["conv4a.weight"].clone()
    state["conv4a.weight"][3, 1, 0, 2, 1] = float(value)
    torch.save(state, tmp_path / "nan.pth")
    refuse(tmp_path / "nan.pth", rf"conv4a.weight holds {value} at \(3, 1, 0, 2, 1\)")


def test_a_float64_beyond_float32_is_not_finite(tmp_path: Path) -> None:
    state = constant_state() | {"fc7.bias": torch.full((4096,), 1e300, dtype=torch.float64)}
    torch.save(state, tmp_path / "wide.pth")
    refuse(tmp_path / "wide.pth", r"fc7.bias holds inf at \(0,\)")


@pytest.mark.parametrize("classes", [100_001, 2 * 10**11])
def test_a_class_count_beyond_belief_is_refused_before_memory_is_given_to_it(classes: int, tmp_path: Path) -> None:
    state = constant_state() | {"fc8.weight": torch.zeros(()).expand(classes, 4096)}
    torch.save(state, tmp_path / "huge.pth")
    refuse(tmp_path / "huge.pth", rf"fc8.weight is \({classes}, 4096\): not a plausible class count")


def test_a_shape_without_values_is_refused(tmp_path: Path) -> None:
    torch.save(constant_state() | {"fc7.bias": torch.zeros(4096, device="meta")}, tmp_path / "meta.pth")
    refuse(tmp_path / "meta.pth", "fc7.bias has a shape but no values")


def test_a_safetensors_name_that_stands_twice(tmp_path: Path) -> None:
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f'{{"conv1.bias":{entry},"conv1.bias":{entry}}}'.encode()
    (tmp_path / "twice.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refuse(tmp_path / "twice.safetensors", "duplicate names in its header: conv1.bias")


def test_a_safetensors_header_larger_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "huge.safetensors").write_bytes((1 << 63).to_bytes(8, "little") + b"{}")
    refuse(tmp_path / "huge.safetensors", "its header claims 9223372036854775808 bytes")
