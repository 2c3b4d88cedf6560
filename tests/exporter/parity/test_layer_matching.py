"""Which value stands for which layer, on arrays small enough to see through."""

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.parity.layer_matching import cosine_similarity, match_layers, measure_layer
from exporter.parity.tolerance import Float32RelativeTolerance

RULE = Float32RelativeTolerance("float32")
Array = NDArray[np.float64]


def layers(*names: str, shape: tuple[int, ...] = (1, 4, 3, 2)) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    return {name: generator.standard_normal(shape) for name in names}


def found(values: dict[str, Array], exact: dict[str, Array]) -> dict[str, tuple[str, str]]:
    single = {name: array.astype(np.float32) for name, array in exact.items()}
    return {layer: (value.name, value.method) for layer, value in match_layers(values, single, exact, RULE).items()}


def test_a_value_that_agrees_is_its_layer_wherever_it_stands() -> None:
    exact = layers("a1", "a2", "b1", "b2")
    values = {"x": exact["b1"], "y": exact["b2"], "z": exact["a1"], "w": exact["a2"]}
    assert found(values, exact) == {
        "a1": ("z", "value"),
        "a2": ("w", "value"),
        "b1": ("x", "value"),
        "b2": ("y", "value"),
    }


@pytest.mark.parametrize("name", ["a", "a.out", "/a/Conv_output_0", "a:0"])
def test_names_without_what_exporters_add(name: str) -> None:
    exact = layers("a")
    assert found({name: exact["a"]}, exact) == {"a": (name, "name")}


def test_a_name_is_believed_of_a_layer_that_left_the_truth() -> None:
    exact = layers("a", "b")
    assert found({"b": exact["b"] * -1, "a": exact["a"]}, exact)["b"] == ("b", "name")


def test_a_name_is_not_believed_of_another_layers_value() -> None:
    exact = layers("a", "b")
    assert found({"a": exact["b"]}, exact) == {"b": ("a", "value")}
    assert found({"a": exact["b"] * 1.01}, exact) == {"b": ("a", "similarity")}


def test_likeness_is_sought_between_the_neighbours_only() -> None:
    exact = layers("a", "b", "c")
    off = exact["b"] * 1.01
    assert found({"1": exact["a"], "2": off, "3": exact["c"]}, exact)["b"] == ("2", "similarity")
    assert "b" not in found({"1": off, "2": exact["a"], "3": exact["c"]}, exact)


def test_axes_in_another_order() -> None:
    wanted = layers("a", shape=(1, 4, 3, 2, 5))["a"]
    frames = np.moveaxis(wanted, 1, 2).reshape(3, 4, 2, 5)  # (T, C, H, W)
    for given in (wanted, np.moveaxis(wanted, 1, -1), frames, wanted[0]):
        assert measure_layer(given, wanted.astype(np.float32), wanted, RULE)[0] < 1e-12
        assert cosine_similarity(given, wanted) == pytest.approx(1)
    flat = wanted.reshape(1, -1)
    assert measure_layer(wanted, flat.astype(np.float32), flat, RULE)[1] == 0
    assert measure_layer(wanted[..., :4], wanted.astype(np.float32), wanted, RULE) == (np.inf, np.inf)


def test_nan_must_stand_where_it_stands() -> None:
    wanted = np.array([[1.0, np.nan, 3.0]])
    assert measure_layer(wanted, wanted, wanted, RULE)[1] == 0
    assert measure_layer(np.array([[1.0, 2.0, 3.0]]), wanted, wanted, RULE)[1] == np.inf
    assert measure_layer(np.array([[1.0, np.nan, 3.5]]), wanted, wanted, RULE)[1] > 1
