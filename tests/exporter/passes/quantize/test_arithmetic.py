"""Scales, zero points and integers are those of onnxruntime's quantiser."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnxruntime.quantization.quant_utils import compute_scale_zp, get_qmin_qmax_for_qType, quantize_data

from exporter.passes.quantize.arithmetic import quantize_bias, quantize_weight, symmetric_scale, unsigned_scale

RANGES = [(-1.0, 3.0), (0.0, 6.2), (-5.0, 0.0), (0.5, 2.0), (-3.0, -1.0)]


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("symmetric", [True, False])
def test_scale_and_zero_point(low: float, high: float, symmetric: bool) -> None:
    kind = TensorProto.INT8 if symmetric else TensorProto.UINT8
    least, largest = get_qmin_qmax_for_qType(kind, symmetric=symmetric)
    bounds = [np.array(value, np.float32) for value in (min(low, 0), max(high, 0))]
    zero_point, scale = compute_scale_zp(bounds[0], bounds[1], least, largest, symmetric=symmetric)
    found = (symmetric_scale if symmetric else unsigned_scale)(low, high)
    assert found.scale == pytest.approx(float(scale), rel=1e-6)
    assert int(found.zero_point) == int(zero_point)
    assert found.zero_point.dtype == (np.int8 if symmetric else np.uint8)


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_of_each_channel(axis: int) -> None:
    weight = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    values, scales = quantize_weight(weight, 1 - axis)
    assert scales.shape == ((3, 1), (1, 4))[axis]
    for channel in range(weight.shape[axis]):
        row: Any = np.take(weight, channel, axis)
        *_, scale, expected = quantize_data(row, TensorProto.INT8, symmetric=True)
        assert scales.ravel()[channel] == pytest.approx(float(scale), rel=1e-6)
        assert np.array_equal(np.take(values, channel, axis), expected)


def test_a_zero_point_of_one_leaves_one_level_less_on_each_side():
    weight = np.array([[-2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    values, scales = quantize_weight(weight, 1, zero_point=1)
    assert values.tolist() == [[-125, 64, 1], [1, 1, 1]]
    assert scales.ravel() == pytest.approx([2 / 126, 1])


def test_a_range_of_zeros_has_a_scale():
    for scale in (symmetric_scale(0, 0), unsigned_scale(0, 0), symmetric_scale(-1e-45, 1e-45)):
        assert float(scale.scale) == 1
        assert int(scale.zero_point) == 0


def test_a_bias_is_added_to_the_sums_and_saturates():
    source = symmetric_scale(-12.7, 12.7)  # 0.1
    values, scales = quantize_bias(
        np.array([1.0, -0.26, 1e9], np.float32), source, np.array([0.5, 0.1, 1e-3], np.float32)
    )
    assert values.tolist() == [20, -26, 2**31 - 1]
    assert scales == pytest.approx([0.05, 0.01, 1e-4])
