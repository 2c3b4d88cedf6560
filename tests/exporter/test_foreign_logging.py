"""Log messages and warnings of other libraries."""

import logging
import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.run import python

from exporter.errors import UnavailableError
from exporter.foreign_logging import import_openvino, silence_openvino_tools, suppress_foreign_logging


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


@pytest.mark.parametrize("error", ["ImportError('libtbb.so.12')", "OSError('libtbb.so.12')"])
def test_a_library_that_is_installed_and_does_not_load_is_missing(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    with pytest.raises(UnavailableError, match=r"OpenVINO cannot be imported \(libtbb.so.12\); pip install") as caught:
        import_openvino()
    assert caught.value.exit_code == 4


def test_openvino_sends_no_usage_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at its import nor later, in a process in which nothing else has imported it."""
    if find_spec("openvino") is None or find_spec("openvino_telemetry") is None:
        pytest.skip("OpenVINO is an extra: pip install 'c3d-export[openvino]'")
    monkeypatch.delenv("CI", raising=False)
    code = "from exporter.foreign_logging import import_openvino; import_openvino(); "
    code += "from openvino_telemetry import Telemetry; print(Telemetry().consent)"
    assert python(code, cwd=tmp_path).stdout == "False\n"


@pytest.mark.parametrize("given", [None, "0"])
def test_onnxruntime_sends_no_usage_data_and_leaves_no_file(
    given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the user's environment says otherwise: its wheels write `.ses` as soon as they are imported."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if given is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
    modules = "os, exporter" if given else "os, exporter.engines.dequantized_layers"
    done = python(f"import {modules}; print(os.environ['ORT_DISABLE_TELEMETRY'])", cwd=tmp_path)
    assert done.stdout.split() == [given or "1"]
    assert list(tmp_path.iterdir()) == []
