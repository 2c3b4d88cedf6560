"""Faults in preprocessing: each changes the clip as its name says, is detected, and localisation names the clip."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from helpers.framed import small
from helpers.profile_origins import ORIGINS
from numpy.typing import NDArray

from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.fault_injection.faults.preprocessing import PREPROCESSING
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph
from exporter.fault_injection.harness import set_up
from exporter.fault_injection.results import SelfTestOptions
from exporter.fault_injection.runner import list_faults, run_faults
from exporter.fault_injection.split import split_model
from exporter.formats import load_artifact
from exporter.parity.run_specs import make_run_spec
from exporter.requests import ExportRequest
from exporter.types import QUICK, ParityOptions
from exporter.workflows.export import export
from exporter.workflows.verify import golden_outputs
from models.preprocessing.network import with_preprocessing
from models.preprocessing.profiles import EKOSMAN, GLUONCV, JFZHANG95
from models.preprocessing.recipe import Preprocessing

Array = NDArray[Any]
WIDTH, HEIGHT, LEFT, TOP, SIDE = 171, 128, 30, 8, 112
FRAMES = np.random.default_rng(4).integers(0, 256, (1, 2, 240, 320, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Preprocessing], Path]:
    made: dict[str, Path] = {}

    def get(profile: Preprocessing) -> Path:
        if profile.name not in made:
            folder = tmp_path_factory.mktemp(profile.name)
            request = ExportRequest(
                ("onnx",), small(profile), with_preprocess=True, output_dir=folder, name="small", verify=False
            )
            made[profile.name] = export(request).artifacts[0].path
        return made[profile.name]

    return get


@contextmanager
def split(path: Path) -> Generator[OriginalGraph]:
    with TemporaryDirectory() as folder:
        yield split_model(path, Path(folder))


def scores_of_clip(profile: Preprocessing, clip: Array) -> Array:
    """Return the network's scores in float64 of a clip (T, h, w, 3)."""
    network = small(profile).network.double()
    batch = torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)[np.newaxis], dtype=np.float64))
    return network(batch)[0].numpy()


def origin(profile: Preprocessing) -> Callable[[Array], Array]:
    return next(row[1] for row in ORIGINS if row[0] == profile)


def positions(size: int, resized: int, first: float) -> Array:
    """Return where the window's pixels lie, limited to the edge pixels' centres."""
    return np.clip((first + np.arange(SIDE) + 0.5) * size / resized - 0.5, 0, size - 1)


def ekosman_at(y: Array, x: Array) -> Array:
    """Return ekosman's clip of bilinear samples at the positions y and x."""
    low_y, low_x = np.floor(y).astype(int), np.floor(x).astype(int)
    part_y, part_x = (y - low_y)[:, None, None], (x - low_x)[None, :, None]
    pixels = FRAMES[0].astype(np.float64)
    rows = [pixels[:, index] for index in (low_y, np.minimum(low_y + 1, 239))]
    rows = [row[:, :, low_x] * (1 - part_x) + row[:, :, np.minimum(low_x + 1, 319)] * part_x for row in rows]
    mixed = rows[0] * (1 - part_y) + rows[1] * part_y
    return (mixed / 255 - EKOSMAN.mean) / np.array(EKOSMAN.std)


def jfzhang95_rounded_down() -> Array:
    """Return jfzhang95's clip by OpenCV's integers, without the half that rounds."""

    def taps(size: int, resized: int, first: int) -> tuple[Array, Array]:
        position = ((first + np.arange(SIDE) + 0.5) * size / resized - 0.5).astype(np.float32)
        low = np.floor(position).astype(int)
        return low, np.rint((position - low) * 2048).astype(int)

    (y, b), (x, a) = taps(240, HEIGHT, TOP), taps(320, WIDTH, LEFT)
    pixels = FRAMES[0].astype(int)
    rows = [
        pixels[:, y + step][:, :, x] * (2048 - a)[:, None] + pixels[:, y + step][:, :, x + 1] * a[:, None]
        for step in (0, 1)
    ]
    upper, lower = (((rows[0] >> 4) * (2048 - b)[:, None, None]) >> 16), (((rows[1] >> 4) * b[:, None, None]) >> 16)
    return ((upper + lower) >> 2)[..., ::-1] - np.array(JFZHANG95.mean)


Y, X = positions(240, HEIGHT, TOP), positions(320, WIDTH, LEFT)
EXPECTED: list[tuple[Preprocessing, str, int, Callable[[], Array]]] = [
    (JFZHANG95, "frames in BGR", 0, lambda: origin(JFZHANG95)(FRAMES[0, ..., ::-1])),
    (JFZHANG95, "mean missing", 0, lambda: origin(JFZHANG95)(FRAMES[0]) + JFZHANG95.mean),
    (
        JFZHANG95,
        "mean of reversed channels",
        0,
        lambda: origin(JFZHANG95)(FRAMES[0]) + JFZHANG95.mean - np.array(JFZHANG95.mean[::-1]),
    ),
    (GLUONCV, "scale missing", 0, lambda: (origin(GLUONCV)(FRAMES[0]) + np.divide(GLUONCV.mean, GLUONCV.std)) * 255 * GLUONCV.std - np.divide(GLUONCV.mean, GLUONCV.std)),
    (JFZHANG95, "pixels rounded down", 0, jfzhang95_rounded_down),
    (EKOSMAN, "crop shifted by one pixel", 0, lambda: ekosman_at(positions(240, HEIGHT, TOP + 1), X)),
    (EKOSMAN, "crop shifted by one pixel", 1, lambda: ekosman_at(Y, positions(320, WIDTH, LEFT + 1))),
    (EKOSMAN, "nearest pixel for interpolation", 0, lambda: ekosman_at(np.rint(Y), X)),
    (EKOSMAN, "pixel corners for pixel centres", 1, lambda: ekosman_at(Y, positions(320, WIDTH, LEFT - 0.5))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "kind", "site", "clip"), EXPECTED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_fault_changes_the_clip_as_it_says(
    exported: Callable[[Preprocessing], Path],
    profile: Preprocessing,
    kind: str,
    site: int,
    clip: Callable[[], Array],
) -> None:
    (row,) = [row for row in PREPROCESSING if row.name == kind]
    with split(exported(profile)) as graph:
        faulty = FaultyGraph(graph)
        [*row.find_sites(graph)][site].inject(faulty, np.random.default_rng(0))
        with find_engine("onnx").open(faulty.write(), RuntimeOptions()) as runtime:
            scores = runtime.run({"frames": FRAMES})["scores"]
    expected, right = scores_of_clip(profile, clip()), scores_of_clip(profile, origin(profile)(FRAMES[0]))
    assert np.abs(scores - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(expected - right).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("profile", [JFZHANG95, EKOSMAN], ids=lambda profile: profile.name)
def test_every_fault_is_detected_and_attributed_to_preprocessing(
    exported: Callable[[Preprocessing], Path], profile: Preprocessing, tmp_path: Path
) -> None:
    artifact, model = load_artifact(exported(profile)), with_preprocessing(small(profile))
    golden = golden_outputs(model, ParityOptions(input_types=QUICK))
    harness = set_up(artifact, golden, make_run_spec(artifact, ParityOptions(), model), tmp_path)
    results = run_faults(harness, list_faults(harness.graph, PREPROCESSING), SelfTestOptions(localize=True))
    assert {result.kind for result in results} >= {"frames in BGR", "mean missing", "crop shifted by one pixel"}
    assert {(result.outcome, result.located) for result in results} == {("detected", "layer")}


def test_a_network_of_clips_has_none_of_them(tmp_path: Path) -> None:
    request = ExportRequest(("onnx",), small(JFZHANG95), output_dir=tmp_path, name="bare", verify=False)
    with split(export(request).artifacts[0].path) as graph:
        assert not list_faults(graph, PREPROCESSING)
