"""The process of a target: what it replies, and what the parent makes of one that misbehaves."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exporter.bench.worker_client import RUN_FILE, WORKER, Worker, WorkerError

OWN = Path(sys.executable)
ENGINE = """
import os, signal, sys, time
calls = []
def library():
    os.write(1, b"a banner on stdout\\n")
    {library}
    return "fake 1.0"
def load(job):
    {load}
    def call(feeds):
        calls.append(1)
        {call}
        return [feeds["x"] * job.get("scale", 1), feeds["n"].astype("float32"), feeds["x"][:0] + len(calls)]
    return call
"""
INPUTS = [{"name": "x", "dtype": "float32", "shape": [2, 3]}, {"name": "n", "dtype": "int64", "shape": [50]}]


def fake(folder: Path, library: str = "pass", load: str = "pass", call: str = "pass") -> Path:
    path = folder / "fake.py"
    path.write_text(ENGINE.format(library=library, load=load, call=call))
    return path


def ready(worker: Worker, **job: object) -> None:
    worker.ask("import")
    worker.ask("load", job=job)


def test_a_whole_conversation(tmp_path: Path) -> None:
    with Worker(fake(tmp_path, load="time.sleep(0.02)", call="time.sleep(0.01)"), OWN, {}) as worker:
        imported = worker.ask("import")
        assert imported["title"] == "fake 1.0"
        assert 5e6 < imported["peak"] < 5e8
        assert 0.02 <= worker.ask("load", job={"scale": 3})["seconds"] < 5
        fed = worker.ask("feed", inputs=INPUTS, seed=7, warmup=2)
        assert 0.01 <= fed["seconds"] < 5
        x, n, _ = (np.array(values) for values in fed["outputs"])
        assert np.array_equal(x, 3 * np.random.default_rng(7).standard_normal((2, 3), dtype=np.float32).ravel())
        assert set(n) == {0, 1}
        turn = worker.ask("run", least=0.05)
        assert len(turn["seconds"]) in range(2, 7)
        assert min(turn["seconds"]) >= 0.01
        assert len(worker.ask("run", least=0.0)["seconds"]) == 1


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others(tmp_path: Path) -> None:
    with Worker(fake(tmp_path), OWN, {}) as worker:
        ready(worker)
        a, b, c = (worker.ask("feed", inputs=INPUTS, seed=seed, warmup=0)["outputs"] for seed in (1, 1, 2))
    assert a == b != c


@pytest.mark.parametrize(
    ("where", "code", "kind", "reported"),
    [
        ("library", "import no_such_library", "missing", "No module named 'no_such_library'"),
        ("load", "raise ImportError('there is no compiler')", "missing", "there is no compiler"),
        ("load", "raise RuntimeError('opset 99\\nand a trace')", "refused", "opset 99"),
        ("call", "raise ValueError", "failed", "ValueError"),
        ("call", "os.kill(os.getpid(), signal.SIGSEGV)", "failed", "its process ended by SIGSEGV"),
        ("call", "os.write(2, b'out of memory\\n'); os._exit(5)", "failed", "ended with exit code 5: out of memory"),
        ("call", "time.sleep(60)", "failed", "did not reply for 1 s"),
    ],
)
def test_what_goes_wrong_is_told(where: str, code: str, kind: str, reported: str, tmp_path: Path) -> None:
    with Worker(fake(tmp_path, **{where: code}), OWN, {}, deadline=1.0) as worker:
        with pytest.raises(WorkerError) as caught:
            ready(worker)
            worker.ask("feed", inputs=INPUTS, seed=0, warmup=0)
        assert caught.value.kind == kind
        assert reported in str(caught.value)
        assert "\n" not in str(caught.value)


def test_its_process_is_gone_afterwards(tmp_path: Path) -> None:
    with Worker(fake(tmp_path, library="return str(os.getpid())"), OWN, {}) as worker:
        pid = int(worker.ask("import")["title"])
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_interpreter_that_is_none_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(WorkerError, match="cannot be started: No such file"),
        Worker(fake(tmp_path), tmp_path / "x", {}),
    ):
        pass


def test_another_interpreter_does_not_find_this_ones_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    engine = fake(tmp_path, library="return os.environ.get('PYTHONPATH', 'none') + ' ' + os.environ['THREADS']")
    for interpreter, seen in ((OWN, "/somewhere 3"), (other, "none 3")):
        with Worker(engine, interpreter, {"THREADS": "3"}) as worker:
            assert worker.ask("import")["title"] == seen


def test_files_beside_the_worker_do_not_hide_the_standard_library(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    shutil.copy(WORKER, worker)
    for name in ("types", "json", "statistics"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    engine = tmp_path / "engine.py"
    engine.write_text("def library(): return 'own'")
    command = [sys.executable, "-S", "-c", RUN_FILE, str(worker), str(engine)]  # -S: nothing is imported before
    done = subprocess.run(command, input=b'{"do": "load", "job": {}}\n', capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, json.loads(done.stdout)["error"]["kind"]) == (0, "refused")


def test_worker_and_engines_need_only_the_standard_library_before_they_are_asked() -> None:
    for path in (WORKER, *WORKER.with_name("engines").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names}, path
