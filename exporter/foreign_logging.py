"""Keeps other libraries' log messages and warnings from the user."""

import contextlib
import logging
import warnings
from collections.abc import Generator

NOISY_LOGGERS = ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "matplotlib")
"""Loggers that report progress, deprecations and optional packages that are missing."""


@contextlib.contextmanager
def suppress_foreign_logging() -> Generator[None]:
    """Suppress Python warnings, and what `NOISY_LOGGERS` log below the level ERROR, for the block."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
