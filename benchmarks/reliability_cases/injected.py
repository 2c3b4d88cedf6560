"""A process whose system calls fail or kill it, chosen by `strace -e inject`: what was published must be whole.

Source: strace(1), "Tampering". A forked process stops itself, strace attaches, and the process goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ATTACH_SECONDS = 10.0
RUN_SECONDS = 60.0
WRITES = ("write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fallocate", "copy_file_range", "sendfile")
NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir")
CALLS = (*WRITES, *NAMES)
"""System calls that change files or folders."""


def find_strace() -> str | None:
    """Return the path of strace, where it is installed and may trace."""
    found = shutil.which("strace")
    if found is None:
        return None
    probe = subprocess.run([found, "-e", "trace=none", "true"], capture_output=True, check=False)
    return found if probe.returncode == 0 else None


def run_traced(work: Callable[[], int], folder: Path, *options: str) -> int | None:
    """Run work in a forked process under strace; return its exit code, negative for a signal, None where it hangs.

    Args:
        work: returns the exit code. Its stderr goes to `folder/stderr`.
        folder: for logs.
        options: of strace.
    """
    pid = os.fork()
    if not pid:
        _serve(work, folder)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    command = ["strace", "-f", "-qq", "-o", str(folder / "calls"), *options, "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        _wait_until_traced(pid, tracer)
        os.kill(pid, signal.SIGCONT)
        over = time.monotonic() + RUN_SECONDS
        while time.monotonic() < over:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        tracer.kill()
        tracer.communicate()


def count_calls(work: Callable[[], int], folder: Path) -> Counter[str]:
    """Return {system call: how often work makes it}."""
    code = run_traced(work, folder, "-e", f"trace={','.join(CALLS)}")
    assert code == 0, f"exit code {code} without any fault: {(folder / 'stderr').read_text()}"
    return Counter(re.findall(r"^\d+ +(\w+)\(", (folder / "calls").read_text(), re.MULTILINE))


def _wait_until_traced(pid: int, tracer: subprocess.Popen[bytes]) -> None:
    over = time.monotonic() + ATTACH_SECONDS
    while time.monotonic() < over and tracer.poll() is None:
        status = Path(f"/proc/{pid}/status").read_text()
        if not re.search(r"^TracerPid:\s+0$", status, re.MULTILINE):
            return
        time.sleep(0.005)
    raise RuntimeError(f"strace does not attach: {tracer.communicate()[1]!r}")


def _serve(work: Callable[[], int], folder: Path) -> NoReturn:
    error = os.open(folder / "stderr", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(error, descriptor)
    os.kill(os.getpid(), signal.SIGSTOP)
    code = 98
    try:
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 97
    except BaseException:  # noqa: BLE001 - a traceback is a failure of the case
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)
