"""Promises that test files hold by themselves: downloads from a server that misbehaves, trust, signatures, memory."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

from reliability_cases import ROOT
from reliability_cases.base import Progress, Row, Run

SUITES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "no server's answer is taken for a good file, or shows a password, or takes longer than its limit",
        (
            "tests/models/http/test_addresses.py",
            "tests/models/http/test_transfer.py",
            "tests/models/http/test_bodies.py",
            "tests/models/checkpoints/test_download.py",
            "tests/models/checkpoints/test_download_cache.py",
            "tests/models/http/test_client.py",
            "tests/models/checkpoints/test_sources.py",
            "tests/exporter/remote/test_http.py",
            "tests/exporter/test_storage.py",
        ),
    ),
    (
        "code runs only if exactly its bytes are trusted; what was hashed is what is opened",
        (
            "tests/exporter/test_trust.py",
            "tests/exporter/test_file_state.py",
            "tests/exporter/test_signing.py",
            "tests/exporter/artifacts/test_provenance.py",
            "tests/exporter/workflows/test_integrity.py",
        ),
    ),
    (
        "a crash, a hang, a storm of allocations, memory that runs out: one line and an exit code",
        ("tests/exporter/isolation", "tests/exporter/test_memory_errors.py"),
    ),
)
"""(promise, test files)."""
SECONDS = 600


def families(run: Run) -> Iterator[Row]:
    """Yield the rows; in the short form none: the tests run by themselves."""
    for promise, files in SUITES if run.long else ():
        yield _run_suite(promise, files)


def _run_suite(promise: str, files: Sequence[str]) -> Row:
    row = Row(promise, ", ".join(files))
    progress = Progress(row, 1)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    numbers = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    row.count = sum(numbers.values())
    row.outcomes.update(numbers)
    row.failures += re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)
    if done.returncode and not row.failures:
        row.failures.append(f"pytest ended with {done.returncode}: {done.stdout[-200:]!r}")
    return progress.end()
