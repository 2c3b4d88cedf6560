"""Log messages and warnings of other libraries."""

import logging
import warnings

import pytest

from exporter.foreign_logging import suppress_foreign_logging


def test_messages_and_warnings_are_suppressed_inside_and_back_after(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("onnxscript.optimizer")
    with suppress_foreign_logging(), warnings.catch_warnings(record=True) as inside:
        logger.warning("not optimised")
        logger.error("an error")
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    assert (caplog.messages, inside) == (["an error"], [])
    logger.warning("not optimised")
    assert caplog.messages == ["an error", "not optimised"]
    with pytest.warns(DeprecationWarning, match="deprecated"):
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)


def test_errors_are_raised() -> None:
    level = logging.getLogger("torch").level
    with pytest.raises(ZeroDivisionError), suppress_foreign_logging():
        raise ZeroDivisionError
    assert logging.getLogger("torch").level == level
