"""Golden outputs: the network in float64, checked against an independent computation."""

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import reference, small_models
from helpers.golden import KnownRuntime, KnownSource
from helpers.parity import verify

from exporter.errors import OutputError
from exporter.parity.golden import GoldenOutputs, require_cache
from exporter.parity.input_set import InputSet
from exporter.parity.sources import FileSource
from models.built_model import BuiltModel
from models.config import OUTPUTS


def test_float64_equals_an_independent_computation(narrow: BuiltModel, inputs: InputSet, golden: GoldenOutputs) -> None:
    state = {name: value.double().numpy() for name, value in narrow.network.state_dict().items()}
    row = inputs.names.index("video")
    expected = reference.outputs(state, inputs.feeds[row]["clip"][0].astype(np.float64), "symmetric")
    for name in OUTPUTS:
        values = golden.float64(name, [row])
        assert values.dtype == np.float64
        assert np.abs(values[0] - expected[name]).max() <= 1e-12 * np.abs(expected[name]).max(), name


def test_the_float32_baseline_has_small_errors_everywhere(golden: GoldenOutputs) -> None:
    for name in ("logits", "fc6", "fc7"):
        rows = range(len(golden.inputs.names))
        float64, float32 = golden.float64(name, rows), golden.float32(name, rows)
        assert float32.dtype == np.float32
        errors = np.abs(float32 - float64).max(axis=1) / np.abs(float64).max(axis=1)
        assert (errors > 1e-8).all()
        assert (errors < 1e-5).all()


@pytest.fixture
def small(tmp_path: Path) -> FileSource:
    """A small model file, which takes milliseconds."""
    return FileSource(small_models.network(tmp_path / "m.onnx"), "onnx")


def rows(count: int = 2) -> InputSet:
    values = np.random.default_rng(1).standard_normal((count, 3, 8, 8)).astype(np.float32)
    return InputSet.of_rows({"x": values}, tuple(f"row {row}" for row in range(count)))


def test_cached_rows_are_not_computed_again(small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    first, again = (GoldenOutputs(small, rows(), folder) for _ in range(2))
    first.compute([0, 1])
    again.compute([1, 0])
    assert (first.computed, again.computed) == (2, 0)
    for read in (GoldenOutputs.float64, GoldenOutputs.float32):
        assert np.array_equal(read(first, "scores", [0, 1]), read(again, "scores", [0, 1]))
    assert not np.array_equal(first.float64("scores", [0]), first.float64("scores", [1]))


def test_notes_about_the_reference_are_cached_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KnownRuntime, "notes", ("known outputs",))
    outputs = {"y": np.ones((1, 2))}
    inputs = InputSet.of_rows({"row": np.zeros((1, 1), np.float32)}, ("a",))
    for computed in (1, 0):
        golden = GoldenOutputs(KnownSource(outputs, outputs), inputs, tmp_path)
        golden.compute([0])
        assert (golden.computed, golden.notes) == (computed, ("known outputs",))


def test_the_cache_key_has_weights_and_inputs(small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    GoldenOutputs(small, rows(), folder).compute([0])
    other_file = FileSource(small_models.network(tmp_path / "o.onnx", change=small_models.scaled("w1", 1.001)), "onnx")
    copied = FileSource(small_models.network(tmp_path / "elsewhere.onnx"), "onnx")
    inputs = rows()
    nudged = InputSet.of_rows({"x": np.nextafter(inputs.select([0])["x"], np.float32(9))}, inputs.names)
    for source, feeds, computed in ((other_file, inputs, 1), (small, nudged, 1), (copied, inputs, 0)):
        golden = GoldenOutputs(source, feeds, folder)
        golden.compute([0])
        assert golden.computed == computed


def packed(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{name.replace("_", "/"): values for name, values in arrays.items()})
    return stream.getvalue()


def array(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


ROW = np.zeros((1, 2))
NONE = np.array([], np.str_)
DAMAGES = {
    "empty": b"",
    "cut": b"cut",
    "the start of an archive": b"PK\x03\x04",
    "an array": array(np.zeros(3)),
    "an array that claims more": array(np.zeros(3)).replace(b"(3,)", b"(3000000000000,)"),
    "an array of fields": array(np.zeros(3, "i4,i4")),
    "one note that is no list": packed(float32_y=ROW, float64_y=ROW, notes_all=np.array("a")),
    "no notes": packed(float32_y=ROW, float64_y=ROW),
    "other shapes": packed(float32_y=ROW, float64_y=ROW[0], notes_all=NONE),
    "other outputs": packed(float32_y=ROW, float64_z=ROW, notes_all=NONE),
    "no outputs": packed(notes_all=NONE),
    "another name": packed(float16_y=ROW, notes_all=NONE),
    "a flipped bit": None,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_file_is_computed_again(damage: bytes | None, small: FileSource, tmp_path: Path) -> None:
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
    assert kept.read_bytes() == content  # and written again


def test_several_threads_may_store_the_same_row(small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    golden_outputs = [GoldenOutputs(small, rows(1), folder) for _ in range(4)]
    with ThreadPoolExecutor(4) as workers:
        for done in [workers.submit(golden.compute, [0]) for golden in golden_outputs for _ in range(3)]:
            done.result()
    assert [path.suffix for path in folder.iterdir()] == [".npz"]
    assert len({golden.float64("scores", [0]).tobytes() for golden in golden_outputs}) == 1


def test_a_cache_that_cannot_be_written_to(small: FileSource, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    require_cache(folder)
    assert [*folder.iterdir()] == []
    with pytest.raises(OutputError, match="--cache .*m.onnx: cannot be written to: it is a file"):
        require_cache(tmp_path / "m.onnx")
    shutil.rmtree(folder)
    with pytest.raises(OutputError, match="--cache .*cache: cannot be written to: No such file"):
        GoldenOutputs(small, rows(1), folder).compute([0])


def test_layers_are_floating_point_and_in_both(small: FileSource) -> None:
    single, exact = GoldenOutputs(small, rows(1)).layers(0)
    assert [*single] == [*exact] == [*small_models.LAYERS]
    assert {values.dtype for values in exact.values()} == {np.dtype(np.float64)}
    assert {values.dtype for values in single.values()} == {np.dtype(np.float32)}


def test_a_row_is_repeated_to_fill_a_fixed_batch(tmp_path: Path) -> None:
    inputs, dynamic = rows(), FileSource(small_models.network(tmp_path / "m.onnx"), "onnx")
    fixed = FileSource(small_models.network(tmp_path / "f.onnx", batch=3), "onnx")
    outputs: list[Any] = []
    for source in (dynamic, fixed):
        golden = GoldenOutputs(source, inputs)
        golden.compute([0, 1])
        outputs.append(golden.float64("scores", [0, 1]))
        assert golden.layers(1)[1]["conv1"].shape == (1, 6, 8, 8)
    assert outputs[1].shape == (2, 7)
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-12


def test_external_weights_are_part_of_the_cache_key(tmp_path: Path) -> None:
    """Two files with equal graphs and different weights in a file beside them."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        factor = 1.0 if folder == "one" else 2.0
        source = small_models.network(tmp_path / "s.onnx", change=small_models.scaled("w3", factor))
        onnx.save(
            onnx.load(source),
            tmp_path / folder / "m.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
    assert (tmp_path / "one" / "m.onnx").read_bytes() == (tmp_path / "two" / "m.onnx").read_bytes()
    for folder in ("one", "two"):
        path = tmp_path / folder / "m.onnx"
        assert verify(path, path, input_types=("random",), cache=tmp_path / "cache").passed
    assert len([*(tmp_path / "cache").glob("*.npz")]) == 2
