"""What pages need is asked for early, and what is written is whole."""

import os
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.reports import report

from exporter.cli.verify import verify_command, write_files
from exporter.errors import ArtifactError, OutputError, UnavailableError
from exporter.output_targets import check_output_file
from exporter.reports.html import require_page, write_page


@pytest.mark.parametrize("library", ["jinja2", "matplotlib", "PIL"])
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str
) -> None:
    import_module("matplotlib")  # a first import that fails halfway, without PIL, would break every later one
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UnavailableError, match=rf"--html needs .*{library} .*pip install 'c3d-export\[report\]'"):
        require_page(tmp_path / "page.html")


def test_libraries_are_checked_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    reported = CliRunner().invoke(
        verify_command, ["parity", str(tmp_path / "none.onnx"), "--html", str(tmp_path / "page.html")]
    )
    assert isinstance(reported.exception, UnavailableError)  # not the artifact that is not there


@pytest.mark.parametrize("option", ["--html", "--junit", "--save-baseline"])
def test_paths_are_checked_before_anything_runs(tmp_path: Path, option: str) -> None:
    reported = CliRunner().invoke(
        verify_command, ["parity", str(tmp_path / "none.onnx"), option, str(tmp_path / "no" / "file")]
    )
    assert isinstance(reported.exception, OutputError)
    assert (
        str(reported.exception) == f"{option} {tmp_path}/no/file: cannot be written: there is no folder {tmp_path}/no"
    )


def test_output_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_output_file(tmp_path / "new", "--html")
    (tmp_path / "old").touch()
    check_output_file(tmp_path / "old", "--html")
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match="it is a folder"):
        check_output_file(tmp_path, "--html")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutputError, match="no permission"):
        check_output_file(tmp_path / "new", "--html")


def test_the_command_writes_the_page_of_a_failed_check_too(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert write_files((report(budget_used=2.0),), html=page) == 0
    assert "c3d.onnx does not return what the network returns" in page.read_text("utf-8")


def test_a_page_names_the_artifacts_that_were_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert write_files((report(),), [ArtifactError("other.pt: is code")], html=page) == 0
    text = page.read_text("utf-8")
    for said in ("1 of 2 artifacts failed", "other.pt: is code", "c3d.onnx returns what the network returns"):
        assert said in text


def test_a_page_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(path, lambda: "first ✓")
    assert path.read_text("utf-8") == "first ✓"
    with pytest.raises(ZeroDivisionError):
        write_page(path, lambda: str(1 / 0))
    assert path.read_text("utf-8") == "first ✓"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"--html .*folder: cannot be written: Is a directory"):
        write_page(tmp_path / "folder", lambda: "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "page.html"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_page(path, lambda: "page")
    assert os.read(reader, 10) == b"page"
    os.close(reader)
