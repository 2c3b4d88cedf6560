"""Items on worker processes of Ray: order, workers that are killed, errors, and what is left running at the end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from helpers import ray_tasks

from exporter.errors import UnavailableError, UsageError
from exporter.inference import ray_pool
from exporter.inference.ray_pool import Lost, WorkerNeeds, map_on_ray
from exporter.inference.types import RayOptions

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(Path(ray_tasks.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    "RAY_AUTH_MODE": "token",  # a cluster that Ray starts asks for it
}
RUN = """
import signal, sys
from exporter.cli.error_handling import _stop
signal.signal(signal.SIGINT, _stop)
from helpers.ray_tasks import main
main(*sys.argv[1:])
"""
CLUSTER = """
import ray, sys
print(ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)["gcs_address"], flush=True)
sys.stdin.read()
"""


def start(folder: Path, items: str, address: str = "") -> subprocess.Popen[str]:
    """Run the task over items in a process of its own, as the command line does."""
    (folder / "model.bin").write_bytes(b"weights")
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", RUN, str(folder), items, address],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path) -> list[str]:
    """Wait until a file has a line, and return its lines."""
    for _ in range(1200):
        if path.is_file() and (found := path.read_text().split()):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


def test_without_ray_the_install_command_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnavailableError, match=r"pip install 'c3d-export\[ray\]'"):
        next(map_on_ray(ray_tasks.open_task, [1], RayOptions()))


def test_no_items_start_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert list(map_on_ray(ray_tasks.open_task, [], RayOptions())) == []


@pytest.mark.parametrize(
    ("needs", "room"), [(WorkerNeeds(1), 8), (WorkerNeeds(3), 2), (WorkerNeeds(1, 1), 2), (WorkerNeeds(8, 1), 1)]
)
def test_workers_share_the_processors_and_gpus(needs: WorkerNeeds, room: int) -> None:
    assert ray_pool._count_room({"CPU": 8.0, "GPU": 2.0}, needs) == room  # pyright: ignore


def test_a_cluster_that_is_too_small_is_refused_with_the_numbers() -> None:
    with pytest.raises(UsageError, match="needs 9 processors, and the cluster has 8"):
        ray_pool._count_room({"CPU": 8.0}, WorkerNeeds(9))  # pyright: ignore
    with pytest.raises(UsageError, match="needs 1 GPU, and the cluster has 0"):
        ray_pool._count_room({"CPU": 8.0}, WorkerNeeds(1, 1))  # pyright: ignore


@pytest.mark.cluster
def test_a_worker_killed_in_the_middle_loses_nothing_and_the_order_stays(tmp_path: Path) -> None:
    items = [0, 1, ray_tasks.SLOW, 3, ray_tasks.FATAL, 5, 6]
    process = start(tmp_path, ",".join(map(str, items)))
    os.kill(int(wait_for(tmp_path / str(ray_tasks.SLOW))[0]), signal.SIGKILL)
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    expected = [Lost() if item == ray_tasks.FATAL else (item, "weights", 1) for item in items]
    assert out.splitlines() == [str(result) for result in expected]
    assert errors == ""
    tries = {item: len(wait_for(tmp_path / str(item))) for item in items}
    assert tries == {0: 1, 1: 1, ray_tasks.SLOW: 2, 3: 1, ray_tasks.FATAL: ray_pool.ATTEMPTS, 5: 1, 6: 1}


@pytest.mark.cluster
def test_ctrl_c_ends_every_process_that_was_started(tmp_path: Path) -> None:
    process = start(tmp_path, f"{ray_tasks.SLOW},0,1")
    wait_for(tmp_path / str(ray_tasks.SLOW))
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) > 3
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "stopped by SIGINT" in errors
    _, alive = psutil.wait_procs(started, timeout=10)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with two processors that was there before."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env={**ENVIRONMENT, "RAY_USAGE_STATS_ENABLED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address
    yield address
    process.communicate(timeout=60)


@pytest.mark.cluster
def test_a_cluster_that_was_there_before_is_used_and_left_running(cluster: str, tmp_path: Path) -> None:
    for run in ("first", "second"):
        folder = tmp_path / run
        folder.mkdir()
        process = start(folder, "0,1,3", cluster)
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        assert out.splitlines() == [str((item, "weights", 1)) for item in (0, 1, 3)]


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("item", "message"), [(ray_tasks.BAD, "VideoError: item 91 is bad"), (ray_tasks.BUG, "KeyError: 'item 92'")]
)
def test_an_exception_of_the_task_is_raised_where_the_results_are_read(
    cluster: str, tmp_path: Path, item: int, message: str
) -> None:
    process = start(tmp_path, f"0,{item},3", cluster)
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert out.splitlines() == [str((0, "weights", 1))]
    assert message in errors
    assert len(wait_for(tmp_path / str(item))) == 1, "it is not tried again"
