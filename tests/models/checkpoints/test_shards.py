"""Hugging Face's checkpoints in shards, as its own library writes them, are read whole or refused by name."""

import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.loaded import load_tensors
from helpers.run import call
from helpers.small_files import refuse
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file

from models import build
from models.checkpoints.reading import read_raw
from models.checkpoints.shards import MAX_SHARDS
from models.errors import CheckpointError, UsageError
from models.options import BuildOptions

STATE = narrow_state()
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five shards and their index."""
    (tmp_path / "c3d").mkdir()
    save_torch_state_dict(STATE, tmp_path / "c3d", max_shard_size=20_000)
    assert len(list((tmp_path / "c3d").iterdir())) == 6
    return tmp_path / "c3d"


def rewrite(index: Path, change: Callable[[dict[str, str]], object]) -> None:
    content = json.loads(index.read_bytes())
    change(content["weight_map"])
    index.write_text(json.dumps(content))


@pytest.mark.parametrize("given", [INDEX, "model-00003-of-00005.safetensors", ""])
def test_every_part_leads_to_the_whole(given: str, folder: Path) -> None:
    network = build(BuildOptions(weights=folder / given)).network
    assert all(torch.equal(network.state_dict()[name], value) for name, value in STATE.items())
    file, raw = read_raw(folder / given)
    assert (file.path, raw.container) == (folder / INDEX, "safetensors, 5 shards")
    assert raw.size == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.filterwarnings("ignore")  # the library advises against pickles
def test_shards_of_torch_save(tmp_path: Path) -> None:
    save_torch_state_dict(STATE, tmp_path, max_shard_size=20_000, safe_serialization=False)
    found = load_tensors(read_raw(tmp_path / "pytorch_model.bin.index.json")[1])
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


def test_the_hash_is_of_all_files(folder: Path) -> None:
    before = read_raw(folder)[1].sha256
    shard = folder / "model-00005-of-00005.safetensors"
    save_file({name: value + 1 for name, value in load_file(shard).items()}, shard)
    assert read_raw(folder)[1].sha256 != before


def test_inspect_and_convert(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("c3d-export", "inspect", "c3d", cwd=folder.parent, capture=capfd)
    assert done.returncode == 0
    assert "yes: 22 of 22 tensors, 5 classes" in done.stdout
    done = call("c3d-export", "convert", "c3d", "-o", "out.safetensors", cwd=folder.parent, capture=capfd)
    assert done.returncode == 0
    found = load_file(folder.parent / "out.safetensors")
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


def test_a_missing_shard_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "model-00004-of-00005.safetensors").unlink()
    done = call("c3d-export", "inspect", "c3d", cwd=folder.parent, capture=capfd)
    assert done.returncode == 3
    assert f"c3d/{INDEX}: its shard model-00004-of-00005.safetensors is not beside it" in done.stderr


def test_an_archive_of_the_folder(folder: Path) -> None:
    with tarfile.open(folder.with_suffix(".tar"), "w") as archive:
        archive.add(folder, "c3d")
    assert load_tensors(read_raw(folder.with_suffix(".tar"))[1]).keys() == STATE.keys()


def test_an_archive_of_the_folder_by_macos(folder: Path) -> None:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"c3d/{path.name}")
        archive.writestr(f"__MACOSX/c3d/._{INDEX}", b"\0\5\x16\7" + bytes(80))
    assert load_tensors(read_raw(folder.with_suffix(".zip"))[1]).keys() == STATE.keys()


def test_another_file_with_an_indexs_suffix(tmp_path: Path) -> None:
    """In an archive or a folder with a checkpoint."""
    (tmp_path / "c3d").mkdir()
    (tmp_path / "c3d" / "labels.index.json").write_text('{"0": "run"}')
    save_file(STATE, tmp_path / "c3d" / "c3d.safetensors")
    with tarfile.open(tmp_path / "c3d.tar", "w") as archive:
        archive.add(tmp_path / "c3d", "c3d")
    assert load_tensors(read_raw(tmp_path / "c3d.tar")[1]).keys() == STATE.keys()
    refuse(tmp_path / "c3d", "give the checkpoint itself, such as .*c3d.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda places: places.update({"fc9.weight": places["fc8.weight"]}), "for fc9.weight, which that file does not"),
        (lambda places: places.update({"fc8.weight": places["conv1.weight"]}), "for fc8.weight, which that file does"),
        (lambda places: places.update({"fc8.weight": "../../c3d.safetensors"}), "is no file of the index's own folder"),
        (lambda places: places.update({"fc8.weight": "/etc/passwd"}), "is no file of the index's own folder"),
        (lambda places: places.update({str(n): str(n) for n in range(MAX_SHARDS)}), f"more than {MAX_SHARDS}"),
        (lambda places: places.update({str(n): "a" for n in range(10_000)}), "an index of 10022 tensors"),
        (lambda places: places.update({"w": "a" * 300}), "is no file of the index's own folder"),
        (lambda places: places.update({"w" * 300: "a"}), "a tensor's name of 300 characters"),
        (lambda places: places.clear(), "an index of 0 tensors"),
    ],
)  # fmt: skip
def test_an_index_that_does_not_agree(change: Callable[[dict[str, str]], object], message: str, folder: Path) -> None:
    rewrite(folder / INDEX, change)
    refuse(folder / INDEX, message)


def test_a_tensor_in_two_shards(folder: Path) -> None:
    shards = [folder / f"model-0000{number}-of-00005.safetensors" for number in (1, 5)]
    save_file(load_file(shards[1]) | {"conv1.bias": STATE["conv1.bias"]}, shards[1])
    refuse(folder / INDEX, f"conv1.bias is in two of its shards, {shards[0].name} and {shards[1].name}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"weight_map": ["a"]}', "not an index of shards: Expected `object`"),
        (b'{"weight_map": {"a": 1}}', "not an index of shards: Expected `str`"),
        (b'{"weight_map": ' + b'{"a":' * 100_000, "not an index of shards"),
        (b'{"weight_map": {"\xff": "a"}}', "not an index of shards"),
        (b'{"weight_map": {"a": "b"}}' + b" " * (4 << 20), "more than 10000 tensors take"),
    ],
)
def test_what_is_no_index(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(content)
    refuse(tmp_path / INDEX, message)


def test_a_shard_of_another_format(folder: Path) -> None:
    (folder / "model-00002-of-00005.safetensors").write_bytes(b"version https://git-lfs")
    refuse(folder / INDEX, "model-00002-of-00005.safetensors: neither a safetensors file nor one of torch.save")


def test_links_are_followed_in_a_cache_of_the_hub_only(folder: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    shutil.move(folder, blobs)
    for blob in list(blobs.iterdir()):
        (snapshot / blob.name).symlink_to(blob.rename(blobs / blob.name.replace("model", "blob")))
    assert read_raw(snapshot)[1].tensors.keys() == STATE.keys()
    index = (snapshot / INDEX).read_bytes()
    (snapshot / INDEX).unlink()
    (snapshot / INDEX).write_bytes(index)  # a file: its neighbours may not be links elsewhere
    refuse(snapshot / INDEX, "its shard model-00001-of-00005.safetensors is not beside it")


def test_several_in_a_folder(folder: Path) -> None:
    shutil.copy(folder / INDEX, folder / "ema.safetensors.index.json")
    assert read_raw(folder)[0].path == folder / INDEX  # the usual one
    (folder / INDEX).rename(folder / "other.safetensors.index.json")
    with pytest.raises(CheckpointError, match="2 checkpoints in shards; give one of ema.safetensors.index.json, other"):
        read_raw(folder)


def test_no_shards_over_https() -> None:
    with pytest.raises(UsageError, match="a checkpoint in shards is fetched from hf:// only"):
        read_raw(f"https://example.org/{INDEX}?download=true")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_with_one_file_of_a_usual_name(name: str, tmp_path: Path) -> None:
    """Accelerate keeps the optimizer, which is larger, beside it."""
    save_file(STATE, tmp_path / name) if name.endswith("safetensors") else torch.save(STATE, tmp_path / name)
    (tmp_path / "optimizer.bin").write_bytes(bytes(500_000))
    assert read_raw(tmp_path)[0].path == tmp_path / name
