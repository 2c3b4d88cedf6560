"""Others' work is told apart from our own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.bench import cpu_load
from exporter.bench.cpu_load import Sample, background_load, sample


def test_others_work_is_all_work_less_ours() -> None:
    assert background_load(Sample(100, 10, 0), Sample(130, 22, 12)) == pytest.approx(1.5)
    assert background_load(Sample(100, 10, 0), Sample(110, 22, 12)) == 0
    assert background_load(None, Sample(1, 1, 1)) is None


def test_idle_and_guest_columns_are_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stat").write_text("cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 1\n")
    monkeypatch.setattr(cpu_load, "STAT", tmp_path / "stat")
    found = sample([])
    assert found is not None
    assert found.work * os.sysconf("SC_CLK_TCK") == pytest.approx(1 + 2 + 4 + 8 + 16 + 32)
    monkeypatch.setattr(cpu_load, "STAT", tmp_path / "none")
    assert sample([]) is None


def test_a_process_of_ours_counts_as_ours() -> None:
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(1); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        alone, counted = sample([]), sample([worker.pid])
        worker.communicate(b"\n")
    assert alone is not None
    assert counted is not None
    assert 0.25 < counted.own - alone.own < 5
    assert alone.own <= time.process_time() + 0.1
