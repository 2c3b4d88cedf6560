"""A server for the tests of downloads."""

from pathlib import Path

import pytest
from helpers.downloads import CONTENT
from helpers.scripted_server import Script, response


@pytest.fixture
def server(running: tuple[Script, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    script, trusted = running
    script.replies, script.requests = [response(CONTENT)], []
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return script
