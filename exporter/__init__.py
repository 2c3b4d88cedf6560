"""From a network to an artifact that is proven equal to it.

* `exporter.pipeline`: `export()`, the story in order: build, write, check, verify, publish.
* `exporter.formats`: one module per artifact format.
* `exporter.passes`: an ONNX model in, the same function out, faster; `exporter.optimization` does it to any file.
* `exporter.runtimes`: one module per engine that can run an artifact.
* `exporter.parity`: inputs, float64 truth, tolerance, comparison.
* `exporter.selftest`: faults planted in artifacts, to prove that parity catches them.
* `exporter.artifact`, `exporter.publish`: the manifest, its hashes, and how files reach their folder.
* `exporter.bench`: latency, throughput, load time and memory, side by side with other engines.
* `exporter.inspection`: what a file is, without running it.
* `exporter.reports`, `exporter.cli`: the same results for people and machines.

The names below are imported on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.artifact import Artifact, Manifest
    from exporter.inspection import inspect
    from exporter.optimization import optimize
    from exporter.parity.verify import verify_parity
    from exporter.pipeline import export
    from exporter.selftest.runner import self_test
    from exporter.selftest.verdicts import SelfTestOptions, SelfTestReport
    from exporter.types import ExportRequest, GraphOptions, OptimizeRequest, ParityOptions
    from exporter.verdicts import ParityReport

__all__ = [
    "Artifact",
    "ExportRequest",
    "GraphOptions",
    "Manifest",
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
    "Artifact": "exporter.artifact",
    "ExportRequest": "exporter.types",
    "GraphOptions": "exporter.types",
    "Manifest": "exporter.artifact",
    "OptimizeRequest": "exporter.types",
    "ParityOptions": "exporter.types",
    "ParityReport": "exporter.verdicts",
    "SelfTestOptions": "exporter.selftest.verdicts",
    "SelfTestReport": "exporter.selftest.verdicts",
    "export": "exporter.pipeline",
    "inspect": "exporter.inspection",
    "optimize": "exporter.optimization",
    "self_test": "exporter.selftest.runner",
    "verify_parity": "exporter.parity.verify",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'exporter' has no attribute {name!r}")
