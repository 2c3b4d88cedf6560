"""Tolerances, with budgets computed by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import small_models
from helpers.parity import FEW, verify
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import UsageError
from exporter.parity.compare import Expected, compare
from exporter.parity.row_tolerances import UNCALIBRATED_SNR, Tolerances
from exporter.parity.tolerance import (
    SNR_TOLERANCES,
    AllcloseTolerance,
    Float32RelativeTolerance,
    StoredWeightsTolerance,
    select_tolerance,
)
from exporter.results import Precision
from exporter.types import ParityOptions

EXACT = np.array([[3.0, -4.0, 0.0, 5.0]])  # its root mean square is sqrt(12.5)


@pytest.mark.parametrize(("precision", "minimum"), [("float16", 45), ("bfloat16", 28), ("int8", 15)])
def test_the_signal_to_noise_ratio_decides(precision: Precision, minimum: float) -> None:
    tolerance = SNR_TOLERANCES[precision]
    for decibels, passed in ((minimum + 0.1, True), (minimum - 0.1, False)):
        noise = math.sqrt(50) * 10 ** (-decibels / 20)
        values = EXACT + np.array([[noise, 0, 0, 0]])
        row = compare("x", "fc6", values, Expected(EXACT, EXACT.astype(np.float32)), tolerance)
        assert row.snr_db == pytest.approx(decibels)
        assert row.passed is passed
        assert row.budget_used == pytest.approx(10 ** ((minimum - decibels) / 20))
    assert f"{precision}: signal to noise at least {minimum} dB on every input" in tolerance.description


@pytest.mark.parametrize(("value", "passed"), [(0.0, True), (6e-8, True), (1.2e-7, False)])
def test_a_number_in_float16_may_be_off_by_its_smallest_step(value: float, passed: bool) -> None:
    exact = np.array([[5e-8]])
    expected = Expected(exact, exact.astype(np.float32))
    assert compare("x", "y", np.array([[value]], np.float16), expected, SNR_TOLERANCES["float16"]).passed is passed
    assert not compare("x", "y", np.array([[value]], np.float32), expected, SNR_TOLERANCES["float16"]).passed


def test_the_stated_cosine_follows_from_the_ratio() -> None:
    for tolerance in SNR_TOLERANCES.values():
        stated = float(tolerance.description.split("cosine at least ")[1].split(")")[0])
        ratio = 10 ** (-tolerance.min_snr_db / 20)  # noise at right angles to the signal changes the angle most
        assert -1e-3 < stated - 1 / math.hypot(1, ratio) <= 1e-6


def test_the_tolerance_of_a_batch_follows_from_its_rows() -> None:
    float32, regular = Float32RelativeTolerance("it"), SNR_TOLERANCES["int8"]
    held_out = replace(regular, min_snr_db=30.0)
    tolerances = Tolerances(regular, held_out, frozenset({1, 2}), uncalibrated=frozenset({3}), signals={"y": 2.0})
    assert tolerances.of([1]) is tolerances.of([2, 1]) is held_out
    assert tolerances.of([0, 1]) is tolerances.of([0]) is regular
    assert tolerances.of([0, 3], "y") == replace(regular, min_snr_db=UNCALIBRATED_SNR, min_signal=2.0)
    assert tolerances.of([3], "z") == replace(regular, min_snr_db=UNCALIBRATED_SNR)
    exact = Expected(EXACT, EXACT.astype(np.float32))  # the opposite of an output saturates, three times it is wrong
    assert compare("x", "y", -EXACT, exact, tolerances.of([3], "z")).passed
    assert not compare("x", "y", -2 * EXACT, exact, tolerances.of([3], "z")).passed
    assert Tolerances(float32, uncalibrated=frozenset({3})).of([3]) is float32


def test_a_single_number_has_a_ratio_of_its_own() -> None:
    expected = Expected(np.array([[4.0]]), np.array([[4.0]], np.float32))
    for value, passed in ((4.6, True), (4.8, False)):  # 15 dB are noise of 0.71
        assert compare("x", "y", np.array([[value]]), expected, SNR_TOLERANCES["int8"]).passed is passed


def test_one_class_among_hundreds_has_a_largest_error_of_its_own() -> None:
    """28 dB are noise of 0.04 of the signal: 0.24 for a single number. In the mean of 400, 0.8 would not be seen."""
    exact = np.random.default_rng(0).choice([-1.0, 1.0], (1, 400))
    expected = Expected(exact, exact.astype(np.float32))
    for error, passed in ((0.23, True), (0.25, False)):
        values = exact + np.where(np.arange(400) == 7, error, 0)
        row = compare("x", "logits", values, expected, SNR_TOLERANCES["bfloat16"])
        assert row.snr_db > 28
        assert row.passed is passed


def test_noise_of_the_largest_size_that_passes_has_no_such_errors() -> None:
    rng = np.random.default_rng(0)
    exact = rng.standard_t(3, (1, 100_000))  # the largest numbers are a hundred times the others
    noise = rng.standard_normal(exact.shape)
    noise *= np.sqrt(np.square(exact).mean()) * 10 ** (-28.1 / 20)
    expected = Expected(exact, exact.astype(np.float32), ranked=False)
    for values in (exact + noise, exact * (1 + 10 ** (-28.1 / 20))):
        assert compare("x", "features", values, expected, SNR_TOLERANCES["bfloat16"]).passed


def test_the_tolerance_is_selected_by_options_and_precision() -> None:
    assert select_tolerance("float32", ParityOptions(), "PyTorch float32") == Float32RelativeTolerance(
        "PyTorch float32"
    )
    assert select_tolerance("float64", ParityOptions(), "it") == Float32RelativeTolerance("it")
    assert select_tolerance("int8", ParityOptions(), "it") is SNR_TOLERANCES["int8"]
    assert select_tolerance("int8", ParityOptions(atol=0.5), "it") == AllcloseTolerance(0, 0.5)


def test_zeros_have_no_budget() -> None:
    zeros = np.zeros((1, 4))
    row = compare("z", "fc6", zeros, Expected(zeros, zeros), SNR_TOLERANCES["int8"])
    assert (row.passed, row.budget_used) == (True, 0)
    assert not compare("z", "fc6", zeros + 1e-3, Expected(zeros, zeros), SNR_TOLERANCES["int8"]).passed


@pytest.mark.parametrize("fill", [-65504.0, -1e9, float(np.finfo(np.float32).min)])
def test_a_masked_place_hides_no_error_of_the_others(fill: float) -> None:
    exact = np.array([[0.25, -1.0, fill, 0.5, fill + 0.5]])
    expected = Expected(exact, exact.astype(np.float32))
    tolerance = Float32RelativeTolerance("float32")
    assert compare("x", "y", exact.astype(np.float32), expected, tolerance).passed
    assert not compare("x", "y", exact + np.array([[0, 1e-4, 0, 0, 0]]), expected, tolerance).passed
    beside = tolerance.allowed(exact[0].astype(np.float32).astype(np.float64), exact[0])
    alone = tolerance.allowed(*(np.array([0.25, -1.0, 0.5]) for _ in range(2)))
    np.testing.assert_array_equal(beside[[0, 1, 3]], alone)


def test_a_number_of_ordinary_size_masks_nothing() -> None:
    tolerance = Float32RelativeTolerance("float32")
    for exact in (np.array([1.0, 1e-12, 1e-9]), np.array([30000.0, 20000.0, 1.0]), np.array([1e9, 0.0, 0.0])):
        assert len(set(tolerance.allowed(exact, exact).tolist())) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_has_its_own_tolerance(dtype: str, theirs: Path, tmp_path: Path) -> None:
    code, engine = getattr(TensorProto, dtype.upper()), None if dtype == "float16" else "onnx-reference"
    half = small_models.narrowed(theirs, tmp_path / "half.onnx", code)
    report = verify(half, theirs, engine=engine, localize=True)
    assert report.passed
    assert report.tolerance.startswith(f"{dtype}: signal to noise at least ")
    assert f"compared as {dtype}, which is an approximation" in " ".join(report.notes)
    assert not {"nan", "large", "denormal"} & {row.input for row in report.comparisons}
    assert report.localization is not None
    assert report.localization.first is None
    assert 40 < min(row.snr_db for row in report.comparisons) < 80
    fault = small_models.network(tmp_path / "fault.onnx", change=small_models.scaled("w2", 1.1))
    assert not verify(small_models.narrowed(fault, tmp_path / "f.onnx", code), theirs, engine=engine).passed


def test_a_reference_in_half_precision_does_not_widen_the_tolerance(theirs: Path, tmp_path: Path) -> None:
    half = small_models.narrowed(theirs, tmp_path / "half.onnx", TensorProto.FLOAT16)

    def rounded(values: small_models.Weights) -> None:
        values |= {name: value.astype(np.float16).astype(np.float32) for name, value in values.items()}

    same = small_models.network(tmp_path / "same.onnx", change=rounded)
    assert verify(same, half, input_types=FEW).passed
    assert not verify(theirs, half, input_types=FEW).passed  # its weights are not rounded


def test_eight_bits(theirs: Path, tmp_path: Path) -> None:
    """8-bit weights with one scale for each output channel."""

    def quantize(bits: float) -> Path:
        model = onnx.load(theirs)
        nodes: list[onnx.NodeProto] = []
        for tensor in [tensor for tensor in model.graph.initializer if tensor.name.startswith("w")]:
            name, value = tensor.name, numpy_helper.to_array(tensor)
            scale = np.abs(value).max(axis=tuple(range(1, value.ndim))) / np.float32(2 ** (bits - 1) - 1)
            whole = np.round(value / scale.reshape(-1, *[1] * (value.ndim - 1))).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(whole, f"{name}.int8"))
            model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], axis=0))
        nodes += model.graph.node
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        onnx.save(model, tmp_path / f"{bits}.onnx")
        return tmp_path / f"{bits}.onnx"

    report = verify(quantize(8), theirs)
    assert report.passed
    assert report.tolerance.startswith("int8 weights in a float32 model: ")
    assert report.top1_agreement is not None
    assert not verify(quantize(2), theirs).passed
    assert not verify(quantize(8), theirs, rtol=1e-5).passed


def test_unused_weights_do_not_decide_the_precision(theirs: Path, tmp_path: Path) -> None:
    model = onnx.load(small_models.network(tmp_path / "mine.onnx", change=small_models.scaled("w2", 1.001)))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 2), np.float16), "unused"))
    onnx.save(model, tmp_path / "mine.onnx")
    report = verify(tmp_path / "mine.onnx", theirs, input_types=FEW)
    assert report.tolerance.startswith("within 8 times")
    assert not report.passed


def test_rtol_and_atol_take_precedence(theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "mine.onnx", change=small_models.scaled("w3", 1.001))
    assert verify(mine, theirs, input_types=FEW, rtol=2e-3, atol=1e-3).passed
    assert (
        verify(mine, theirs, input_types=FEW, rtol=2e-3, atol=1e-3).tolerance
        == "within 0.001 + 0.002 |reference|, as asked for"
    )
    assert not verify(mine, theirs, input_types=FEW, rtol=1e-4).passed
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--rtol and --atol must be finite and not negative"):
            verify(mine, theirs, input_types=FEW, rtol=wrong)


@pytest.mark.parametrize(("error", "passed"), [(1e-3, True), (1e-1, False)])
def test_stored_weights_keep_the_tolerance_of_their_type_however_much_their_rounding_does(
    error: float, passed: bool
) -> None:
    exact = np.array([1.0, -2.0, 3.0, 0.5])
    tolerance = StoredWeightsTolerance(
        Float32RelativeTolerance("float32"), SNR_TOLERANCES["float16"], rounding=(10.0,), min_top1=None
    )
    _, used = tolerance.measure(exact + error, exact, exact)
    assert (used <= 1) is passed
