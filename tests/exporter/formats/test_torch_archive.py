"""A file is looked into for the members that say which archive of torch it is."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

from exporter.errors import ArtifactError
from exporter.formats.torch_archive import has_member
from exporter.workflows.integrity import verify_integrity
from exporter.workflows.targets import find_artifacts


def test_a_member_is_found_by_the_end_of_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"")
    assert has_member(tmp_path / "m.pt", "/constants.pkl", "/data.pkl")
    assert not has_member(tmp_path / "m.pt", "/constants.pkl")
    (tmp_path / "text.pt").write_text("no archive")
    for path in (tmp_path / "text.pt", tmp_path, tmp_path / "none.pt"):
        assert not has_member(path, "/data.pkl")


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.timeout(30)
def test_a_pipe_that_nothing_is_written_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.pt")
    (report,) = verify_integrity([tmp_path / "m.pt"])
    assert not report.passed
    with pytest.raises(ArtifactError, match="no artifacts in"):
        find_artifacts(tmp_path, missing=True)
