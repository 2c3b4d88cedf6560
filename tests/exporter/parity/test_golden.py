"""The truth is the network in float64, held against an independent computation."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import reference, small_models

from exporter.errors import OutputError
from exporter.parity.golden import FileSource, GoldenOutputs, require_cache
from exporter.parity.inputs import InputSet
from models.builder import BuiltModel
from models.config import OUTPUTS


def test_truth_equals_an_independent_computation(built: BuiltModel, inputs: InputSet, golden: GoldenOutputs) -> None:
    state = {name: value.double().numpy() for name, value in built.network.state_dict().items()}
    place = inputs.names.index("video")
    expected = reference.answers(state, inputs.feeds["clip"][place].astype(np.float64), "symmetric")
    for name in OUTPUTS:
        values = golden.float64(name, [place])
        assert values.dtype == np.float64
        assert np.abs(values[0] - expected[name]).max() <= 1e-12 * np.abs(expected[name]).max(), name


def test_pytorchs_float32_errs_a_little_and_everywhere(golden: GoldenOutputs) -> None:
    for name in ("logits", "fc6", "fc7"):
        rows = range(len(golden.inputs.names))
        exact, single = golden.float64(name, rows), golden.float32(name, rows)
        assert single.dtype == np.float32
        errors = np.abs(single - exact).max(axis=1) / np.abs(exact).max(axis=1)
        assert (errors > 1e-8).all()
        assert (errors < 1e-5).all()


@pytest.fixture
def small(tmp_path: Path) -> FileSource:
    """The truth of a small model file, which costs milliseconds."""
    return FileSource(small_models.network(tmp_path / "m.onnx"), "onnx")


def rows(count: int = 2) -> InputSet:
    values = np.random.default_rng(1).standard_normal((count, 3, 8, 8)).astype(np.float32)
    return InputSet({"x": values}, tuple(f"row {row}" for row in range(count)))


def test_the_cache_answers_without_computing(small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    first, again = (GoldenOutputs(small, rows(), folder) for _ in range(2))
    first.compute([0, 1])
    again.compute([1, 0])
    assert (first.computed, again.computed) == (2, 0)
    for read in (GoldenOutputs.float64, GoldenOutputs.float32):
        assert np.array_equal(read(first, "scores", [0, 1]), read(again, "scores", [0, 1]))
    assert not np.array_equal(first.float64("scores", [0]), first.float64("scores", [1]))


def test_the_cache_is_of_these_weights_and_these_inputs(small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    GoldenOutputs(small, rows(), folder).compute([0])
    other_file = FileSource(small_models.network(tmp_path / "o.onnx", change=small_models.scaled("w1", 1.001)), "onnx")
    moved = FileSource(small_models.network(tmp_path / "elsewhere.onnx"), "onnx")
    pool = rows()
    nudged = InputSet({"x": np.nextafter(pool.feeds["x"], np.float32(9))}, pool.names)
    for source, feeds, computed in ((other_file, pool, 1), (small, nudged, 1), (moved, pool, 0)):
        truth = GoldenOutputs(source, feeds, folder)
        truth.compute([0])
        assert truth.computed == computed


@pytest.mark.parametrize("damage", [b"", b"torn", b"PK\x03\x04", None])
def test_a_damaged_cache_is_computed_anew(damage: bytes | None, small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    GoldenOutputs(small, rows(1), folder).compute([0])
    (kept,) = folder.iterdir()
    content = kept.read_bytes()
    place = content.index(b"\x93NUMPY") + 200
    kept.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] if damage is None else damage)
    again = GoldenOutputs(small, rows(1), folder)
    again.compute([0])
    assert again.computed == 1
    assert kept.read_bytes() == content  # and kept whole


def test_many_may_keep_the_same_row_at_once(small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    truths = [GoldenOutputs(small, rows(1), folder) for _ in range(4)]
    with ThreadPoolExecutor(4) as workers:
        for done in [workers.submit(truth.compute, [0]) for truth in truths for _ in range(3)]:
            done.result()
    assert [path.suffix for path in folder.iterdir()] == [".npz"]
    assert len({truth.float64("scores", [0]).tobytes() for truth in truths}) == 1


def test_a_cache_that_cannot_be_written_to(small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    require_cache(folder)
    assert [*folder.iterdir()] == []
    with pytest.raises(OutputError, match="--cache .*m.onnx: cannot be written to: File exists"):
        require_cache(tmp_path / "m.onnx")
    shutil.rmtree(folder)
    with pytest.raises(OutputError, match="--cache .*cache: cannot be written to: No such file"):
        GoldenOutputs(small, rows(1), folder).compute([0])


def test_layers_are_floating_point_and_in_both(small: FileSource) -> None:
    single, exact = GoldenOutputs(small, rows(1)).layers(0)
    assert [*single] == [*exact] == [*small_models.LAYERS]
    assert {values.dtype for values in exact.values()} == {np.dtype(np.float64)}
    assert {values.dtype for values in single.values()} == {np.dtype(np.float32)}


def test_a_fixed_batch_is_filled_with_the_row(tmp_path: Path) -> None:
    pool, free = rows(), FileSource(small_models.network(tmp_path / "m.onnx"), "onnx")
    fixed = FileSource(small_models.network(tmp_path / "f.onnx", batch=3), "onnx")
    answers: list[Any] = []
    for source in (free, fixed):
        truth = GoldenOutputs(source, pool)
        truth.compute([0, 1])
        answers.append(truth.float64("scores", [0, 1]))
        assert truth.layers(1)[1]["conv1"].shape == (1, 6, 8, 8)
    assert answers[1].shape == (2, 7)
    assert np.abs(answers[0] - answers[1]).max() < 1e-12
