"""A folder takes the place of another one; a reader finds the old one or the new one."""

import signal
import sys
from pathlib import Path

import pytest
from helpers.run import python

from exporter.artifacts.folders import replace_folder, restore_folders
from exporter.artifacts.store import staging
from exporter.errors import OutputError


def make_folder(path: Path, content: str) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(content)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for content in ("a", "b"):
        with staging(tmp_path) as stage:
            replace_folder(make_folder(stage / "model", content), tmp_path / "model")
        assert (tmp_path / "model" / "inner" / "file").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


REPLACED = """
import os, signal
from pathlib import Path
from exporter.artifacts.folders import replace_folder, restore_folders

def make(path, content):
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(content)
    return path

for number in range(1, 60):
    run = Path(f"run{number}")
    make(run / "model", "a")
    new = make(run / "stage" / "model", "b")
    child = os.fork()
    if child == 0:
        calls = []
        def deadly(name):
            real = getattr(os, name)
            def call(*args, **kwargs):
                calls.append(name)
                if len(calls) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)
            setattr(os, name, call)
        for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
            deadly(name)
        replace_folder(new, run / "model")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    restore_folders(run)
    left = sorted(path.name for path in run.iterdir())
    print(code, (run / "model" / "inner" / "file").read_text(), left == ["model", "stage"])
    if code == 0:
        break
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_kill_while_a_folder_is_replaced_leaves_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    done = python(REPLACED, cwd=tmp_path)
    assert done.stderr == ""
    runs = [line.split() for line in done.stdout.splitlines()]
    assert [code for code, _, _ in runs] == [f"-{signal.SIGKILL:d}"] * (len(runs) - 1) + ["0"]
    assert {content for _, content, _ in runs} == {"a", "b"}
    assert {whole for _, _, whole in runs} == {"True"}
    assert len(runs) > 5


def test_a_folder_that_cannot_be_published_leaves_the_old_one(tmp_path: Path) -> None:
    make_folder(tmp_path / "model", "a")
    with pytest.raises(OutputError):
        replace_folder(tmp_path / "nothing", tmp_path / "model")
    assert (tmp_path / "model" / "inner" / "file").read_text() == "a"
    restore_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
