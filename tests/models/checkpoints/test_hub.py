"""Files of the Hub: through its library, with one line for each of its refusals, and never its token."""

import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers.run import python

from models.checkpoints.sources import resolve
from models.errors import CheckpointError, UnavailableError, UsageError
from models.progress import no_progress

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SHARD = safetensors.numpy.save({"w": np.arange(3, dtype=np.float32)})
FILES = {
    "weights/c3d.pth": CONTENT,
    "weights/model.safetensors.index.json": json.dumps({"weight_map": {"w": "model-1.safetensors"}}).encode(),
    "weights/model-1.safetensors": SHARD,
    "weights/bad.safetensors.index.json": json.dumps({"weight_map": {"w": "../model-1.safetensors"}}).encode(),
    "weights/short.safetensors.index.json": json.dumps({"weight_map": {"w": "none.safetensors"}}).encode(),
}
TOKEN = "hf_abcdefghijklmnop"


@pytest.mark.parametrize(
    "address",
    [
        "hf://owner",
        "hf://owner/repo/../x",
        "hf://owner/repo/a/../../x",
        "hf://user:s3cret@owner/repo/c3d.pth",
        "hf://owner/repo/c3d.pth?token=s3cret",
    ],
)
def test_another_form_of_address(address: str) -> None:
    with pytest.raises(UsageError, match="give hf://owner/repo") as caught:
        resolve(address, no_progress)
    assert "s3cret" not in str(caught.value)


def test_the_hub_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnavailableError, match=r"needs huggingface_hub; pip install 'c3d-export\[hub\]'"):
        resolve("hf://owner/repo/c3d.pth", no_progress)


def test_a_failure_of_its_library_is_one_line_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> str:
        raise RuntimeError(f"\n peer closed the connection of Bearer {TOKEN}\nsecond line")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(CheckpointError) as caught:
        resolve("hf://owner/repo/c3d.pth", no_progress)
    expected = "hf://owner/repo/c3d.pth: the download failed: peer closed the connection of Bearer hf_…"
    assert str(caught.value) == expected


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as one file takes, and its refusals."""

    commit = "a" * 40
    refusals = {  # noqa: RUF012 - a table
        "/owner/gated/": (403, "GatedRepo"),
        "/owner/private/": (401, "RepoNotFound"),
        "/owner/repo/resolve/v9/": (404, "RevisionNotFound"),
    }

    def do_HEAD(self) -> None:
        self.reply_to(body=False)

    def do_GET(self) -> None:
        self.reply_to(body=True)

    def reply_to(self, *, body: bool) -> None:
        refused = next((reply for path, reply in self.refusals.items() if self.path.startswith(path)), None)
        if refused is not None:
            self.send_response(refused[0])
            self.send_header("X-Error-Code", refused[1])
            self.send_header("X-Error-Message", f"no access\x1b[2J with {TOKEN}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        found = re.fullmatch(rf"/owner/repo/resolve/(main|v1|{self.commit})/(.*)", self.path)
        known = found is not None and found[2] in FILES
        content = FILES[found[2]] if found is not None and known else b""
        sha256 = hashlib.sha256(content).hexdigest()
        self.send_response(200 if known else 404)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("X-Linked-Etag", f'"{sha256}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("ETag", f'"{sha256}"')
        if not known:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and known:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""


SHARDS = "hf://owner/repo/weights/model.safetensors.index.json@v1"

ASK = """
import sys
from models.checkpoints.sources import resolve
from models.checkpoints.reading import read_raw
from models.errors import C3DExportError
for address in sys.argv[1:]:
    try:
        found = resolve(address, lambda step: None)
        tensors = list(read_raw(address)[1].tensors) if "index.json" in address else []
        print(found.path, found.url, found.sha256, *tensors)
    except C3DExportError as error:
        print(type(error).__name__, error)
"""


def test_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name, value in {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": TOKEN,
    }.items():
        monkeypatch.setenv(name, value)
    addresses = {
        "hf://owner/repo/none.pth": "the repository has no file none.pth",
        "hf://owner/repo/weights/c3d.pth@v9": "the repository has no revision v9",
        "hf://owner/gated/c3d.pth": "the repository is gated; accept its terms on the Hub, and log in with",
        "hf://owner/repo/weights/bad.safetensors.index.json": "its shard '../model-1.safetensors' is no file of",
        "hf://owner/repo/weights/short.safetensors.index.json": "the repository has no file weights/none.safetensors",
        "hf://owner/private/c3d.pth": "no such repository; if it is private, log in with",
    }
    try:
        fetched = python(ASK, "hf://owner/repo/weights/c3d.pth@v1", SHARDS, *addresses, cwd=tmp_path)
        assert fetched.stderr == ""
        found, sharded, *refused = fetched.stdout.splitlines()  # one line each
        assert sharded.split(" ")[1:] == [SHARDS.replace("@v1", f"@{Hub.commit}"), "None", "w"]
        path, url, sha256 = found.split(" ")
        assert Path(path).read_bytes() == CONTENT
        assert (url, sha256) == (f"hf://owner/repo/weights/c3d.pth@{Hub.commit}", SHA256)
        for line, (address, reason) in zip(refused, addresses.items(), strict=True):
            assert line.startswith(f"CheckpointError {address}: {reason}")
            assert TOKEN not in line
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    other = "hf://owner/repo/weights/other.pth"
    offline = python(ASK, "hf://owner/repo/weights/c3d.pth@v1", SHARDS, other, cwd=tmp_path)
    assert offline.stdout.splitlines()[:2] == [found, sharded]
    assert "not in the cache" in offline.stdout.splitlines()[2]
