"""From a network to an artifact that is proven equal to it.

* `exporter.workflows.export`: `export()`, the story in order: build, write, check, verify, publish.
* `exporter.formats`: one module per artifact format.
* `exporter.passes`: an ONNX model in, the same function out, faster; `exporter.workflows.optimize` does it to any file.
* `exporter.engines`: one module per engine that can run an artifact.
* `exporter.parity`: inputs, float64 truth, tolerance, comparison.
* `exporter.fault_injection`: faults planted in artifacts, to prove that parity catches them.
* `exporter.artifacts.manifest`, `exporter.artifacts.store`: the manifest, its hashes, and how files reach their folder.
* `exporter.bench`: latency, throughput, load time and memory, side by side with other engines.
* `exporter.workflows.inspect`: what a file is, without running it.
* `exporter.reports`, `exporter.cli`: the same results for people and machines.

The names below are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.artifacts.manifest import Artifact, Manifest
    from exporter.fault_injection.results import SelfTestOptions, SelfTestReport
    from exporter.fault_injection.runner import self_test
    from exporter.results import ParityReport
    from exporter.types import ExportRequest, OptimizeOptions, OptimizeRequest, ParityOptions
    from exporter.workflows.export import export
    from exporter.workflows.inspect import inspect
    from exporter.workflows.optimize import optimize
    from exporter.workflows.verify import verify_parity

__all__ = [
    "Artifact",
    "ExportRequest",
    "Manifest",
    "OptimizeOptions",
    "OptimizeRequest",
    "ParityOptions",
    "ParityReport",
    "SelfTestOptions",
    "SelfTestReport",
    "export",
    "inspect",
    "optimize",
    "self_test",
    "verify_parity",
]

__version__ = "0.1.0"

_HOMES = {
    "Artifact": "exporter.artifacts.manifest",
    "ExportRequest": "exporter.types",
    "OptimizeOptions": "exporter.types",
    "Manifest": "exporter.artifacts.manifest",
    "OptimizeRequest": "exporter.types",
    "ParityOptions": "exporter.types",
    "ParityReport": "exporter.results",
    "SelfTestOptions": "exporter.fault_injection.results",
    "SelfTestReport": "exporter.fault_injection.results",
    "export": "exporter.workflows.export",
    "inspect": "exporter.workflows.inspect",
    "optimize": "exporter.workflows.optimize",
    "self_test": "exporter.fault_injection.runner",
    "verify_parity": "exporter.workflows.verify",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'exporter' has no attribute {name!r}")
