"""The identity of minimal filtering, on numbers: six products give what twelve do."""

from fractions import Fraction

import numpy as np
import pytest

from exporter.passes.winograd.cook_toom import POINTS, cook_toom, transforms, two_frame_transforms

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("outputs", POINTS)
def test_a_filter_slid_over_a_signal(outputs: int) -> None:
    made = transforms(outputs)
    signal, taps = GENERATOR.standard_normal(outputs + 2), GENERATOR.standard_normal(3)
    actual = made.output @ ((made.weight @ taps) * (made.input @ signal))
    assert np.allclose(actual, np.correlate(signal, taps, "valid"), rtol=0, atol=1e-14)
    assert (made.outputs, made.points) == (outputs, outputs + 2)


def test_two_inputs_between_zeros_take_three_products() -> None:
    made = two_frame_transforms()
    signal, taps = GENERATOR.standard_normal(2), GENERATOR.standard_normal(3)
    actual = made.output @ ((made.weight @ taps) * (made.input @ signal))
    assert np.allclose(actual, np.correlate(np.pad(signal, 1), taps, "valid"), rtol=0, atol=1e-14)
    assert (made.outputs, made.inputs, made.points) == (2, 2, 3)
    assert np.abs(made.input.sum(axis=1)).tolist() == [1, 0, 1]  # two equal frames: their difference, nothing to round


@pytest.mark.parametrize(("outputs", "taps"), [(1, 3), (3, 2), (3, 5), (6, 3)])
def test_any_size_and_any_points(outputs: int, taps: int) -> None:
    points = [Fraction(place, 2) for place in range(outputs + taps - 2)]
    made = cook_toom(outputs, taps, points)
    signal, filter_ = GENERATOR.standard_normal(outputs + taps - 1), GENERATOR.standard_normal(taps)
    actual = made.output @ ((made.weight @ filter_) * (made.input @ signal))
    assert np.allclose(actual, np.correlate(signal, filter_, "valid"), rtol=0, atol=1e-9)


def test_the_textbooks_points_give_the_textbooks_matrices() -> None:
    made = cook_toom(2, 3, [Fraction(0), Fraction(1), Fraction(-1)])
    assert made.output.tolist() == [[1, 1, 1, 0], [0, 1, -1, 1]]
    assert np.abs(made.input).tolist() == [[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]]


@pytest.mark.parametrize("points", [(0, 1), (0, 1, 1), (0, 1, 2, 3)])
def test_points_must_be_different_and_as_many_as_needed(points: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"F\(2,3\) takes 3 different finite points"):
        cook_toom(2, 3, [Fraction(point) for point in points])
