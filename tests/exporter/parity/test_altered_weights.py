"""Which weights in fewer bits are the reference's, changed by more than rounding."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from helpers.graphs import normal
from numpy.typing import NDArray

from exporter.onnx_io.rounded_weights import RoundedWeight
from exporter.parity import altered_weights
from exporter.parity.altered_weights import is_altered

Floats = NDArray[np.float32]
WEIGHT: Floats = normal(24, 8, 3, 3, 3) * np.float32(0.1)
CHANNELS = (24, 1, 1, 1, 1)


def quantise(values: Floats, levels: NDArray[Any] | None = None) -> RoundedWeight:
    scale = np.abs(values).reshape(len(values), -1).max(1).reshape(-1, 1, 1, 1, 1) / np.float32(127)
    scale[scale == 0] = 1
    rounded = np.rint(values / scale) if levels is None else levels
    return RoundedWeight("w", rounded.astype(np.int8), scale, None, True)


def half(values: Floats) -> RoundedWeight:
    return RoundedWeight("w", values.astype(np.float16), None, None, True)


def prune(values: Floats) -> Floats:
    return np.where(np.abs(values) < np.quantile(np.abs(values), 0.05), 0, values).astype(np.float32)


def drop(values: Floats) -> Floats:
    return np.where(np.arange(24).reshape(CHANNELS) == 5, 0, values).astype(np.float32)


def flip(values: Floats) -> Floats:
    changed = values.copy()
    changed[2, 3] *= -1
    return changed


FAULTS: dict[str, Any] = {
    "scaled by 1 in 1000": lambda w: w * np.float32(1.001),
    "scaled by 1 %": lambda w: w * np.float32(1.01),
    "small weights removed": prune,
    "a channel missing": drop,
    "the sign of a kernel": flip,
}


@pytest.fixture(autouse=True, params=[1 << 20, 500])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A weight is looked at as a whole, or in pieces of a few rows."""
    monkeypatch.setattr(altered_weights, "CHUNK", request.param)
    return request.param


@pytest.mark.parametrize("form", [quantise, half])
@pytest.mark.parametrize("fault", [*FAULTS])
def test_a_changed_weight(fault: str, form: Any) -> None:
    others = normal(*WEIGHT.shape, seed=4)
    assert is_altered(form(FAULTS[fault](WEIGHT)), [others, WEIGHT])


def test_another_weight_is_not_a_changed_one() -> None:
    others = normal(*WEIGHT.shape, seed=4)
    assert not is_altered(quantise(WEIGHT), [others])
    assert not is_altered(quantise(WEIGHT), [])


def test_vectors_and_small_weights_resemble_others_by_chance() -> None:
    positive = np.abs(normal(300)) + np.float32(4)
    assert not is_altered(half(positive), [np.ones(300, np.float32)])
    assert not is_altered(half(WEIGHT[:1, :2]), [WEIGHT[:1, :2] * np.float32(1.01)])


def test_levels_may_be_rounded_to_either_side() -> None:
    scale = quantise(WEIGHT).scale
    assert scale is not None
    low = np.floor(WEIGHT / scale)
    up = np.random.default_rng(2).random(WEIGHT.shape) < WEIGHT / scale - low
    levels = np.clip(low + up, -127, 127)
    assert not is_altered(quantise(WEIGHT, levels), [WEIGHT])
    assert is_altered(quantise(WEIGHT, np.clip(low, -127, 127)), [WEIGHT])
    assert is_altered(quantise(WEIGHT, np.trunc(WEIGHT / scale)), [WEIGHT])


def test_a_channel_scaled_by_less_than_a_level() -> None:
    scale = np.full(CHANNELS, 3 * np.abs(WEIGHT).max() / 127, np.float32)  # another channel has larger numbers
    changed = WEIGHT.copy()
    changed[5] *= np.float32(1.02)
    weight = RoundedWeight("w", np.rint(changed / scale).astype(np.int8), scale, None, True)
    assert np.abs(weight.values * scale - WEIGHT).max() < scale.max()
    assert is_altered(weight, [WEIGHT])


def test_an_output_of_a_matrix_product_scaled_by_less_than_a_level() -> None:
    """Its outputs are the last axis."""
    matrix = WEIGHT.reshape(24, -1).T.copy()
    scale = np.full((1, 24), 3 * np.abs(matrix).max() / 127, np.float32)
    changed = matrix.copy()
    changed[:, 5] *= np.float32(1.02)
    weight = RoundedWeight("w", np.rint(changed / scale).astype(np.int8), scale, None, True)
    assert is_altered(weight, [matrix])


def test_factors_of_channels_excuse_nothing_else() -> None:
    factors = (1 + 0.3 * np.random.default_rng(3).random(24)).astype(np.float32).reshape(CHANNELS)
    assert is_altered(quantise(prune(WEIGHT) * factors), [WEIGHT])
    last = WEIGHT.transpose(1, 2, 3, 4, 0).copy()
    scaled = last * factors.reshape(-1)
    scale = np.abs(scaled).max((0, 1, 2, 3)) / np.float32(127)
    weight = RoundedWeight("w", np.rint(scaled / scale).astype(np.int8), scale, None, True)
    assert not is_altered(weight, [last])


@pytest.mark.parametrize("form", [quantise, half])
def test_channels_with_factors_of_their_own_are_undone_elsewhere(form: Any) -> None:
    factors = (1 + 0.3 * np.random.default_rng(3).random(24)).astype(np.float32)
    assert not is_altered(form(WEIGHT * factors.reshape(CHANNELS)), [WEIGHT])
    inputs = factors[:8].reshape(1, 8, 1, 1, 1)
    assert not is_altered(form(WEIGHT * inputs), [WEIGHT])
    one = np.where(np.arange(24) == 5, 1.01, 1).astype(np.float32).reshape(CHANNELS)
    assert is_altered(form(WEIGHT * one), [WEIGHT])
    even = WEIGHT * factors.reshape(CHANNELS)
    assert is_altered(form(even * np.float32(1.01)), [WEIGHT, even])  # it is most like the second


def test_a_rounded_product_of_rounded_numbers() -> None:
    factors = (1 + 0.3 * np.random.default_rng(3).random(24)).astype(np.float32).reshape(CHANNELS)
    twice = WEIGHT.astype(np.float16) * factors.astype(np.float16)
    folded = WEIGHT * factors
    assert not np.array_equal(twice, folded.astype(np.float16))
    assert not is_altered(RoundedWeight("w", twice, None, None, True), [folded])


@pytest.mark.parametrize("form", [quantise, half])
@pytest.mark.parametrize("factor", [1.01, 1.0])
def test_a_large_weight_takes_the_memory_of_a_piece(
    form: Any, factor: float, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Scaled, or with factors of its channels: every step is taken."""
    monkeypatch.setattr(altered_weights, "CHUNK", min(chunk, 1 << 12))
    large = normal(512, 512, 1, 1, 1)
    factors = (
        np.float32(factor) if factor != 1 else np.linspace(0.7, 1.3, 512, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    )
    weight = form(large * factors)
    tracemalloc.start()
    try:
        assert is_altered(weight, [large]) is (factor != 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < large.nbytes
