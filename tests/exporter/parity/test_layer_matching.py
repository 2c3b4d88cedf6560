"""Which value is matched to which layer, on small arrays."""

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.parity.layer_matching import cosine_similarity, match_layers, measure_layer
from exporter.parity.tolerance import Float32RelativeTolerance

TOLERANCE = Float32RelativeTolerance("float32")
Array = NDArray[np.float64]


def layers(*names: str, shape: tuple[int, ...] = (1, 4, 3, 2)) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    return {name: generator.standard_normal(shape) for name in names}


def found(values: dict[str, Array], float64: dict[str, Array]) -> dict[str, tuple[str, str]]:
    float32 = {name: array.astype(np.float32) for name, array in float64.items()}
    return {
        layer: (value.name, value.method) for layer, value in match_layers(values, float32, float64, TOLERANCE).items()
    }


def test_an_equal_value_is_matched_wherever_it_is() -> None:
    float64 = layers("a1", "a2", "b1", "b2")
    values = {"x": float64["b1"], "y": float64["b2"], "z": float64["a1"], "w": float64["a2"]}
    assert found(values, float64) == {
        "a1": ("z", "value"),
        "a2": ("w", "value"),
        "b1": ("x", "value"),
        "b2": ("y", "value"),
    }


@pytest.mark.parametrize("name", ["a", "a.out", "/a/Conv_output_0", "a:0"])
def test_suffixes_of_exporters_are_ignored(name: str) -> None:
    float64 = layers("a")
    assert found({name: float64["a"]}, float64) == {"a": (name, "name")}


def test_a_diverging_layer_is_found_by_its_name() -> None:
    float64 = layers("a", "b")
    assert found({"b": float64["b"] * -1, "a": float64["a"]}, float64)["b"] == ("b", "name")


def test_a_name_is_not_enough_for_another_layers_value() -> None:
    float64 = layers("a", "b")
    assert found({"a": float64["b"]}, float64) == {"b": ("a", "value")}
    assert found({"a": float64["b"] * 1.01}, float64) == {"b": ("a", "similarity")}


def test_similarity_is_searched_between_the_neighbours_only() -> None:
    float64 = layers("a", "b", "c")
    off = float64["b"] * 1.01
    assert found({"1": float64["a"], "2": off, "3": float64["c"]}, float64)["b"] == ("2", "similarity")
    assert "b" not in found({"1": off, "2": float64["a"], "3": float64["c"]}, float64)


def test_a_value_without_its_bias_is_no_layer() -> None:
    float64 = layers("conv1", "pool1")
    values = {"conv1.conv.unbiased": float64["conv1"] + 0.1, "pool1.out": float64["pool1"]}
    assert found(values, float64) == {"pool1": ("pool1.out", "name")}


def test_a_layer_that_the_network_calls_unbiased_is_one() -> None:
    float64 = layers("head.unbiased", "head.unbiased.conv", "pool")
    values = {
        "head.unbiased.out": float64["head.unbiased"],
        "head.unbiased.conv.conv.unbiased.2": float64["head.unbiased.conv"] + 0.1,
        "pool": float64["pool"],
    }
    matched = {"head.unbiased": ("head.unbiased.out", "name"), "pool": ("pool", "name")}
    assert found(values, float64) == matched


def test_axes_in_another_order() -> None:
    wanted = layers("a", shape=(1, 4, 3, 2, 5))["a"]
    frames = np.moveaxis(wanted, 1, 2).reshape(3, 4, 2, 5)  # (T, C, H, W)
    for given in (wanted, np.moveaxis(wanted, 1, -1), np.moveaxis(wanted, 1, 2), frames, wanted[0]):
        assert measure_layer(given, wanted.astype(np.float32), wanted, TOLERANCE)[0] < 1e-12
        assert cosine_similarity(given, wanted) == pytest.approx(1)
    flat = wanted.reshape(1, -1)
    assert measure_layer(wanted, flat.astype(np.float32), flat, TOLERANCE)[1] == 0
    assert measure_layer(wanted[..., :4], wanted.astype(np.float32), wanted, TOLERANCE) == (np.inf, np.inf)


def test_nan_must_be_where_float32_has_it() -> None:
    wanted = np.array([[1.0, np.nan, 3.0]])
    assert measure_layer(wanted, wanted, wanted, TOLERANCE)[1] == 0
    assert measure_layer(np.array([[1.0, 2.0, 3.0]]), wanted, wanted, TOLERANCE)[1] == np.inf
    assert measure_layer(np.array([[1.0, np.nan, 3.5]]), wanted, wanted, TOLERANCE)[1] > 1
