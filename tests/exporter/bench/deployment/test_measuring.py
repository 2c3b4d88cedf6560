"""Measuring exports: groups that fit into memory, and accuracy from the processes that are timed."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.deployments import SMALL

from exporter.bench import roofline, rounds, runner
from exporter.bench.deployment import measuring
from exporter.bench.deployment.measuring import group_targets, measure
from exporter.bench.deployment.types import ExportedVariant, Variant
from exporter.bench.roofline import Product
from exporter.bench.types import BenchRequest
from exporter.calibration_clips import CalibrationClips
from exporter.requests import ExportRequest
from exporter.workflows.export import export
from models.builder import build
from models.built_model import BuiltModel
from models.progress import no_progress


def groups(count: int, each: float, available: float) -> list[list[Any]]:
    targets: Any = list(range(count))
    return [[*group] for group in group_targets(targets, each, available)]


def test_what_fits_is_measured_together() -> None:
    assert groups(4, 1.0, 5.0) == [[0, 1, 2, 3]]


def test_the_first_is_in_every_group() -> None:
    assert groups(6, 1.0, 4.0) == [[0, 1, 2], [0, 3, 4], [0, 5]]
    assert groups(3, 1.0, 0.5) == [[0, 1], [0, 2]]


@pytest.fixture(scope="module")
def small() -> BuiltModel:
    return build(SMALL)


@pytest.fixture(scope="module")
def exported(small: BuiltModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportedVariant, ...]:
    folder = tmp_path_factory.mktemp("exported")
    done = export(ExportRequest(("onnx",), small, output_dir=folder, name="first", verify=False))
    other = build(replace(SMALL, seed=1))
    wrong = export(ExportRequest(("onnx",), other, output_dir=folder, name="wrong", verify=False))
    (folder / "broken.onnx").write_bytes(done.artifacts[0].path.read_bytes().replace(b"Relu", b"Rule"))
    paths = (done.artifacts[0].path, wrong.artifacts[0].path, folder / "broken.onnx")
    return tuple(ExportedVariant(Variant("onnx"), path, path.stat().st_size) for path in paths)


@pytest.mark.parametrize("free", [1e12, 1.0])
def test_accuracy_is_that_of_the_held_out_clips_and_what_fails_is_reported(
    free: float,
    small: BuiltModel,
    exported: tuple[ExportedVariant, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "product_worker", nullcontext)
    monkeypatch.setattr(runner, "measure_product", lambda *_: Product(1e9, "fake"))
    monkeypatch.setattr(rounds, "MIN_ROUND_S", 0.005)
    monkeypatch.setattr(runner, "COOLDOWN_S", 0.0)
    monkeypatch.setattr(roofline, "MIN_SECONDS", 0.0)
    memory = measuring.psutil.virtual_memory()._replace(available=free)
    monkeypatch.setattr(measuring.psutil, "virtual_memory", lambda: memory)
    clips = np.random.default_rng(0).uniform(0, 255, (2, 3, 16, 48, 48)).astype(np.float32)
    calibration = CalibrationClips(clips[:0], clips, ("a", "b"), "two clips", "0" * 64)
    request = BenchRequest((), batches=(1, 2), threads=(1,), rounds=1, load_rounds=1, warmup=0)
    found = measure(exported, small, calibration, request, tmp_path, no_progress)
    assert found.accuracies["first.onnx"].snr_db > 80
    assert found.accuracies["wrong.onnx"].snr_db < 10
    assert [speed.batch for speed in found.speeds["first.onnx"]] == [1, 2]
    assert "broken.onnx" not in found.speeds
    assert [(skipped.target, skipped.added) for skipped in found.missing] == [("broken.onnx", False)]
    assert "groups" in " ".join(found.notes) or free > 1
