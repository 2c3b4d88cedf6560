"""An error of the tool is one line, whatever stands in the names that it quotes."""

import pickle
import time

import pytest

from exporter.errors import ArtifactError
from models.errors import (
    MAX_MESSAGE,
    C3DExportError,
    CheckpointError,
    UnavailableError,
    first_line,
    naming,
    one_line,
    without_path,
)


def test_a_name_out_of_a_file_neither_breaks_the_line_nor_moves_the_cursor() -> None:
    name = "conv\n1\x1b[2K"
    error = ArtifactError(f"a.onnx: no tensor {name}")
    assert str(error) == r"a.onnx: no tensor conv\n1\x1b[2K"
    assert str(ArtifactError(f"b: {error}")) == f"b: {error}", "what is escaped is not escaped again"
    assert error.to_dict() == {"kind": "ArtifactError", "message": f"a.onnx: no tensor {name}", "exit_code": 3}


def test_a_path_is_taken_off_a_message_as_the_message_shows_it() -> None:
    for path in ("a.onnx", "a\n\u202eb.onnx"):
        assert without_path(ArtifactError(f"{path}: no model"), path) == "no model"


def test_the_block_of_a_file_names_it_once_whatever_the_class() -> None:
    for kind in (CheckpointError, UnavailableError):
        with pytest.raises(kind) as caught, naming("a.pth"):
            raise kind("no \n tensors")
        assert caught.value.to_dict()["message"] == "a.pth: no \n tensors"
    with pytest.raises(ValueError, match="^other$"), naming("a.pth"):
        raise ValueError("other")


def test_a_name_of_millions_of_characters_is_cut_for_machines_too() -> None:
    error = ArtifactError("a.onnx: no tensor " + "\n" * 10**6)
    message = str(error.to_dict()["message"])
    assert message.startswith("a.onnx: no tensor ")
    assert len(message) <= MAX_MESSAGE


@pytest.mark.parametrize(
    ("message", "first", "whole"),
    [
        ("\n  a \n\n b\tc\n", "a", "a b c"),
        ("", "ValueError", "ValueError"),
        (" \n", "ValueError", "ValueError"),
        ("x" * 1000, "x" * 1000, "x" * 400 + "…"),
    ],
)
def test_what_a_library_says_in_one_line(message: str, first: str, whole: str) -> None:
    assert first_line(ValueError(message)) == first
    assert one_line(ValueError(message)) == whole


def test_an_error_is_the_same_in_another_process() -> None:
    error = C3DExportError("a\nb")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.args) == (str(error), error.args)


def test_a_name_of_millions_of_characters_costs_no_more_than_a_long_one() -> None:
    start = time.process_time()
    shown = str(ArtifactError("a.onnx: no tensor " + "\n" * 20_000_000))
    assert time.process_time() - start < 0.5
    assert shown.startswith(r"a.onnx: no tensor \n")
    assert "…(20,000,018 characters)…" in shown
    assert len(shown) <= MAX_MESSAGE
