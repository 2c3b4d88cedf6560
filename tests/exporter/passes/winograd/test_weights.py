"""The transformed forms of a weight that have a shape: what emitters store is checked beside parity's matching."""

import numpy as np
import pytest
from helpers.graphs import normal

from exporter.passes.winograd.cook_toom import transforms
from exporter.passes.winograd.weights import frame_weights, point_weights, points_matrix, transformed_weights

VOLUME, IMAGE = normal(4, 6, 3, 3, 3), normal(4, 6, 3, 3)


def test_each_point_is_the_taps_times_its_row() -> None:
    matrix = points_matrix(transforms(2), transforms(4))
    found = point_weights(matrix, VOLUME, 2, weights_first=False)
    expected = np.einsum("pt,kqct->pqck", matrix, VOLUME.reshape(4, 2, 3, 27).astype(np.float64))[None]
    assert np.array_equal(found, expected.astype(np.float32)) or np.allclose(found, expected, rtol=1e-6, atol=1e-7)
    first = point_weights(matrix, VOLUME, 2, weights_first=True)
    assert np.array_equal(first, found.transpose(0, 1, 2, 4, 3))


def test_a_frame_s_weights_are_sums_over_time() -> None:
    time = transforms(4)
    found = frame_weights(time, VOLUME).reshape(time.points, 4, 6, 3, 3)
    assert np.allclose(found[2], np.tensordot(time.weight[2], VOLUME, (0, 2)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("weight", "shape", "forms"),
    [
        (VOLUME, (1, 64, 1, 6, 4), 2),
        (VOLUME, (1, 64, 1, 4, 6), 2),
        (VOLUME, (16, 1, 4, 6, 4), 2),
        (VOLUME, (1, 216, 3, 2, 4), 2),
        (IMAGE, (1, 36, 1, 6, 4), 1),
        (VOLUME, (24, 6, 3, 3), 1),
        (VOLUME, (12, 6, 3, 3), 1),
        *[
            (weight, shape, 0)
            for weight in (VOLUME, IMAGE, normal(4), normal(6, 4), VOLUME[:0])
            for shape in [(4,), ()]
        ],
        *[
            (VOLUME, shape, 0)
            for shape in [(1, 64, 1, 6, 0), (1, 65, 1, 6, 4), (64, 6, 4), (24, 6, 3, 1), (4, 6, 3, 3)]
        ],
        (normal(4, 6, 1, 1, 1), (1, 64, 1, 6, 4), 0),
        (normal(4, 6, 5, 5), (1, 64, 1, 6, 4), 0),
    ],
)
def test_only_forms_of_a_shape_are_computed(weight: np.ndarray, shape: tuple[int, ...], forms: int) -> None:
    found = [*transformed_weights(weight, shape)]
    assert [each.shape for each in found] == [shape] * forms
