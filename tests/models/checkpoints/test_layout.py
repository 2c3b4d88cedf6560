"""A row of the table of origins: its axes become torch's, number by number."""

import numpy as np
import pytest
import torch

from models.checkpoints.layouts import LAYOUTS

ROWS = {layout.name: layout for layout in LAYOUTS}


@pytest.mark.parametrize("name", ["identity", "c3d-keras-tf", "c3d-keras-th", "keras-th-unflipped"])
def test_axes_of_a_convolution(name: str) -> None:
    layout = ROWS[name]
    wanted = np.arange(2 * 3 * 27, dtype=np.float32).reshape(2, 3, 3, 3, 3)
    stored = np.moveaxis(wanted, (0, 1), (4, 3)) if layout.conv_axes == "DHWIO" else wanted
    stored = stored[:, :, ::-1, ::-1, ::-1] if layout.kernels_flipped else stored
    found = layout.to_torch("conv1.weight", torch.from_numpy(np.ascontiguousarray(stored)))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["identity", "c3d-keras-tf"])
def test_axes_of_the_other_parameters(name: str) -> None:
    layout = ROWS[name]
    matrix, vector = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3, dtype=np.float32)
    stored = matrix.T.copy() if layout.linear_axes == "IO" else matrix
    np.testing.assert_array_equal(layout.to_torch("fc7.weight", torch.from_numpy(stored)), matrix)
    for parameter in ("bn1.weight", "bn1.running_var", "conv1.bias", "fc7.bias"):
        np.testing.assert_array_equal(layout.to_torch(parameter, torch.from_numpy(vector)), vector)
    other = torch.zeros(3, 3)
    assert layout.to_torch("conv1.weight", other) is other  # for the caller to refuse


def test_columns_of_fc6_that_read_positions_before_channels() -> None:
    channels, time, height, width = 3, 1, 2, 4
    pool5 = np.arange(channels * time * height * width).reshape(channels, time, height, width)
    stored = np.stack([row * 100 + pool5.transpose(1, 2, 3, 0).ravel() for row in range(5)])
    matrix = torch.from_numpy(stored)
    size = (channels, time, height, width)
    np.testing.assert_array_equal(
        ROWS["c3d-keras-tf"].order_fc6(matrix, size), [row * 100 + pool5.ravel() for row in range(5)]
    )
    assert ROWS["identity"].order_fc6(matrix, size) is matrix
    assert ROWS["c3d-keras-tf"].order_fc6(matrix, (2, 1, 2, 4)) is matrix  # it reads something else


@pytest.mark.parametrize(
    ("name", "specific"),
    [("identity", False), ("jfzhang95", True), ("jfzhang95-training", True), ("mmaction", True), ("caffe", True)],
)
def test_each_condition_makes_a_row_specific(name: str, specific: bool) -> None:
    """Of 487 classes only; by what is beside the weights; with fc8; of a file format."""
    assert ROWS[name].is_specific is specific
