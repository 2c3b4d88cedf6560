"""`c3d-export layouts` as a user runs it."""

import json
from pathlib import Path

import pytest
from helpers.run import call

from models.checkpoints.layouts import LAYOUTS
from models.class_names import CLASS_LISTS


def test_every_layout_is_listed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("c3d-export", "layouts", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stderr) == (0, "")
    origins, _, lists = done.stdout.partition("\nClass names")
    names = [line.split()[0] for line in origins.splitlines() if line and not line.startswith(" ")]
    assert names == [layout.name for layout in LAYOUTS]
    assert [line.split()[0] for line in lists.splitlines() if line.startswith("    ")] == [
        one.name for one in CLASS_LISTS
    ]


def test_json_says_which_must_be_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = json.loads(call("c3d-export", "layouts", "--json", cwd=tmp_path, capture=capfd).stdout)
    rows = found["layouts"]
    assert {row["name"]: row["classes"] for row in found["class_lists"]} == {
        "sports1m": 487,
        "ucf101": 101,
        "ucf101-sorted": 101,
        "hmdb51": 51,
    }
    needed = {row["layout"]: row["needs_layout"] for row in rows}
    assert needed["caffe"] is False
    assert needed["c3d-keras-tf"] is True
