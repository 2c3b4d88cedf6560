"""Whatever a library does, the tool ends: by one line, an exit code, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.hostile_files import division_overflow, endless_loop
from helpers.supervised import ends, script, start, supervised

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


CALL = "with worker.native_call('libx', 'm.x'): "
ENDS: dict[str, tuple[str, int, str]] = {
    "by itself": ("worker.finish(); sys.exit(7)", 7, ""),
    "by itself while a limit is reached": (
        "worker.set_timeout(0.3); worker.finish(); time.sleep(0.6); sys.exit(7)",
        7,
        "",
    ),
    **{
        f"a crash by {number.name}": (
            f"{CALL}os.kill(os.getpid(), {number.value})",
            3,
            f"Error: m.x: libx crashed on it ({number.name})\n",
        )
        for number in (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT)
    },
    "a crash at a step of the inner call": (
        "with worker.native_call('outer', 'm.x'), worker.native_call('inner', 'm.x'):\n"
        "    worker.at_step(b'conv1 (Conv)'); os.abort()",
        3,
        "Error: m.x: inner crashed on it at conv1 (Conv) (SIGABRT)\n",
    ),
    "a crash after the inner call": (
        "with worker.native_call('outer', 'm.x'):\n"
        "    with worker.native_call('inner', 'n.x'): worker.at_step(b'conv1')\n"
        "    os.abort()",
        3,
        "Error: m.x: outer crashed on it (SIGABRT)\n",
    ),
    "a crash outside of libraries": ("os.abort()", 70, "Error: this is a bug in c3d-export: "),
    "a mapped file that is cut off": (
        "import mmap\n"
        "with open('f', 'w+b') as file:\n"
        "    file.truncate(1 << 20); data = mmap.mmap(file.fileno(), 0); file.truncate(0); data[1 << 19]",
        3,
        "Error: a file was cut off while it was read (SIGBUS)",
    ),
    "a kill from outside": (
        f"{CALL}os.kill(os.getpid(), signal.SIGKILL)",
        5,
        "Error: m.x: libx was killed, most likely because the system has no memory left",
    ),
    "a signal from outside": (
        f"{CALL}os.kill(os.getpid(), signal.SIGUSR1)",
        138,
        "stopped by SIGUSR1; no incomplete files are left\n",
    ),
    "a signal without a name": (
        "os.kill(os.getpid(), signal.SIGRTMIN + 1)",
        128 + signal.SIGRTMIN + 1,
        f"stopped by signal {signal.SIGRTMIN + 1}; ",
    ),
    "the system's limit of processor time": (
        f"{CALL}os.kill(os.getpid(), signal.SIGXCPU)",
        5,
        "Error: m.x: libx was still at work after 0 s of processor time (ulimit -t)\n",
    ),
    "a hang to the limit of the command": (
        f"worker.set_timeout(0.4)\n{CALL}hang()",
        5,
        "Error: m.x: libx was still at work after 0.4 s (--timeout); ",
    ),
    "a hang to the limit of a call": (
        "with worker.native_call('outer', 'm.x'), worker.native_call('libx', 'm.x', 0.4):\n"
        "    with worker.native_call('inner', 'm.x'): hang()",
        5,
        "Error: m.x: libx was still at work after 0.4 s (the default limit of one call)",
    ),
    "no limit of a call where the command has none": (
        "worker.set_timeout(0)\nwith worker.native_call('libx', 'm.x', 0.1): time.sleep(0.7)",
        0,
        "",
    ),
    "a storm of allocations": (
        f"worker.set_max_memory(300_000_000)\nkept = []\n{CALL}\n"
        "    while len(kept) < 500: kept.append(b'x' * 10_000_000); time.sleep(0.01)",
        5,
        "Error: m.x: libx took more than 300 MB of memory (--max-memory); ",
    ),
    "a storm in a process that it started": (
        "worker.set_max_memory(300_000_000)\n"
        "subprocess.run([sys.executable, '-c', 'import time; kept = bytes(1) * 400_000_000; time.sleep(50)'])",
        5,
        "Error: the command took more than 300 MB of memory (--max-memory); ",
    ),
}
"""{how a worker ends: (what it does, exit code, what stderr begins with)}."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """How each of `ENDS` ended; they run at a time, because most of them wait."""

    def run(case: str) -> subprocess.CompletedProcess[str]:
        return supervised(ENDS[case][0], tmp_path_factory.mktemp("worker"))

    with ThreadPoolExecutor(5) as pool:
        return dict(zip(ENDS, pool.map(run, ENDS), strict=True))


@pytest.mark.parametrize("case", ENDS)
def test_the_end_of_a_worker_is_an_exit_code_and_at_most_one_line(
    case: str, ended: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    _, code, message = ENDS[case]
    done = ended[case]
    assert done.returncode == code
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == bool(message)


def test_what_the_parent_leaves_open_or_ignores_is_no_trouble(tmp_path: Path) -> None:
    parent = """
import os, resource, signal
resource.setrlimit(resource.RLIMIT_NOFILE, (1200, 1200))
for _ in range(1100): os.dup(2)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
"""
    body = "time.sleep(0.4); print(subprocess.run(['false']).returncode)"
    done = subprocess.run(
        [sys.executable, "-c", parent + script(body)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_crash_with_json_is_one_object_on_stdout(tmp_path: Path) -> None:
    done = supervised(f"worker.begin(as_json=True)\n{CALL}os.kill(os.getpid(), signal.SIGSEGV)", tmp_path)
    assert json.loads(done.stdout)["error"] == {
        "kind": "BadInputError",
        "message": "m.x: libx crashed on it (SIGSEGV)",
        "exit_code": 3,
    }


def test_a_signal_ends_a_hanging_library_and_what_it_started(tmp_path: Path) -> None:
    body = """
    child = subprocess.Popen(['sleep', '60'], start_new_session=True)
    print(child.pid, flush=True)
    with worker.native_call('libx', 'm.x'):
        hang()
    """
    started = {number: start(body, tmp_path) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, process in started.items():
        assert process.stdout is not None
        child, worker = int(process.stdout.readline()), int(process.stdout.readline().split()[1])
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 128 + number
        assert err == f"stopped by {number.name}; no incomplete files are left\n"
        assert ends(worker, 0)
        assert ends(child, 0)


def test_under_nohup_the_end_of_the_terminal_is_ignored(tmp_path: Path) -> None:
    body = "print('started', flush=True); time.sleep(0.6); print('done')"
    with start(body, tmp_path, ignored=(int(signal.SIGHUP),)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "done\n")


def test_a_process_that_the_worker_leaves_behind_is_ended(tmp_path: Path) -> None:
    done = supervised("print(subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=-3).pid)", tmp_path)
    assert done.returncode == 0
    assert ends(int(done.stdout), 0)


def test_the_worker_ends_with_its_supervisor(tmp_path: Path) -> None:
    with start("hang()", tmp_path) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline().split()[1])
        process.kill()
    assert ends(worker)


@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "worker.set_timeout(0.4); hang()",
        "worker.finish(); os._exit(5)",  # no memory left for more
    ],
)
def test_no_staging_folder_is_left(end: str, tmp_path: Path) -> None:
    body = f"""
    from exporter.artifacts.store import staging
    with staging(Path('new/out')) as stage, staging(Path('.')):
        (stage / 'half').write_text('written')
        with worker.native_call('libx', 'm.x'):
            {end}
    """
    assert supervised(body, tmp_path).returncode in (3, 5)
    assert [*tmp_path.iterdir()] == []


def test_secrets_and_core_dumps_stay_behind(tmp_path: Path) -> None:
    body = """
    import resource
    print(sorted(name for name in os.environ if 'TOKEN' in name or 'SOCK' in name))
    print(resource.getrlimit(resource.RLIMIT_CORE)[0])
    """
    done = supervised(body, tmp_path, HF_TOKEN="a", SSH_AUTH_SOCK="b", TOKENIZERS_PARALLELISM="0")
    assert done.stdout == "['TOKENIZERS_PARALLELISM']\n0\n"


def test_onnxruntime_that_divides_by_zero_is_told_as_such(tmp_path: Path) -> None:
    division_overflow(tmp_path / "m.onnx")
    body = """
    from exporter.engines.base import RuntimeOptions
    from exporter.engines.onnxruntime import OnnxRuntime
    OnnxRuntime(Path('m.onnx'), RuntimeOptions()).load()
    """
    done = supervised(body, tmp_path)
    assert (done.returncode, done.stderr) == (3, "Error: m.onnx: onnxruntime crashed on it (SIGFPE)\n")


def test_a_loop_without_an_end_names_its_node(tmp_path: Path) -> None:
    endless_loop(tmp_path / "m.onnx")
    body = """
    import numpy
    from exporter.engines.base import RuntimeOptions
    from exporter.engines.onnx_reference import OnnxReference
    class Short(OnnxReference):
        max_seconds = None
    with Short(Path('m.onnx'), RuntimeOptions()) as runtime:
        Short.max_seconds = 0.3
        runtime.run({'x': numpy.zeros((1, 3), numpy.float32)})
    """
    done = supervised(body, tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith("Error: m.onnx: the reference evaluator was still at work at y (Loop) after 0.3 s")


def test_processes_that_were_there_before_the_tool_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "s.py"
    file.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3)\n"
        "print(child.pid, flush=True)\n" + script("pass")
    )
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, check=False, timeout=60)
    child = int(done.stdout)
    assert done.returncode == 0
    assert not ends(child, 0)
    os.kill(child, signal.SIGKILL)
