"""What a worker says of itself, as its supervisor reads it."""

import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.artifacts import store
from exporter.isolation import worker
from exporter.isolation.board import SIZE, Board, NativeCall, State


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    worker.begin()
    worker.attach(board)
    yield board
    worker.begin()
    worker.detach()


def state(board: Board) -> State:
    read = board.read()
    assert read is not None
    return read


def calls(board: Board) -> list[tuple[str, str]]:
    return [(call.library, call.path) for call in state(board).calls]


def test_nested_calls_are_listed_the_innermost_last(board: Board) -> None:
    with worker.native_call("outer", "a"):
        with worker.native_call("inner", Path("b")):
            assert calls(board) == [("outer", "a"), ("inner", "b")]
        assert calls(board) == [("outer", "a")]
    assert calls(board) == []


def test_a_call_ends_with_an_error_too(board: Board) -> None:
    with pytest.raises(ValueError, match="no"), worker.native_call("x", "a"):
        raise ValueError("no")
    assert calls(board) == []


def test_a_limit_grows_with_the_file(board: Board, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 100_000_000)
    limits: list[float] = []
    for path in ("missing", large):
        with worker.native_call("x", path):
            (call,) = state(board).calls
        assert call.seconds is not None
        assert call.deadline == pytest.approx(time.monotonic() + call.seconds, abs=5)
        limits.append(call.seconds)
    assert limits == [300, 500]


def test_a_limit_grows_with_the_work_that_was_estimated(board: Board) -> None:
    worker.expect_work(10**12, 3 << 30)
    with worker.native_call("x", "a", input_bytes=1_000_000):
        (call,) = state(board).calls
    assert call.seconds == 300 + 10**12 / 1e8
    assert call.memory == (8 << 30) + 200_000_000 + (6 << 30)
    worker.begin()
    with worker.native_call("x", "a"):
        assert state(board).calls[0].seconds == 300


def test_what_has_no_limit_says_so(board: Board) -> None:
    with worker.native_call("x", "a", math.inf):
        assert state(board).calls[0].deadline is None


def test_a_call_without_a_file_is_about_the_file_at_work_or_that_of_the_call_around_it(board: Board) -> None:
    with worker.native_call("x"):
        assert calls(board) == []  # what is at work was made here
    with worker.file_at_work("m.onnx"), worker.native_call("x"):
        assert calls(board) == [("x", "m.onnx")]
    with worker.native_call("outer", "n.onnx"), worker.native_call("inner"):
        assert calls(board) == [("outer", "n.onnx"), ("inner", "n.onnx")]


def test_a_staged_file_is_called_by_the_one_that_it_is_made_from(board: Board, tmp_path: Path) -> None:
    worker.add_stage(tmp_path / "stage", tmp_path)
    with worker.file_at_work("m.onnx"), worker.native_call("x", tmp_path / "stage" / "new.onnx"):
        assert calls(board) == [("x", "m.onnx")]
    worker.remove_stage(tmp_path / "stage")
    assert str(tmp_path / "stage") not in dict(state(board).stages)


def test_a_staging_folder_is_listed_while_it_is_there(board: Board, tmp_path: Path) -> None:
    with store.staging(tmp_path) as stage:
        assert (str(stage), str(tmp_path)) in state(board).stages
    assert str(stage) not in dict(state(board).stages)


def test_a_staging_folder_that_was_not_removed_stays_listed(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store, "finish_or_discard", lambda *_: None)  # as where no memory is left for it
        with store.staging(tmp_path) as stage:
            pass
    worker.begin()
    listed = [(stage, folder) for stage, folder in state(board).stages if folder == str(tmp_path)]
    assert listed == [(str(stage), str(tmp_path))]
    store.clean_up(listed)
    assert not stage.exists()
    worker.begin()
    assert str(stage) not in dict(state(board).stages)


def test_a_step_is_of_its_own_call(board: Board) -> None:
    with worker.native_call("outer", "a"):
        worker.at_step(b"conv1 (Conv)")
        assert state(board).step == "conv1 (Conv)"
        with worker.native_call("inner", "b"):
            assert state(board).step == ""


def test_the_end_that_a_worker_decides_is_stated(board: Board) -> None:
    assert not state(board).finished
    worker.finish()
    assert state(board).finished


def test_threads_have_calls_of_their_own(board: Board) -> None:
    entered, leave = threading.Event(), threading.Event()

    def decode() -> None:
        with worker.native_call("FFmpeg", "v.mp4"):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=decode)
    with worker.native_call("outer", "m.onnx"), worker.native_call("onnxruntime", "m.onnx"):
        thread.start()
        entered.wait(10)
        found = {(call.library, call.path) for call in state(board).innermost()}
    leave.set()
    thread.join()
    assert found == {("FFmpeg", "v.mp4"), ("onnxruntime", "m.onnx")}
    assert calls(board) == []


def test_nothing_is_listed_without_a_supervisor() -> None:
    assert not worker.is_supervised()
    with worker.native_call("x", "a"):
        pass


def test_a_child_that_is_forked_leaves_the_board_alone(board: Board) -> None:
    child = os.fork()
    if child == 0:
        with worker.native_call("x", "a"):
            os._exit(int(worker.is_supervised()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert calls(board) == []


def test_what_does_not_fit_is_left_out_but_not_the_innermost_call() -> None:
    board = Board()
    many = [NativeCall("x" * 1000, "y" * 1000, number=number) for number in range(100)]
    board.write(State(many, timeout=3))
    read = state(board)
    assert [call.number for call in read.calls] == [99]
    assert read.timeout == 3


def test_a_state_in_the_middle_of_a_change_is_not_read() -> None:
    block = memoryview(bytearray(SIZE))
    board = Board(block)
    assert board.read() is None
    board.write(State(timeout=1))
    block[20] ^= 1
    assert board.read() is None
