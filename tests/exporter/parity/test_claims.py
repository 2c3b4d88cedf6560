"""A manifest that states another precision than the file has must not decide the tolerance."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import pytest
from helpers.framed import small
from helpers.graphs import node
from helpers.manifests import MANIFEST
from onnx import numpy_helper

from exporter.artifacts.files import file_entry, read_manifest
from exporter.artifacts.manifest_fields import PRECISION, WEIGHT_DTYPE
from exporter.bench.plan import make_plan
from exporter.bench.types import BenchRequest
from exporter.parity.claims import describe_contradiction, finer_precision, held_precision
from exporter.passes import compress_weights
from exporter.requests import ExportRequest
from exporter.results import ParityReport, Precision
from exporter.types import ComputePrecision, FormatName, OptimizeOptions, ParityOptions, PrecisionOptions
from exporter.workflows.export import export
from exporter.workflows.inspect import inspect
from exporter.workflows.verify import verify_parity
from models.config import MANIFEST_KEY
from models.preprocessing.profiles import JFZHANG95
from models.progress import no_progress

MODEL = small(JFZHANG95)


@pytest.fixture(scope="module")
def float32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("float32"), OptimizeOptions())


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose weights are stored in int8."""
    with patch.object(compress_weights, "MIN_ELEMENTS", 64):
        return write(tmp_path_factory.mktemp("int8"), OptimizeOptions(weight_dtype="int8"))


def write(folder: Path, optimize: OptimizeOptions, compute: ComputePrecision = "fp32") -> Path:
    precision = PrecisionOptions(compute)
    request = ExportRequest(("onnx",), MODEL, optimize=optimize, precision=precision, output_dir=folder, verify=False)
    return export(request).artifacts[0].path


def forge(
    source: Path, folder: Path, precision: str, noise: float = 0.0, weights: str = "fp32", step: float = 0.0
) -> Path:
    """Return a copy whose manifests, inside and beside, state a precision.

    Args:
        source: the file.
        folder: where to.
        precision: what the copy states that it computes in.
        noise: of its last weights, relative to them.
        weights: what it states that they are stored in.
        step: what its scores are rounded to multiples of, in float32.
    """
    manifest = read_manifest(source.with_name(f"{source.name}.json"))
    manifest = replace(manifest, options={**manifest.options, PRECISION: precision, WEIGHT_DTYPE: weights})
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if noise and tensor.name == "fc.weight":
            weight = numpy_helper.to_array(tensor)
            changed = weight + noise * weight.std() * np.random.default_rng(0).standard_normal(weight.shape)
            tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
    if step:
        model.graph.node[-1].output[0] = "exact"
        model.graph.node.extend([node("Div", "exact step", "steps"), node("Round", "steps", "whole")])
        model.graph.node.append(node("Mul", "whole step", "scores"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(step, np.float32), "step"))
    for entry in model.metadata_props:
        if entry.key == MANIFEST_KEY:
            entry.value = manifest.embedded().to_json()
    path = folder / source.name
    onnx.save(model, path)
    path.with_name(f"{path.name}.json").write_text(replace(manifest, files=(file_entry(path),)).to_json())
    return path


def verify(path: Path) -> ParityReport:
    (report,) = verify_parity([path], ParityOptions(input_types=("random", "video")), MODEL)
    return report


@pytest.mark.parametrize(("noise", "passes"), [(0.0, True), (0.01, False)])
def test_a_float32_file_that_states_int8_is_compared_as_float32(
    float32: Path, noise: float, tmp_path: Path, *, passes: bool
) -> None:
    path = forge(float32, tmp_path, "int8", noise)  # 40 dB, where int8 needs 30
    report = verify(path)
    assert report.passed == passes
    assert report.tolerance.startswith("within 8 times")
    assert any("states int8, but the file is float32" in note for note in report.notes)


def test_an_int8_file_that_states_float32_fails_as_float32(int8: Path, tmp_path: Path) -> None:
    assert verify(int8).passed
    report = verify(forge(int8, tmp_path, "fp32"))
    assert not report.passed
    (note,) = [note for note in report.notes if "states float32, but the file is int8" in note]
    assert "--min-snr" in note


@pytest.mark.parametrize(("decibels", "passes"), [(15.0, True), (90.0, False)])
def test_a_file_that_was_quantised_after_its_export_is_held_to_the_users_minimum(
    decibels: float, int8: Path, tmp_path: Path, *, passes: bool
) -> None:
    path = forge(int8, tmp_path, "fp32")
    (report,) = verify_parity([path], ParityOptions(input_types=("video",), min_snr=decibels), MODEL)
    assert report.passed == passes
    assert report.tolerance.startswith("int8")
    (note,) = [note for note in report.notes if "states float32, but the file is int8" in note]
    assert "--min-snr" not in note


@pytest.mark.parametrize(("precision", "weights"), [("fp32", "int8"), ("int8", "int8"), ("int8", "fp32")])
def test_weights_in_int8_cover_no_fault_whatever_the_manifest_states(
    int8: Path, precision: str, weights: str, tmp_path: Path
) -> None:
    """The file computes in float32, and has less noise than int8 may have."""
    report = verify(forge(int8, tmp_path, precision, weights=weights))
    assert report.passed
    assert report.tolerance.startswith("int8 weights in a float32 model")
    report = verify(forge(int8, tmp_path, precision, 0.1, weights))
    assert not report.passed
    assert all(row.snr_db > 15 for row in report.comparisons)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_float32_graph_that_rounds_like_int8_is_none_that_stores_its_weights_so(
    int8: Path, precision: str, tmp_path: Path
) -> None:
    """Fake quantisation: the scores are rounded to steps in float32. Before, 15 dB were enough for such a file."""
    report = verify(forge(int8, tmp_path, precision, weights="int8", step=0.1))
    assert not report.passed
    assert report.tolerance.startswith("int8 weights in a float32 model")
    assert any(row.snr_db > 15 for row in report.comparisons)


def test_a_file_that_computes_in_float16_is_none_that_only_stores_its_weights_so(tmp_path: Path) -> None:
    """Of float32 arithmetic with weights in float16, 45 dB are required; of float16 arithmetic 60."""
    float16, forged = tmp_path / "float16", tmp_path / "forged"
    forged.mkdir()
    path = forge(write(float16, OptimizeOptions(), "fp16"), forged, "fp32", weights="fp16")
    report = verify(path)
    assert not report.passed
    assert any("states float32, but the file is float16" in note for note in report.notes)
    assert "states float32, but the file is float16" in inspect(path).facts["contradiction"]


def test_weights_in_float16_of_float32_arithmetic_contradict_nothing(tmp_path: Path) -> None:
    with patch.object(compress_weights, "MIN_ELEMENTS", 64):
        path = write(tmp_path, OptimizeOptions(weight_dtype="fp16"))
    assert "contradiction" not in inspect(path).facts
    assert verify(path).tolerance.startswith("float16 weights in a float32 model")


def test_weights_too_small_to_be_stored_in_fewer_bits_contradict_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, OptimizeOptions(weight_dtype="int8"))
    assert "contradiction" not in inspect(path).facts
    report = verify(path)
    assert report.passed
    assert not any("but the file is" in note for note in report.notes)


def test_inspect_and_bench_say_so(float32: Path, int8: Path, tmp_path: Path) -> None:
    forged = forge(float32, tmp_path, "int8")
    assert "states int8, but the file is float32" in inspect(forged).facts["contradiction"]
    assert "contradiction" not in inspect(float32).facts | inspect(int8).facts
    with make_plan(BenchRequest((forged, int8)), no_progress) as plan:
        assert [note.partition(":")[0] for note in plan.notes if "but the file is" in note] == [str(forged)]


@pytest.mark.parametrize(
    ("stated", "found", "compared", "contradicts"),
    [
        (None, "int8", "int8", False),
        ("int8", "int8", "int8", False),
        ("float32", "float64", "float32", False),
        ("float32", "bfloat16", "float32", True),
        ("bfloat16", "float16", "float16", True),
        ("float16", "int8", "float16", True),
        ("bfloat16", "float32", "float32", True),
    ],
)
def test_the_finer_precision_counts(
    stated: Precision | None, found: Precision, compared: Precision, *, contradicts: bool
) -> None:
    assert finer_precision(stated, found) == compared
    assert (describe_contradiction(stated, found) is not None) == contradicts


@pytest.mark.parametrize(
    ("format_name", "weights", "found", "held"),
    [
        ("openvino", "fp16", "float16", "float16"),
        ("openvino", "int8", "int8", "float32"),  # int8 there is arithmetic
        ("torchscript", "fp16", "float16", "float32"),
        ("pt2", "int8", "int8", "float32"),
        ("torchscript", "fp32", "float16", "float32"),
    ],
)
def test_formats_that_store_weights_in_what_they_compute_in_are_held_to_float32(
    format_name: FormatName, weights: str, found: Precision, held: Precision, tmp_path: Path
) -> None:
    manifest = replace(MANIFEST, format=format_name, options={PRECISION: "fp32", WEIGHT_DTYPE: weights})
    with patch("exporter.parity.claims.read_ir") as read:
        read.return_value.precision = found
        assert held_precision(tmp_path / "m", format_name, manifest) == held
