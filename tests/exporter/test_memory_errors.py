"""Out of memory is recognised whatever a library makes of it, and never taken for a bad file or a bug."""

import errno
import mmap
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_engine import ToyRuntime
from numpy.typing import NDArray

from exporter.engines.base import RuntimeOptions, Tensors
from exporter.errors import ArtifactError, LimitError, OutOfMemoryError
from exporter.memory_errors import as_memory_error, is_out_of_memory, translate_memory_errors

HUGE = 1 << 50


def numpy_array() -> object:
    return np.empty(HUGE)


def torch_tensor() -> object:
    return torch.empty(HUGE)


def python_bytes() -> object:
    return bytearray(HUGE)


def mapping() -> object:
    return mmap.mmap(-1, HUGE)


@pytest.mark.parametrize("allocate", [numpy_array, torch_tensor, python_bytes, mapping])
def test_what_the_libraries_here_raise_is_recognised(allocate: object) -> None:
    assert callable(allocate)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each library has a class of its own
        allocate()
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("std::bad_alloc"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation"),
        RuntimeError("bfc_arena.cc:342 AllocateRawInternal Available memory of 5 is smaller than requested bytes of 9"),
        RuntimeError("Failed to allocate memory for requested buffer of size 17179869184"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("can't start new thread"),
        RuntimeError("src/plugins/intel_cpu/src/node.cpp:823:\n[CPU] MaxPool node with name 'pool2' can't alloc"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError("Can't read data (memory allocation failed for raw data chunk)"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
    ],
)
def test_texts_of_libraries_that_are_not_asked_here(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Expected 4-dimensional input"),
        ArtifactError("out of memory.onnx: not ONNX"),  # our own text holds names
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        BlockingIOError(errno.EAGAIN, "unable to lock file, errno = 11, 'Resource temporarily unavailable'"),
    ],
)
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert as_memory_error(error, "f", "reading it") is error


def test_an_error_that_another_one_was_made_of_counts_and_names_file_and_step() -> None:
    with pytest.raises(LimitError) as raised, translate_memory_errors(Path("m.onnx"), "onnxruntime loads it"):
        try:
            raise RuntimeError("std::bad_alloc")
        except RuntimeError as error:
            raise ArtifactError("m.onnx: onnxruntime rejects it: std::bad_alloc") from error
    assert raised.value.exit_code == 5
    assert str(raised.value).startswith("m.onnx: memory ran out while onnxruntime loads it (std::bad_alloc); ")


def test_the_innermost_step_is_the_one_that_is_reported() -> None:
    with (
        pytest.raises(OutOfMemoryError) as raised,
        translate_memory_errors("outer", "exporting"),
        translate_memory_errors("inner", "torch runs it"),
    ):
        raise MemoryError
    assert (raised.value.path, raised.value.doing) == ("inner", "torch runs it")


def test_a_step_without_a_file_takes_that_of_the_step_around_it() -> None:
    with (
        pytest.raises(OutOfMemoryError) as raised,
        translate_memory_errors("m.onnx", "exporting"),
        translate_memory_errors(None, "pass fold-weights"),
    ):
        raise MemoryError("no")
    assert (raised.value.path, raised.value.doing, raised.value.reason) == ("m.onnx", "pass fold-weights", "no")


def test_an_engine_names_the_file_and_what_it_was_doing() -> None:
    class Adapter(ToyRuntime):
        def load_model(self) -> None:
            raise MemoryError

        def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
            raise RuntimeError("std::bad_alloc")

    adapter = Adapter(Path("m.pt"), RuntimeOptions())
    with pytest.raises(OutOfMemoryError, match=r"^m\.pt: memory ran out while the engine loads it; "):
        adapter.load()
    with pytest.raises(OutOfMemoryError, match=r"^m\.pt: memory ran out while the engine runs it \("):
        adapter.run({})


def test_it_passes_from_process_to_process() -> None:
    copy = pickle.loads(pickle.dumps(OutOfMemoryError("f", "reading it", "why")))
    assert str(copy) == str(OutOfMemoryError("f", "reading it", "why"))


def test_of_a_long_text_the_line_that_says_so_is_the_reason() -> None:
    said = "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 2408448 bytes."
    error = as_memory_error(RuntimeError("\n".join(["Traceback of TorchScript", *["  File x"] * 50, said, "end"])))
    assert isinstance(error, OutOfMemoryError)
    assert error.reason == said
