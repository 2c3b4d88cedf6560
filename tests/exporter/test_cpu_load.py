"""The CPU load of other programs, without that of this process."""

import subprocess
import sys
import time

import psutil
import pytest

from exporter import cpu_load
from exporter.cpu_load import Sample, background_load, sample


def test_background_load_is_all_work_less_ours() -> None:
    assert background_load(Sample(100, 10, 0), Sample(130, 22, 12)) == pytest.approx(1.5)
    assert background_load(Sample(100, 10, 0), Sample(110, 22, 12)) == 0
    assert background_load(None, Sample(1, 1, 1)) is None


@pytest.mark.parametrize(("work", "busy"), [(8.1, True), (7.9, False)])
def test_a_machine_is_busy_where_others_use_a_fifth_of_the_cores_that_are_ours(
    work: float, busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [Sample(100, 10, 0), Sample(101 + work, 11, 10), None, Sample(1, 1, 1)]
    waited: list[float] = []
    monkeypatch.setattr(cpu_load, "sample", lambda _processes: moments.pop(0))
    monkeypatch.setattr(cpu_load, "available_cpus", lambda: 4)
    monkeypatch.setattr("exporter.cpu_load.time.sleep", waited.append)
    assert cpu_load.is_busy(0.3) is busy
    assert not cpu_load.is_busy()  # it is not known
    assert waited == [0.3, 0.2]


def test_idle_time_and_what_is_counted_twice_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    times = psutil.cpu_times()
    names = ("idle", "iowait", "guest", "guest_nice")
    monkeypatch.setattr(psutil, "cpu_times", lambda: times._replace(**{n: 1e6 for n in names if hasattr(times, n)}))
    found = sample([])
    assert found is not None
    assert found.work < 1e6 * 4


def test_a_process_that_has_ended_gives_no_sample() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert sample([process.pid]) is None


def test_a_process_of_ours_counts_as_ours() -> None:
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(1); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        without, counted = sample([]), sample([worker.pid])
        worker.communicate(b"\n")
    assert without is not None
    assert counted is not None
    assert 0.25 < counted.own - without.own < 5
    assert without.own <= time.process_time() + 0.1
