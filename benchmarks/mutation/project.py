"""A copy of the project, whose tests run in a process that is forked from this one."""

from __future__ import annotations

import compileall
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from mutation.modules import TESTS

ROOT = Path(__file__).parents[2]
SLOW = ("nothing_is_imported", "memory_is_bounded")
"""Parts of the names of tests that are left out."""


class Project:
    """A copy of the project, in which one module at a time is changed."""

    def __init__(self, into: Path) -> None:
        self.folder = into / "copy"
        if self.folder.exists():
            shutil.rmtree(self.folder)
        left_out = shutil.ignore_patterns(".git", "__pycache__", "*.egg-info", "artifacts-*", "results")
        shutil.copytree(ROOT, self.folder, ignore=left_out)
        for part in ("exporter", "models", "tests"):
            compileall.compile_dir(self.folder / part, quiet=2)

    def test(self, module: str, source: str, seconds: float) -> str:
        """Return `killed`, `timeout` or `survived` for a module with this source."""
        path = self.folder / module
        original = path.read_text()
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
        path.write_text(source)
        try:
            return self._run(module, seconds)
        finally:
            path.write_text(original)
            for left in psutil.Process().children(recursive=True):
                left.kill()
                left.wait()

    def _run(self, module: str, seconds: float) -> str:
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            self._serve(TESTS[module])
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
            time.sleep(0.05)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "timeout"

    def _serve(self, tests: Sequence[str]) -> None:
        import pytest

        os.setpgid(0, 0)
        os.chdir(self.folder)
        sys.dont_write_bytecode = True
        support = str(self.folder / "tests" / "support")
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{self.folder}:{support}"}
        sys.path[:0] = [str(self.folder), support]
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        temporary = self.folder.parent / "temporary"
        options = [
            "-x",
            "-q",
            "-n0",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            f"--basetemp={temporary}",
            "--hypothesis-seed=0",
        ]
        options += ["-k", f"not ({' or '.join(SLOW)})"]
        os._exit(int(pytest.main([*options, *tests])))


def preload() -> None:
    """Import the libraries that the tests use, and nothing of this project, or that starts threads."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what a killed test has started is found and ended
    for name in (
        "torch",
        "numpy",
        "onnx",
        "onnxruntime",
        "h5py",
        "safetensors",
        "hypothesis",
        "click",
        "rich",
        "msgspec",
    ):
        __import__(name)
