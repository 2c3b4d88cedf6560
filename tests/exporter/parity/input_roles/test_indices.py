"""Ranges of indices and lengths, and indices that differ: exactly those that the operator's specification allows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.graphs import make_model, node
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.onnx_io.signature import read_signature
from exporter.parity.input_roles.roles import find_roles
from exporter.types import ValueRange

Shapes = dict[str, list[int]]
DERIVED = "i"


def derive(
    operator: str, shapes: Shapes, dtype: int, folder: Path, **attributes: Any
) -> NDArray[Any] | ValueRange | None:
    """Return what the input `i` is fed at a node with inputs of these shapes; one that is called `-…` is absent."""
    names = " ".join("-" if name.startswith("-") else name for name in shapes)
    inputs = [
        helper.make_tensor_value_info(name, dtype if name == DERIVED else TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
        if not name.startswith("-")
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    path = folder / "m.onnx"
    path.write_bytes(
        make_model([node(operator, names, "y", **attributes)], inputs, outputs, {}, 24).SerializeToString()
    )
    given = {name: tuple(shape) for name, shape in shapes.items()}
    found = find_roles(path, "onnx").derive(read_signature(path).inputs, given, {}).get(DERIVED)
    return found and found.value


RANGES: list[tuple[str, Shapes, dict[str, Any], tuple[int, int] | None]] = [
    ("Gather", {"x": [4, 2], "i": [3]}, {}, (0, 3)),
    ("Gather", {"x": [4, 2], "i": [3]}, {"axis": 1}, (0, 1)),
    ("Gather", {"x": [0, 2], "i": [3]}, {}, None),
    ("GatherND", {"x": [4, 3, 9], "i": [5, 2]}, {}, (0, 2)),
    ("GatherND", {"x": [2, 4, 3], "i": [2, 1]}, {"batch_dims": 1}, (0, 3)),
    ("GatherND", {"x": [4, 0], "i": [5, 2]}, {}, None),
    ("NegativeLogLikelihoodLoss", {"x": [5, 3], "i": [5]}, {}, (0, 2)),
    ("ReverseSequence", {"x": [7, 3], "i": [3]}, {}, (1, 7)),
    ("ReverseSequence", {"x": [3, 7], "i": [3]}, {"time_axis": 1, "batch_axis": 0}, (1, 7)),
    ("GRU", {"x": [6, 2, 3], "w": [1, 12, 3], "r": [1, 12, 4], "-b": [], "i": [2]}, {"hidden_size": 4}, (1, 6)),
    ("GRU", {"x": [2, 6, 3], "w": [1, 12, 3], "r": [1, 12, 4], "-b": [], "i": [2]}, {"layout": 1}, (1, 6)),
    ("RoiAlign", {"x": [5, 1, 8, 8], "r": [3, 4], "i": [3]}, {}, (0, 4)),
    ("RoiAlign", {"x": [0, 1, 8, 8], "r": [3, 4], "i": [3]}, {}, None),
    ("Attention", {"q": [1, 2, 5, 4], "k": [1, 2, 9, 4], "v": [1, 2, 9, 4], "-m": [], "-p": [], "-o": [], "i": [1]}, {}, (1, 9)),
    ("Attention", {"q": [1, 2, 5, 4], "k": [1, 2, 0, 4], "v": [1, 2, 0, 4], "-m": [], "-p": [], "-o": [], "i": [1]}, {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "shapes", "attributes", "expected"), RANGES)
def test_the_range_is_that_of_the_axis(
    operator: str, shapes: Shapes, attributes: dict[str, Any], expected: tuple[int, int] | None, tmp_path: Path
) -> None:
    found = derive(operator, shapes, TensorProto.INT64, tmp_path, **attributes)
    assert found == (expected and ValueRange(*expected))


@pytest.mark.parametrize(
    ("operator", "dtype", "expected"),
    [
        ("Div", TensorProto.INT64, (1, 9)),
        ("Mod", TensorProto.INT8, (1, 9)),
        ("Div", TensorProto.FLOAT, None),
        ("BitShift", TensorProto.UINT8, (0, 7)),
        ("BitShift", TensorProto.UINT64, (0, 63)),
    ],
)
def test_a_divisor_is_not_zero_and_a_shift_leaves_a_bit(
    operator: str, dtype: int, expected: tuple[int, int] | None, tmp_path: Path
) -> None:
    found = derive(operator, {"x": [3], "i": [3]}, dtype, tmp_path)
    assert found == (expected and ValueRange(*expected))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_scattered_elements_meet_no_other_one(axis: int, count: int, tmp_path: Path) -> None:
    data, indices = [6, 6, 6], [2, 2, 2]
    indices[axis] = count
    found = derive("ScatterElements", {"x": data, "i": indices, "u": indices}, TensorProto.INT64, tmp_path, axis=axis)
    assert isinstance(found, np.ndarray)
    written = np.zeros(data, int)
    for place in np.ndindex(*indices):
        written[(*place[:axis], found[place], *place[axis + 1 :])] += 1
    assert (written.sum(), written.max()) == (found.size, 1)


@pytest.mark.parametrize("indices", [[4, 1], [3, 4, 2], [24, 3]])
def test_scattered_slices_meet_no_other_one(indices: list[int], tmp_path: Path) -> None:
    found = derive("ScatterND", {"x": [4, 3, 2], "i": indices, "u": [1]}, TensorProto.INT64, tmp_path)
    assert isinstance(found, np.ndarray)
    places = found.reshape(-1, indices[-1]).tolist()
    assert len({*map(tuple, places)}) == len(places)
    assert all(0 <= index < size for place in places for index, size in zip(place, [4, 3, 2], strict=False))


@pytest.mark.parametrize(
    ("operator", "data", "indices"),
    [("ScatterElements", [2, 6], [3, 6]), ("ScatterND", [4, 3], [5, 1]), ("ScatterND", [4, 3], [2, 3])],
)
def test_more_indices_than_places_are_not_derived(
    operator: str, data: list[int], indices: list[int], tmp_path: Path
) -> None:
    assert derive(operator, {"x": data, "i": indices, "u": indices}, TensorProto.INT64, tmp_path) is None


def test_places_of_an_unpooling_are_different(tmp_path: Path) -> None:
    found = derive("MaxUnpool", {"x": [1, 2, 3, 3], "i": [1, 2, 3, 3]}, TensorProto.INT64, tmp_path, kernel_shape=[2, 2], strides=[2, 2])  # fmt: skip
    assert isinstance(found, np.ndarray)
    assert len({*found.ravel().tolist()}) == 18
    assert found.max() < 2 * 6 * 6
