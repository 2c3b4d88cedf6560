"""What `__all__` promises is there, and importing the packages costs no torch."""

from pathlib import Path

import pytest
from helpers.run import python

import exporter
import models
import models.checkpoints


@pytest.mark.parametrize("package", [models, models.checkpoints, exporter])
def test_every_public_name_is_there(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'c4d'"):
        _ = exporter.c4d  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", ["exporter", "models", "exporter.cli.main"])
def test_importing_does_not_import_torch(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; sys.exit(any(heavy in sys.modules for heavy in ('torch', 'onnx', 'numpy', 'rich')))"
    assert python(code, cwd=tmp_path).returncode == 0


def test_what_is_read_or_told_without_a_network_does_not_wait_for_torch(tmp_path: Path) -> None:
    names = ("console", "json_report", "optimize", "layouts", "self_test", "bench")
    modules = [
        "exporter.workflows.inspect",
        "exporter.workflows.optimize",
        *(f"exporter.reports.{name}" for name in names),
    ]
    done = python(f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
