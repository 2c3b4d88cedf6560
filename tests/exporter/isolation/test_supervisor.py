"""Whatever a library does, the tool ends: by one line, an exit code, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from helpers.hostile_files import division_overflow, endless_loop
from helpers.supervised import SCRIPT, ends, start, supervised

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


def test_a_worker_that_ends_by_itself_keeps_its_exit_code_and_output(tmp_path: Path) -> None:
    done = supervised("print('result'); worker.finish(); sys.exit(7)", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (7, "result\n", "")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT])
def test_a_crash_names_the_library_and_the_file(number: signal.Signals, tmp_path: Path) -> None:
    done = supervised(f"with worker.native_call('libx', 'm.x'): os.kill(os.getpid(), {number.value})", tmp_path)
    assert done.returncode == 3
    assert done.stderr == f"Error: m.x: libx crashed on it ({number.name})\n"


def test_a_crash_names_the_step_of_the_innermost_call(tmp_path: Path) -> None:
    done = supervised(
        """
        with worker.native_call('outer', 'm.x'):
            with worker.native_call('inner', 'm.x'):
                worker.at_step('conv1 (Conv)'.encode())
                os.abort()
        """,
        tmp_path,
    )
    assert done.stderr == "Error: m.x: inner crashed on it at conv1 (Conv) (SIGABRT)\n"


def test_a_call_that_has_ended_is_not_blamed(tmp_path: Path) -> None:
    done = supervised(
        """
        with worker.native_call('outer', 'm.x'):
            with worker.native_call('inner', 'n.x'):
                worker.at_step(b'conv1')
            os.abort()
        """,
        tmp_path,
    )
    assert done.stderr == "Error: m.x: outer crashed on it (SIGABRT)\n"


def test_a_crash_outside_of_libraries_is_a_bug(tmp_path: Path) -> None:
    done = supervised("os.abort()", tmp_path)
    assert done.returncode == 70
    assert "bug" in done.stderr
    assert "SIGABRT" in done.stderr


def test_a_file_that_is_cut_off_while_it_is_mapped_is_no_bug(tmp_path: Path) -> None:
    body = """
    import mmap
    with open('f', 'w+b') as file:
        file.truncate(1 << 20)
        data = mmap.mmap(file.fileno(), 0)
        file.truncate(0)
        data[1 << 19]
    """
    done = supervised(body, tmp_path)
    assert (done.returncode, done.stderr[:40]) == (3, "Error: a file was cut off while it was r")


def test_a_crash_with_json_is_one_object_on_stdout(tmp_path: Path) -> None:
    done = supervised(
        "worker.begin(as_json=True)\nwith worker.native_call('libx', 'm.x'): os.kill(os.getpid(), signal.SIGSEGV)",
        tmp_path,
    )
    assert json.loads(done.stdout)["error"] == {
        "kind": "BadInputError",
        "message": "m.x: libx crashed on it (SIGSEGV)",
        "exit_code": 3,
    }


def test_a_kill_from_outside_is_most_likely_the_systems_for_want_of_memory(tmp_path: Path) -> None:
    done = supervised("with worker.native_call('libx', 'm.x'): os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith("Error: m.x: libx was killed, most likely because the system has no memory left")


def test_a_library_that_hangs_ends_at_the_limit_of_the_command(tmp_path: Path) -> None:
    start_time = time.monotonic()
    done = supervised("worker.set_timeout(0.4)\nwith worker.native_call('libx', 'm.x'): hang()", tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith("Error: m.x: libx was still at work after 0.4 s (--timeout); ")
    assert time.monotonic() - start_time < 20


def test_a_library_that_hangs_ends_at_the_limit_of_its_call(tmp_path: Path) -> None:
    body = """
    with worker.native_call('outer', 'm.x'), worker.native_call('libx', 'm.x', 0.4), worker.native_call('inner', 'm.x'):
        hang()
    """
    done = supervised(body, tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith("Error: m.x: libx was still at work after 0.4 s (the default limit of one call)")


def test_no_limit_of_a_call_counts_where_the_command_has_none(tmp_path: Path) -> None:
    done = supervised("worker.set_timeout(0)\nwith worker.native_call('libx', 'm.x', 0.1): time.sleep(0.7)", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_storm_of_allocations_ends_at_the_limit(tmp_path: Path) -> None:
    body = """
    worker.set_max_memory(300_000_000)
    kept = []
    with worker.native_call('libx', 'm.x'):
        while len(kept) < 500:
            kept.append(b'x' * 10_000_000)
            time.sleep(0.01)
    """
    done = supervised(body, tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith("Error: m.x: libx took more than 300 MB of memory (--max-memory); ")


def test_the_memory_of_processes_that_the_worker_starts_counts(tmp_path: Path) -> None:
    body = """
    worker.set_max_memory(300_000_000)
    subprocess.run([sys.executable, '-c', "import time; kept = b'x' * 400_000_000; time.sleep(50)"])
    """
    done = supervised(body, tmp_path)
    assert done.returncode == 5
    assert "the command took more than 300 MB of memory" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_hanging_library_and_what_it_started(number: signal.Signals, tmp_path: Path) -> None:
    body = """
    child = subprocess.Popen(['sleep', '60'], start_new_session=True)
    print(child.pid, flush=True)
    with worker.native_call('libx', 'm.x'):
        hang()
    """
    process = start(body, tmp_path)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    worker = int(process.stdout.readline().split()[1])
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert err == f"stopped by {number.name}; no incomplete files are left\n"
    assert ends(worker, 0)
    assert ends(child, 0)


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


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGSEGV)", "worker.set_timeout(0.4); hang()"])
def test_no_staging_folder_is_left(end: str, tmp_path: Path) -> None:
    body = f"""
    from exporter.artifacts.store import staging
    with staging(Path('out')) as stage:
        (stage / 'half').write_text('written')
        with worker.native_call('libx', 'm.x'):
            {end}
    """
    assert supervised(body, tmp_path).returncode in (3, 5)
    assert [*(tmp_path / "out").iterdir()] == []


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
    from exporter.engines import RuntimeOptions
    from exporter.engines.onnxruntime import OnnxRuntime
    OnnxRuntime(Path('m.onnx'), RuntimeOptions()).load()
    """
    done = supervised(body, tmp_path)
    assert (done.returncode, done.stderr) == (3, "Error: m.onnx: onnxruntime crashed on it (SIGFPE)\n")


def test_a_loop_without_an_end_names_its_node(tmp_path: Path) -> None:
    endless_loop(tmp_path / "m.onnx")
    body = """
    import numpy
    from exporter.engines import RuntimeOptions
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
    script = tmp_path / "s.py"
    script.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3)\n"
        "print(child.pid, flush=True)\n" + textwrap.dedent(SCRIPT.format(body="    pass"))
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    child = int(done.stdout)
    assert done.returncode == 0
    assert not ends(child, 0)
    os.kill(child, signal.SIGKILL)
