"""Log messages and warnings of other libraries."""

import logging
import os
import sys
import warnings

import pytest

from exporter.foreign_logging import silence_openvino_tools, suppress_foreign_logging


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


def test_tools_of_openvino_neither_print_nor_send(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    before = logging.getLoggerClass()
    with silence_openvino_tools():
        assert os.environ["CI"] == "true"  # with which openvino_telemetry sends nothing
        sys.stdout.write("Statistics collection 100%")
        logging.setLoggerClass(type("NNCFLogger", (logging.Logger,), {}))
    assert ("CI" in os.environ, logging.getLoggerClass(), capsys.readouterr().out) == (False, before, "")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(ZeroDivisionError), silence_openvino_tools():
        raise ZeroDivisionError
    assert os.environ["CI"] == "1"


def test_converting_a_model_sends_no_usage_data(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is an extra: pip install 'c3d-export[openvino]'")
    telemetry = pytest.importorskip("openvino_telemetry", reason="it comes with OpenVINO")
    monkeypatch.delenv("CI", raising=False)
    with silence_openvino_tools():
        sender = telemetry.Telemetry(
            app_name="test", app_version="1", tid="x", backend="ga4", enable_opt_in_dialog=False, disable_in_ci=True
        )
    assert not sender.consent
