"""Side by side: latency, throughput, load time and memory of model files, and of other engines on the same network.

* `bench.report`: what is asked for and what was found, frozen dataclasses.
* `bench.measuring`: `bench()`, the story: gather, load, measure in turns, compare.
* `bench.contestants`: one table of engines; `bench.material`, `bench.peers`: what each of them runs.
* `bench.worker`: a contestant's own process; `bench.workers`: this end of the pipe; `bench.engines`: one file each.
* `bench.feeds`, `bench.turns`: what they are given, and in which order they run.
* `bench.ratios`: paired ratios and their interval; `bench.roofline`: what direct convolution could reach at best.

The names below are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.bench.runner import bench
    from exporter.bench.types import BenchReport, BenchRequest

__all__ = ["BenchReport", "BenchRequest", "bench"]

_HOMES = {
    "BenchReport": "exporter.bench.types",
    "BenchRequest": "exporter.bench.types",
    "bench": "exporter.bench.runner",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'exporter.bench' has no attribute {name!r}")
