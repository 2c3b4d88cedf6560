"""Recognises that memory ran out, in whatever Python and the libraries raise, and raises one class of error for it.

Python raises MemoryError. Libraries in C++ raise RuntimeErrors that only their text distinguishes, and most of the code
that calls them takes every error for a bad file. So the whole chain of causes is looked at, wherever an error passes a
block of `translate_memory_errors`, and in the end at the boundary of the command line.

It imports nothing but the standard library and the errors: `bench` runs adapters where nothing else is installed.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import C3DExportError, OutOfMemoryError

THREADS_NEED = 4 << 30
"""With less address space than this, OpenBLAS gets one thread."""
MAX_REASON = 160
"""Characters of a library's own text."""

CLASSES = {"OutOfMemoryError", "ArrowMemoryError"}
"""Names of libraries' own classes: torch.OutOfMemoryError is a RuntimeError."""
TEXTS = re.compile(
    r"bad_alloc|bad allocation"  # C++; onnxruntime, OpenVINO and torch pass it on
    r"|can(no|')t alloc(ate memory)?\b|not enough memory|insufficient memory"  # torch, OpenVINO, the system
    r"|(?<!\w)out of memory|ran out of memory|memory ran out"  # CUDA, protobuf, HDF5, a worker of `bench`
    r"|(failed|unable) to (re)?allocate|allocation (of .{0,80} |still )?failed"  # onnxruntime, NumPy, HDF5, oneDNN
    r"|smaller than requested bytes"  # onnxruntime's arena on a GPU
    r"|failed to map segment|cannot map zero-fill pages|cannot create shared object descriptor"  # loading a library
    r"|can't start new thread|pthread_create"
    r"|^(?!.*lock).*resource temporarily unavailable",  # a thread or a process; a lock that is taken reads alike
    re.IGNORECASE | re.DOTALL,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, says that memory ran out."""
    return _find(error) is not None


def as_memory_error(error: Exception, path: Path | str | None = None, doing: str = "") -> Exception:
    """Return an OutOfMemoryError for an error whose cause is that memory ran out; any other error itself.

    Args:
        error: whatever was raised.
        path: the file at work; None where the step names none. An OutOfMemoryError with a file of its own keeps it.
        doing: the step, as it follows `memory ran out while`: `onnxruntime loads it`.
    """
    found = _find(error)
    if found is None:
        return error
    if not isinstance(found, OutOfMemoryError):
        return OutOfMemoryError(path, doing, _reason(str(found)))
    if found.path is not None or path is None:
        return found
    return OutOfMemoryError(path, found.doing or doing, found.reason)


@contextmanager
def translate_memory_errors(path: Path | str | None, doing: str | Callable[[], str]) -> Generator[None]:
    """Raise an OutOfMemoryError instead of any error in the block whose cause is that memory ran out.

    Args:
        path: the file at work; None where the step names none.
        doing: the step, as it follows `memory ran out while`; or a function that returns it.

    Raises:
        OutOfMemoryError: memory ran out. An inner block's error, which says more, passes.
    """
    try:
        yield
    except Exception as error:
        translated = as_memory_error(error, path, doing if isinstance(doing, str) else doing())
        if translated is error:
            raise
        raise translated from error


def release_frames(error: BaseException) -> None:
    """Let go of the local variables of every function that an error passed through: they hold most of the memory."""
    for each in causes(error):
        traceback.clear_frames(each.__traceback__)


def address_space_limit() -> int | None:
    """Return the most bytes of address space that this process may have (`ulimit -v`); None without a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def spare_address_space() -> None:
    """Have OpenBLAS, which NumPy brings, start no threads where the address space is limited to little.

    Each takes 40 MiB of it; where one cannot start, OpenBLAS raises SIGINT, as if the user had pressed Ctrl-C.
    """
    limit = address_space_limit()
    if limit is not None and limit < THREADS_NEED:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _find(error: BaseException) -> BaseException | None:
    """Return the error of the chain that says that memory ran out; the tool's own, which names a file, first."""
    found = [each for each in causes(error) if _says_so(each)]
    own = [each for each in found if isinstance(each, OutOfMemoryError)]
    return next(iter((*own, *found)), None)


def _reason(text: str) -> str:
    """Return a library's text in one line; of a long one, such as TorchScript's traceback, the line that says so."""
    if len(text) > MAX_REASON:
        text = next((line for line in text.splitlines() if TEXTS.search(line)), text)
    return " ".join(text.split())[:MAX_REASON]


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError | OutOfMemoryError) or type(error).__name__ in CLASSES:
        return True
    if isinstance(error, C3DExportError):  # its text holds names out of files
        return False
    if getattr(error, "errno", None) == errno.ENOMEM:  # mmap's and FFmpeg's
        return True
    return isinstance(error, Exception) and TEXTS.search(str(error)) is not None
