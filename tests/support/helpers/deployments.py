"""Rows and tables of `bench --all`, without measuring anything."""

from __future__ import annotations

from typing import Any

from exporter.bench.deployment.choice import find_exact, mark_pareto, recommend
from exporter.bench.deployment.types import BatchSpeed, DeploymentRow, DeploymentTable, MissingRow, Variant
from exporter.types import PrecisionOptions
from models.options import BuildOptions

SMALL = BuildOptions(num_classes=3, base_channels=2, feature_dim=8, input_size=(16, 48, 48))
"""A C3D that is exported and verified in less than a second."""

FAST = Variant("onnx", "int8", "cpu")
EXACT = Variant("onnx", "fp32", "cpu")
STORED = Variant("onnx", "fp32", "cpu", "int8")


def row(
    variant: Variant | None, latency: float, snr_db: float, top1: float | None = 1.0, **given: Any
) -> DeploymentRow:
    """Return a row of batches 1 and 4; an engine where there is no variant."""
    speeds = (
        BatchSpeed(1, latency, 1.1 * latency, 1 / latency, 9 * 10**7),
        BatchSpeed(4, 4 * latency, 5 * latency, 1 / latency, 10**8),
    )
    name = "torch eager" if variant is None else str(variant)
    size, command = (None, None) if variant is None else (2 * 10**7, f"c3d-export --precision {variant.precision}")
    made = DeploymentRow(name, variant, "an engine 1.0", size, 0.25, snr_db, top1, speeds, command=command)
    return DeploymentRow(**{**vars(made), **given})


ROWS = (row(FAST, 0.0231, 34.25), row(EXACT, 0.131, 119.0), row(None, 0.41, 130.0), row(STORED, 0.358, 26.0))
MISSING = (
    MissingRow("openvino", "not installed; pip install 'c3d-export[openvino]'", "unavailable"),
    MissingRow("onnx fp16 portable", "fc6 overflows", "failed"),
)


def table(
    rows: tuple[DeploymentRow, ...] = ROWS, wanted: PrecisionOptions | None = None, **given: Any
) -> DeploymentTable:
    """Return the table of some rows, with the recommendation that follows from them."""
    wanted = wanted or PrecisionOptions()
    best, exact = recommend(rows, wanted), find_exact(rows)
    made = DeploymentTable(
        network="C3D, 101 classes",
        device="cpu",
        threads=2,
        clips="24 clips of 6 videos, 8 clips of other videos held out",
        rows=mark_pareto(rows),
        missing=MISSING,
        recommended=best and best.name,
        exact=exact and exact.name,
        rule="the fastest",
        method=("measured",),
        notes=("a note",),
        environment={"processor": "a processor"},
        seconds={"build": 1.0, "export": 61.0, "measure": 30.0},
    )
    return DeploymentTable(**{**vars(made), **given})
