"""The layers of the design: imports run one way, and nothing below knows what is above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "models": {"models"},
    "exporter.errors": {"models", "exporter.errors"},
    "exporter.types": {"models"},
    "exporter.results": {"exporter.types"},
    "exporter.timing": set[str](),
    "exporter.artifacts.manifest": {"models", "exporter.errors", "exporter.types"},
    "exporter.artifacts.store": {"exporter.errors", "exporter.artifacts.manifest"},
    "exporter.system": set[str](),
    "exporter.passes": {"models", "exporter.errors", "exporter.types", "exporter.system", "exporter.passes"},
    "exporter.formats": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.artifacts.manifest",
        "exporter.passes",
        "exporter.formats",
    },
    "exporter.engines": {"models", "exporter.errors", "exporter.types", "exporter.results", "exporter.engines"},
    "exporter.parity": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.timing",
        "exporter.artifacts.manifest",
        "exporter.artifacts.store",
        "exporter.formats",
        "exporter.engines",
        "exporter.parity",
        "exporter.results",
        "exporter.system",
    },
    "exporter.fault_injection": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.timing",
        "exporter.engines",
        "exporter.parity",
        "exporter.results",
        "exporter.fault_injection",
    },
    "exporter.workflows.inspect": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.artifacts.manifest",
        "exporter.artifacts.store",
        "exporter.formats",
    },
    "exporter.workflows.convert": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.artifacts.manifest",
        "exporter.artifacts.store",
    },
    "exporter.workflows.export": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.timing",
        "exporter.artifacts.manifest",
        "exporter.artifacts.store",
        "exporter.formats",
        "exporter.engines",
        "exporter.parity",
        "exporter.results",
    },
    "exporter.bench": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.artifacts.store",
        "exporter.formats",
        "exporter.parity",
        "exporter.bench",
    },
    "exporter.workflows.optimize": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.timing",
        "exporter.artifacts.manifest",
        "exporter.artifacts.store",
        "exporter.formats",
        "exporter.parity",
        "exporter.results",
        "exporter.passes",
    },
    "exporter.reports": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.artifacts.manifest",
        "exporter.parity",
        "exporter.workflows.export",
        "exporter.workflows.optimize",
        "exporter.passes",
        "exporter.workflows.inspect",
        "exporter.workflows.convert",
        "exporter.reports",
        "exporter.results",
        "exporter.bench",
        "exporter.fault_injection",
    },
    "exporter.cli": {
        "models",
        "exporter.errors",
        "exporter.types",
        "exporter.formats",
        "exporter.parity",
        "exporter.workflows.export",
        "exporter.workflows.optimize",
        "exporter.workflows.inspect",
        "exporter.workflows.convert",
        "exporter.reports",
        "exporter.cli",
        "exporter.results",
        "exporter.bench",
        "exporter.fault_injection",
    },
}
FRONT_PAGE = ROOT / "exporter" / "__init__.py"  # names every layer, and imports none before it is asked to
MODULES = sorted({path for folder in ("models", "exporter") for path in (ROOT / folder).rglob("*.py")} - {FRONT_PAGE})


def layer_of(module: str) -> str:
    return module if module == "exporter" else ".".join(module.split(".")[: 2 if module.startswith("exporter.") else 1])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_stay_within_the_layers(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    own = layer_of(".".join(part for part in parts if part != "__init__"))
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.split(".")[0] in ("models", "exporter") and name != "exporter":
                assert layer_of(name) in ALLOWED[own], f"{own} may not import {name}"


@pytest.mark.parametrize("path", [p for p in MODULES if p.relative_to(ROOT).parts[0] == "models"], ids=str)
def test_models_know_nothing_of_onnx(path: Path) -> None:
    assert "import onnx" not in path.read_text()
