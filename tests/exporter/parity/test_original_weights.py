"""Which of the reference's weights an artifact's weight in fewer bits is a rounding of."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.graphs import normal
from numpy.typing import NDArray

from exporter.onnx_io.rounded_weights import RoundedWeight
from exporter.parity.original_weights import SCALE_ERRORS, Originals, match_weight, read_originals
from exporter.parity.sources import NetworkSource
from models.built_model import BuiltModel
from models.specs import OutputSpec, TensorSpec

SCALE = np.float32(1 / 32)
MATRIX = normal(6, 4)


def quantised(values: NDArray[Any], scale: np.float32 = SCALE) -> RoundedWeight:
    levels = np.clip(np.rint(values / scale), -128, 127).astype(np.int8)
    return RoundedWeight("w", levels, np.asarray(scale), None, True)


def half(values: NDArray[Any]) -> RoundedWeight:
    return RoundedWeight("w", values.astype(np.float16), None, None, True)


def find(weight: RoundedWeight, plain: dict[int, list[NDArray[Any]]], *folded: NDArray[Any]) -> NDArray[Any] | None:
    """Return the original of a weight of an artifact that keeps its batch normalisation."""
    others = {values.size: [values] for values in folded}
    return match_weight(weight, Originals(plain, others), folded=False).numbers


@pytest.mark.parametrize("form", [quantised, half])
def test_a_weight_is_found_by_its_numbers_in_each_order_of_its_axes(form: Any) -> None:
    unit = SCALE if form is quantised else np.float32(1)
    others = [normal(6, 4, seed=7), normal(4, 6, seed=8)]
    for kept, wanted in ((MATRIX, MATRIX), (MATRIX.T.copy(), MATRIX)):
        found = find(form(wanted), {24: [*others, kept]})
        assert found is not None
        assert np.array_equal(found, wanted / unit)
    conv = normal(2, 3, 4, 1, 2)
    stacked = conv.transpose(0, 2, 1, 3, 4).reshape(2, 12, 1, 2)
    found = find(form(stacked), {conv.size: [conv]})
    assert found is not None
    assert np.array_equal(found, stacked / unit)


def test_one_number_that_is_more_than_half_a_level_off_is_no_rounding() -> None:
    for off, expected in ((0.49, True), (0.52, False)):
        exact = np.rint(MATRIX / SCALE) * SCALE
        weight = quantised(exact)
        exact[-1, -1] += np.float32(off) * SCALE
        assert (find(weight, {24: [exact]}) is not None) is expected


@pytest.mark.parametrize("units", [0.9, 1.2])
def test_a_scale_in_half_precision_is_rounded_itself(units: float) -> None:
    """So may have been the weight and their quotient: three times half a unit in the last place of the scale."""
    scale = np.asarray(np.abs(MATRIX).max() / 127)
    exact = (np.rint(MATRIX / scale) + 0.5 * np.sign(MATRIX)) * scale
    weight = replace(quantised(np.rint(MATRIX / scale) * scale, np.float32(scale)), scale=scale, scale_error=2.0**-11)
    changed = exact + units * SCALE_ERRORS * 2.0**-11 * exact
    assert (find(weight, {24: [changed]}) is not None) is (units < 1)
    assert find(replace(weight, scale_error=0.0), {24: [changed]}) is None


def test_of_two_that_fit_none_is_the_original_unless_they_are_equal() -> None:
    weight = quantised(MATRIX)
    other = MATRIX.copy()
    other[0, 0] = np.rint(MATRIX[0, 0] / SCALE) * SCALE
    assert other[0, 0] != MATRIX[0, 0]
    assert find(weight, {24: [MATRIX, other]}) is None
    assert find(weight, {24: [MATRIX, MATRIX.copy()]}) is not None


def test_a_single_number_is_within_half_a_unit_of_others_by_chance() -> None:
    one = np.array([1.5], np.float32)
    assert find(half(one), {1: [one]}) is None
    two = np.array([1.5, 2.5], np.float32)
    assert find(half(two), {2: [two]}) is not None


def test_a_scale_too_coarse_for_its_weight_is_no_rounding() -> None:
    assert np.abs(MATRIX).max() < 8
    assert find(quantised(MATRIX, np.float32(8)), {24: [MATRIX]}) is None
    zeros = np.zeros_like(MATRIX)
    assert find(quantised(zeros, np.float32(8)), {24: [zeros]}) is not None


def test_of_a_layer_as_it_is_and_folded_the_artifact_decides() -> None:
    weight = quantised(MATRIX)
    folded = MATRIX * np.float32(1 / np.sqrt(1 + 1e-5))  # a batch normalisation that was never trained
    originals = Originals({24: [MATRIX]}, {24: [folded]})
    for flag, expected in ((True, folded), (False, MATRIX)):
        match = match_weight(weight, originals, folded=flag)
        assert match.numbers is not None
        assert np.array_equal(match.numbers, expected / SCALE)
    assert find(quantised(MATRIX * np.float32(2)), {24: [MATRIX]}, MATRIX * np.float32(2)) is not None


def test_a_networks_batch_normalisation_is_folded() -> None:
    torch.manual_seed(0)
    layer, norm = torch.nn.Conv3d(2, 4, 3), torch.nn.BatchNorm3d(4)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.running_var)  # pyright: ignore[reportArgumentType] - it has one
    network = torch.nn.Sequential(layer, norm).eval().requires_grad_(requires_grad=False)
    shape = ("batch", 2, 3, 3, 3)
    model = BuiltModel(network, TensorSpec("x", "float32", shape), (OutputSpec("y", (4, 1, 1, 1)),))
    originals = read_originals(NetworkSource(model))
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]
    expected = (layer.weight * gain.reshape(4, 1, 1, 1, 1)).numpy()
    (folded,) = originals.folded[layer.weight.numel()]
    (plain,) = originals.plain[layer.weight.numel()]
    assert np.allclose(folded, expected, rtol=1e-6, atol=0)
    assert np.array_equal(plain, layer.weight.numpy())
