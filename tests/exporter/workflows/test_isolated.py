"""A function in a process of its own returns and raises what it does here, and cannot take this process with it."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.isolated_calls import crash, fail, fail_oddly, fill, hang, leave_stage, square, token

import exporter
from exporter.errors import ArtifactError, BadInputError, CheckFailedError, LimitError, UsageError, VideoError


def test_the_result_comes_from_another_process() -> None:
    result, pid = exporter.run_isolated(square, 3, offset=1)
    assert result == 10
    assert pid != os.getpid()


def test_errors_keep_their_class() -> None:
    with pytest.raises(ArtifactError, match="^m: bad$"):
        exporter.run_isolated(fail, ArtifactError, "m: bad")
    with pytest.raises(ZeroDivisionError, match="^zero") as raised:
        exporter.run_isolated(fail, ZeroDivisionError, "zero")
    assert "in fail" in raised.value.__notes__[0]
    with pytest.raises(CheckFailedError, match="^1 and 2$"):  # one that cannot be made again from its text
        exporter.run_isolated(fail_oddly)


def test_crashes_hangs_and_storms_end_there() -> None:
    before = threading.active_count()
    with ThreadPoolExecutor(5) as pool:
        crashed = pool.submit(exporter.run_isolated, crash, Path("m.x"), signal.SIGSEGV)
        late = pool.submit(exporter.run_isolated, hang, Path("m.x"), timeout=2.0)
        call_late = pool.submit(exporter.run_isolated, hang, Path("m.x"), 0.3)
        full = pool.submit(exporter.run_isolated, fill, Path("m.x"), max_memory=400_000_000)
    with pytest.raises(BadInputError, match=r"^m\.x: libx crashed on it \(SIGSEGV\)"):
        crashed.result()
    with pytest.raises(LimitError, match="still at work after 2 s"):
        late.result()
    with pytest.raises(LimitError, match=r"^m\.x: libx was still at work after 0\.3 s"):
        call_late.result()
    with pytest.raises(LimitError, match=r"^m\.x: libx took more than 400 MB of memory"):
        full.result()
    assert threading.active_count() <= before


def test_what_the_process_has_staged_is_removed(tmp_path: Path) -> None:
    assert exporter.run_isolated(leave_stage, tmp_path) == 1
    assert [*tmp_path.iterdir()] == []


def test_what_cannot_be_sent_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="run_isolated"):
        exporter.run_isolated(lambda: 1)


def test_no_secret_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a")
    assert exporter.run_isolated(token) is None
    assert os.environ["HF_TOKEN"] == "a"


@pytest.mark.heavy  # it imports torch once more
def test_a_verb_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises((BadInputError, VideoError), match=r"v\.mp4"):
        exporter.run_isolated(exporter.inspect, tmp_path / "v.mp4", timeout=60)
