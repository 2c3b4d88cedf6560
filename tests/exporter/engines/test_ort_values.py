"""Arrays that onnxruntime does not exchange with NumPy come back as they were."""

import ml_dtypes
import numpy as np
import pytest

from exporter.engines.ort_values import to_array, to_ort_value


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz", "float8_e5m2"])
def test_narrow_floats(name: str) -> None:
    values = np.linspace(-2, 2, 6).reshape(2, 3).astype(getattr(ml_dtypes, name))
    back = to_array(to_ort_value(values))
    assert back.dtype == values.dtype
    assert np.array_equal(back.astype(np.float32), values.astype(np.float32))


def test_powers_of_two_without_a_sign() -> None:
    values = np.array([0.25, 1, 2.0**100, np.nan], np.float64).astype(ml_dtypes.float8_e8m0fnu)
    back = to_array(to_ort_value(values))
    assert back.dtype == values.dtype
    assert np.array_equal(back.view(np.uint8), values.view(np.uint8))


@pytest.mark.parametrize(("name", "low", "high"), [("int4", -8, 7), ("uint4", 0, 15), ("int2", -2, 1), ("uint2", 0, 3)])
def test_integers_that_share_a_byte(name: str, low: int, high: int) -> None:
    values = np.resize(np.arange(low, high + 1), (3, 7)).astype(getattr(ml_dtypes, name))
    back = to_array(to_ort_value(values))
    assert (back.dtype, back.astype(int).tolist()) == (values.dtype, values.astype(int).tolist())


def test_other_arrays() -> None:
    assert to_array(to_ort_value(np.arange(3))).tolist() == [0, 1, 2]
