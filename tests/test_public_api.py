"""The public names exist, are complete, and importing the packages costs no torch."""

import ast
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import numpy
import pytest
import torch
from helpers import small_models
from helpers.run import python
from numpy.typing import NDArray

import exporter
import exporter.workflows
import models


@pytest.mark.parametrize("package", [models, exporter])
def test_every_public_name_can_be_imported(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None


@pytest.mark.parametrize("package", [models, exporter])
def test_the_stub_lists_the_names_that_it_imports_and_no_others(package: ModuleType) -> None:
    tree = ast.parse(Path(str(package.__file__)).with_suffix(".pyi").read_text("utf-8"))
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    listed = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
    assert sorted(imported) == sorted(listed) == sorted(package.__all__)


@pytest.mark.parametrize(
    "path", sorted(Path(exporter.workflows.__file__).parent.glob("[a-z]*.py")), ids=lambda p: p.stem
)
def test_every_result_and_error_of_a_workflow_is_public(path: Path) -> None:
    defined = [node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
    assert {name for name in defined if not name.startswith("_")} <= {*exporter.__all__}


def held_types(hint: Any) -> Iterator[type]:
    """Yield the dataclasses that a type hint mentions."""
    for argument in get_args(hint):
        yield from held_types(argument)
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint


def test_every_type_that_a_public_type_holds_is_public() -> None:
    public = {name: getattr(exporter, name) for name in exporter.__all__}
    names = public | {"nn": torch.nn, "np": numpy, "NDArray": NDArray}
    missing = {
        held.__name__
        for known in public.values()
        if isinstance(known, type) and is_dataclass(known)
        for hint in get_type_hints(known, localns=names).values()
        for held in held_types(hint)
        if held not in public.values()
    }
    assert not missing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="c4d"):
        _ = exporter.c4d  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", ["exporter", "models", "exporter.cli.main"])
def test_importing_does_not_import_torch(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; sys.exit(any(heavy in sys.modules for heavy in ('torch', 'onnx', 'numpy', 'rich')))"
    assert python(code, cwd=tmp_path).returncode == 0


def test_commands_that_need_no_network_do_not_import_torch(tmp_path: Path) -> None:
    names = ("console", "json_report", "optimize", "layouts", "self_test", "bench")
    modules = [
        "exporter.workflows.inspect",
        "exporter.workflows.optimize",
        *(f"exporter.reports.{name}" for name in names),
    ]
    small_models.network(tmp_path / "m.onnx")
    inspect = "import exporter; assert exporter.inspect('m.onnx').tensors"
    done = python(f"import sys, {', '.join(modules)}; {inspect}; sys.exit('torch' in sys.modules)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
