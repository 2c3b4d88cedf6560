"""Imports optional libraries; suppresses log messages, warnings, progress and usage reports of other libraries."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Generator, Iterable
from importlib import import_module
from typing import Any

from exporter.errors import UnavailableError
from models.errors import install_command

NOISY_LOGGERS = ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "matplotlib", "nncf")
"""Loggers that report progress, deprecations and optional packages that are missing."""
CI = "CI"
"""The environment variable of CI systems. Where it is set, Intel's packages send no usage data."""


@contextlib.contextmanager
def log_level(names: Iterable[str], level: int) -> Generator[None]:
    """Suppress what loggers log below a level, for the block."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)


@contextlib.contextmanager
def suppress_foreign_logging() -> Generator[None]:
    """Suppress Python warnings, and what `NOISY_LOGGERS` log below the level ERROR, for the block."""
    with log_level(NOISY_LOGGERS, logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def silence_openvino_tools() -> Generator[None]:
    """Keep OpenVINO's converter and NNCF from printing, logging and sending usage data, for the block.

    Both send events to Google Analytics unless the user has refused before (`opt_in_out`), except where `CI` is set.
    NNCF also prints progress bars, and makes its own class that of every later logger.
    """
    before, logger_class = os.environ.get(CI), logging.getLoggerClass()
    os.environ[CI] = "true"
    try:
        with suppress_foreign_logging(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.setLoggerClass(logger_class)
        if before is None:
            del os.environ[CI]
        else:
            os.environ[CI] = before


def import_openvino() -> Any:
    """Return the module `openvino`, untyped: an optional package, whose stubs are incomplete.

    Its first import sends an event, and decides for the process whether later ones are sent: here none is.

    Raises:
        UnavailableError: see `import_library`.
    """
    with silence_openvino_tools():
        return import_library("openvino", "OpenVINO", "openvino")


def import_library(module: str, name: str, extra: str) -> Any:
    """Return a module of an optional library, untyped.

    Args:
        module: the module.
        name: the library's name in messages.
        extra: the extra that installs it.

    Raises:
        UnavailableError: it is not installed, or what it needs does not load.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        raise UnavailableError(f"{name} cannot be imported ({error}); {install_command(extra)}") from error
