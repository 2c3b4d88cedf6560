"""A target's process: what it replies, and what the parent reports of one that fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from helpers import graphs, toy_engine

from exporter.bench import worker_main
from exporter.bench.targets import BenchTarget
from exporter.bench.worker_client import RUN_FILE, WORKER, Worker, WorkerError
from exporter.engines.base import RuntimeOptions

OWN = Path(sys.executable)
INPUTS = [{"name": "x", "dtype": "float32", "shape": [2, 6]}]
WEIGHT = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
TESTS = {"PYTHONPATH": toy_engine.TESTS}


@pytest.fixture
def target(tmp_path: Path) -> BenchTarget:
    nodes = [graphs.node("MatMul", "x w", "y")]
    path = graphs.save(tmp_path / "m.onnx", graphs.graph(nodes, {"x": ("n", 6)}, {"y": ("n", 5)}, {"w": WEIGHT}))
    return BenchTarget("m.onnx", "m.onnx", toy_engine.ENGINE, path, RuntimeOptions(), ("x",), ("y",))


def load(worker: Worker, target: BenchTarget) -> dict[str, Any]:
    imported = worker.ask("import", library=target.engine.library, runtime=target.engine.runtime)
    return {**imported, **worker.ask("load", **target.job(3, {"x": (2, 6)}))}


def test_a_whole_conversation(target: BenchTarget) -> None:
    with Worker(OWN, TESTS) as worker:
        loaded = load(worker, target)
        assert loaded["engine"] == "toy 1.0 on 3 threads, no fault"
        assert 5e6 < loaded["peak"] < 5e8
        assert 0 < loaded["seconds"] < 5
        fed = worker.ask("feed", inputs=INPUTS, seed=7, warmup=2, outputs=["y"])
        assert 0.002 <= fed["seconds"] < 5
        x = np.random.default_rng(7).standard_normal((2, 6), dtype=np.float32)
        assert np.allclose(fed["outputs"], [(x @ WEIGHT).ravel()])
        assert worker.ask("feed", inputs=INPUTS, seed=8, warmup=0, outputs=[])["outputs"] != fed["outputs"]
        calls = worker.ask("run", least=0.02)["seconds"]
        assert len(calls) in range(2, 11)
        assert min(calls) >= 0.002
        assert len(worker.ask("run", least=0.0)["seconds"]) == 1


def test_numbers_are_drawn_from_the_range_asked_for(tmp_path: Path) -> None:
    asked = {"name": "n", "dtype": "int64", "shape": [50]}
    drawn = worker_main.draw([asked], seed=0)["n"]
    assert (drawn.dtype, {*drawn.tolist()}) == (np.int64, {0, 1})
    assert {*worker_main.draw([{**asked, "low": 3, "high": 5}], seed=0)["n"].tolist()} == {3, 4, 5}
    assert worker_main.draw([{**asked, "dtype": "bfloat16", "low": 0, "high": 1}], 0)["n"].dtype.itemsize == 2
    words = worker_main.draw([{**asked, "dtype": "object", "low": 7, "high": 7}], 0)["n"]
    assert words.tolist() == ["7"] * 50
    np.savez(tmp_path / "rows.npz", n=np.array([[1, 2], [3, 4]]))
    of_file = {"name": "n", "dtype": "int32", "shape": [3, 2], "path": str(tmp_path / "rows.npz"), "array": "n"}
    assert worker_main.draw([of_file], 0)["n"].tolist() == [[1, 2], [3, 4], [1, 2]]


@pytest.mark.parametrize(
    ("fault", "kind", "reported"),
    [
        ("load: no compiler", "missing", "there is no compiler"),
        ("load: opset 99", "refused", "opset 99"),
        ("value", "failed", "ValueError"),
        ("crash 0", "failed", "its process ended by SIGSEGV"),
        ("exit", "failed", "its process ended with exit code 5: out of memory"),
        ("sleep", "failed", "did not reply for 1 s"),
    ],
)
def test_a_failure_is_reported_with_its_kind(fault: str, kind: str, reported: str, target: BenchTarget) -> None:
    with Worker(OWN, {**TESTS, "TOY": fault}) as worker:
        with pytest.raises(WorkerError) as caught:
            load(worker, target)
            if fault == "sleep":
                worker.deadline = 1.0
            worker.ask("feed", inputs=INPUTS, seed=0, warmup=0, outputs=["y"])
        assert (caught.value.kind, str(caught.value)) == (kind, reported)


def test_a_missing_library_is_reported() -> None:
    with Worker(OWN, {}) as worker, pytest.raises(WorkerError, match="No module named 'no_such_library'") as caught:
        worker.ask("import", library="no_such_library", runtime=".onnxruntime:OnnxRuntime")
    assert caught.value.kind == "missing"


def test_its_process_is_gone_afterwards() -> None:
    with Worker(OWN, {}) as worker:
        assert psutil.pid_exists(worker.pid)
    assert not psutil.pid_exists(worker.pid)


def test_an_interpreter_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="cannot be started: No such file"), Worker(tmp_path / "x", {}):
        pass


def test_another_interpreter_does_not_find_this_ones_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "only_here.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    request = {"library": "only_here", "runtime": ".onnxruntime:OnnxRuntime"}
    with Worker(OWN, {}) as worker:
        worker.ask("import", **request)
    with Worker(other, {}) as worker, pytest.raises(WorkerError, match="No module named 'only_here'"):
        worker.ask("import", **request)


def test_peak_memory_is_known_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(worker_main, "open", no_proc, raising=False)
    peak = worker_main.peak_memory()
    assert peak is not None
    assert 1e7 < peak < 1e11
    monkeypatch.setitem(sys.modules, "resource", None)
    assert worker_main.peak_memory() is None
    assert os.path.exists(worker_main.PROJECT)  # noqa: PTH110


def test_files_beside_the_worker_do_not_hide_the_standard_library(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    shutil.copy(WORKER, worker)
    for name in ("types", "json", "statistics"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    command = [sys.executable, "-S", "-c", RUN_FILE, str(worker)]  # -S: nothing is imported before
    done = subprocess.run(command, input=b"", capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_rows_of_a_file_are_run_one_by_one(target: BenchTarget, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    fed = [{**INPUTS[0], "path": str(tmp_path / "x.npy"), "array": ""}]
    with Worker(OWN, TESTS) as worker:
        load(worker, target)
        reply = worker.ask("rows", inputs=fed, seed=0, outputs=["y"], rows=3, file=str(tmp_path / "y.npz"))
    assert reply["names"] == ["y"]
    with np.load(tmp_path / "y.npz") as written:
        assert np.allclose(written["arr_0"], rows @ WEIGHT)
