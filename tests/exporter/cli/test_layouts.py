"""`c3d-export layouts` as a user runs it."""

import json
from pathlib import Path

import pytest
from helpers.run import call

from models.checkpoints.layouts import LAYOUTS


def test_every_layout_is_listed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("c3d-export", "layouts", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.split()[0] for line in done.stdout.splitlines() if line and not line.startswith((" ", "`"))]
    assert names == [layout.name for layout in LAYOUTS]


def test_json_says_which_must_be_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(call("c3d-export", "layouts", "--json", cwd=tmp_path, capture=capfd).stdout)["layouts"]
    needed = {row["layout"]: row["needs_layout"] for row in rows}
    assert needed["caffe"] is False
    assert needed["c3d-keras-tf"] is True
