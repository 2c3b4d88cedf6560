"""Inputs and outputs behave alike, whether they are local paths or URLs."""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from helpers.server import Site, serve_plainly

from exporter import storage
from exporter.errors import ArtifactError, BadInputError, OutputError, UnavailableError, UsageError
from exporter.remote import files

CLIP = Path(__file__).parents[1] / "data" / "bikes.mp4"


@pytest.fixture(params=["path", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, on the disk or in a bucket."""
    return str(tmp_path / "out") if request.param == "path" else f"memory://{uuid.uuid4().hex}/out"


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server with two videos and a text."""
    content = CLIP.read_bytes()
    site = Site(files={"/clips/b.mp4": content, "/clips/a.mp4": content, "/list.txt": b"clips/a.mp4\n"}, ranges=True)
    with serve_plainly(site):
        yield site


def test_a_file_that_is_written_is_found_and_read(folder: str) -> None:
    location = storage.join(folder, "deep", "a.npy")
    assert not storage.exists(location)
    storage.write_bytes(location, b"first")
    storage.write_bytes(location, b"second")
    assert storage.read_bytes(location) == b"second"
    assert storage.exists(location)
    assert storage.is_folder(storage.join(folder, "deep"))
    assert not storage.is_folder(location)


def test_a_folder_is_listed_by_name_without_hidden_files_and_folders(folder: str) -> None:
    for name in ("b.mp4", "a.mp4", ".hidden", "deep/c.mp4"):
        storage.write_bytes(storage.join(folder, name), b"")
    found = storage.list_files(folder)
    assert found == [storage.join(folder, "a.mp4"), storage.join(folder, "b.mp4")]
    assert storage.glob(storage.join(folder, "*.mp4")) == found
    assert storage.glob(storage.join(folder, "**", "*.mp4")) == [*found, storage.join(folder, "deep/c.mp4")]


def test_an_error_while_writing_leaves_the_earlier_file_alone(folder: str) -> None:
    location = storage.join(folder, "a.bin")
    storage.write_bytes(location, b"whole")
    with pytest.raises(RuntimeError), storage.write_atomic(location) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert storage.read_bytes(location) == b"whole"
    assert storage.list_files(folder) == [location]


def test_a_staged_file_is_published_and_removed(folder: str, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.write_bytes(b"content")
    location = storage.join(folder, "a.bin")
    storage.publish_file(staged, location)
    assert not staged.exists()
    assert storage.read_bytes(location) == b"content"
    storage.remove(location)
    storage.remove(location)
    assert not storage.exists(location)


def test_a_missing_file_is_one_line_of_the_class_asked_for(folder: str) -> None:
    with pytest.raises(ArtifactError, match="no such (file|model)"):
        storage.open_input(storage.join(folder, "none.onnx"), "model", ArtifactError)
    with pytest.raises(BadInputError, match="none"):
        storage.list_files(storage.join(folder, "none"))


def test_file_urls_are_paths(tmp_path: Path) -> None:
    storage.write_bytes(f"file://{tmp_path}/with%20space", b"x")
    assert (tmp_path / "with space").read_bytes() == b"x"
    assert not storage.is_url(f"file://{tmp_path}")
    assert storage.is_url("s3://bucket/a")
    assert not storage.is_url("camera:0")


def test_pyav_decodes_a_video_behind_a_url_and_fetches_ranges(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 1 << 13)
    with av.open(str(CLIP)) as local:
        wanted = [frame.to_ndarray(format="rgb24").tobytes() for frame in local.decode(video=0)]
    with storage.open_input(f"{site.address}/clips/a.mp4") as stream, av.open(stream, "r") as container:
        frames = [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
    assert frames == wanted
    ranges = [ranged for _, ranged in site.asked if ranged]
    assert len(ranges) > 2
    assert len({*ranges}) == len(ranges), "no block is fetched twice"


def test_a_server_without_ranges_serves_seekable_files_too(site: Site) -> None:
    site.ranges = False
    with storage.open_input(f"{site.address}/clips/a.mp4") as stream:
        stream.seek(-5, os.SEEK_END)
        assert stream.read() == CLIP.read_bytes()[-5:]


def test_a_web_folder_is_listed(site: Site) -> None:
    assert storage.is_folder(f"{site.address}/clips/")
    found = storage.list_files(f"{site.address}/clips/")
    assert found == [f"{site.address}/clips/a.mp4", f"{site.address}/clips/b.mp4"]


def test_a_read_survives_a_connection_that_breaks_off(site: Site) -> None:
    site.cuts = [10**9, 1000]  # the first response is to the question for the size
    with storage.open_input(f"{site.address}/list.txt") as stream:
        assert stream.read() == b"clips/a.mp4\n"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "there is no such file"), (403, "access is denied"), (401, "access is denied"), (503, "responds 503")],
)
def test_a_refusal_of_the_server_is_one_line(site: Site, status: int, reason: str) -> None:
    site.status = status
    with pytest.raises(BadInputError, match=reason) as raised:
        storage.open_input(f"{site.address}/clips/a.mp4?token=secret")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInputError, match="localhost:1"):
        storage.open_input("http://localhost:1/a.mp4")


def test_http_is_for_reading_only(site: Site) -> None:
    with pytest.raises(OutputError, match="only reads"):
        storage.write_bytes(f"{site.address}/out.npy", b"")


def test_an_unknown_protocol_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        storage.open_input("nosuch://bucket/a.mp4")


def test_a_missing_library_gives_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UnavailableError, match="pip install s3fs"):
        storage.open_input("s3://bucket/a.mp4")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.delitem(vars(sys.modules["fsspec.registry"])["_registry"], "https", raising=False)
    with pytest.raises(UnavailableError, match="c3d-export\\[remote\\]"):
        storage.open_input("https://localhost/a.mp4")


def test_an_upload_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFile

    def refuse(_file: MemoryFile) -> None:
        raise PermissionError("denied")

    monkeypatch.setattr(MemoryFile, "commit", refuse)
    location = f"memory://{uuid.uuid4().hex}/a.bin"
    with pytest.raises(OutputError, match="access is denied"):
        storage.write_bytes(location, b"content")
    monkeypatch.undo()
    assert not storage.exists(location)


def test_secrets_are_not_displayed() -> None:
    assert storage.display("https://user:pw@Host/a/b.mp4?sig=1") == "https://host/a/b.mp4"
    assert storage.file_name("https://host/a/b%20c.mp4?sig=1") == "b c.mp4"


@pytest.mark.parametrize("url", ["reference::file://{}/*.json", "simplecache::file://{}/*.mp4", "https://[::1]/*.mp4"])
@pytest.mark.parametrize("use", [storage.exists, storage.list_files, storage.glob, storage.read_bytes])
def test_protocols_in_a_chain_are_refused(use: Callable[[str], object], url: str, tmp_path: Path) -> None:
    """`reference::` opens the files that a JSON file names, on this machine or any other."""
    secret, references = tmp_path / "secret", tmp_path / "a.json"
    secret.write_text("a secret")
    references.write_text(json.dumps({"version": 1, "refs": {"a.mp4": [secret.as_uri()]}}))
    with pytest.raises(UsageError, match="'::' in a URL is not supported"):
        use(url.format(tmp_path))
