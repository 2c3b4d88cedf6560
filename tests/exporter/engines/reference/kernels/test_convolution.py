"""Convolutions in float64 equal onnxruntime's in every padding, stride, dilation and group."""

from typing import Any

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime
from onnx import helper

from exporter.engines.reference.kernels import convolution

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"pads": 1},
    "uneven": {"pads": [1, 0, 0, 0, 1, 1]},
    "strided": {"strides": 2, "pads": 1},
    "dilated": {"dilations": 2, "pads": 1},
    "same upper": {"auto_pad": "SAME_UPPER"},
    "same lower, strided": {"auto_pad": "SAME_LOWER", "strides": 2},
    "valid": {"auto_pad": "VALID"},
}


def attributes(way: str, rank: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"kernel_shape": [2] * rank}
    for name, given in WAYS[way].items():
        if isinstance(given, list):
            chosen[name] = [*given[:rank], *given[3 : 3 + rank]]
        elif isinstance(given, int):
            chosen[name] = [given] * (rank * (1 + (name == "pads")))
        else:
            chosen[name] = given
    return chosen


def arrays(group: int, rank: int, *, transposed: bool = False) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    channels = (4, 6 // group) if transposed else (6, 4 // group)
    shapes = {"x": (2, 4, *(7, 6, 5)[:rank]), "w": (*channels, *[2] * rank), "b": (6,)}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("way", [*WAYS])
def test_convolution(way: str, rank: int) -> None:
    for group in (1, 2):
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=group, **attributes(way, rank))
        assert_equal_to_onnxruntime(node, arrays(group, rank))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_same_with_steps_longer_than_the_window(auto_pad: str, rank: int) -> None:
    generator = np.random.default_rng(0)
    for size, kernel, stride in [
        (3, 1, 3),
        (4, 1, 4),
        (4, 2, 5),
        (5, 1, 5),
        (6, 1, 6),
        (7, 1, 4),
        (7, 2, 7),
        (9, 1, 5),
    ]:
        given = {
            "x": generator.standard_normal((2, 2, *[size] * rank)),
            "w": generator.standard_normal((3, 2, *[kernel] * rank)),
        }
        node = helper.make_node("Conv", [*given], ["y"], auto_pad=auto_pad, strides=[stride] * rank)
        assert_equal_to_onnxruntime(node, {name: array.astype(np.float32) for name, array in given.items()})


@pytest.mark.parametrize("way", ["padded", "uneven", "strided", "dilated"])
@pytest.mark.parametrize("workspace", [1, 600_000])
def test_slabs_give_the_whole(way: str, workspace: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every method: shifted products (16 channels), one kernel for each channel, torch's (groups)."""
    monkeypatch.setattr(convolution, "WORKSPACE_BYTES", workspace)
    x = np.random.default_rng(1).standard_normal((2, 16, 9, 30, 30)).astype(np.float32)
    for group in (1, 2, 16):
        w = np.random.default_rng(2).standard_normal((16, 16 // group, 2, 2, 2)).astype(np.float32)
        node = helper.make_node("Conv", ["x", "w"], ["y"], group=group, **attributes(way, 3))
        assert_equal_to_onnxruntime(node, {"x": x, "w": w})


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("way", [*WAYS])
def test_transposed_convolution(way: str, rank: int) -> None:
    for group in (1, 2):
        node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=group, **attributes(way, rank))
        assert_equal_to_onnxruntime(node, arrays(group, rank, transposed=True))


SIZES: list[dict[str, Any]] = [
    {"output_shape": [13, 11]},
    {"output_padding": [1, 0], "output_shape": [13, 12]},
    {"output_padding": [1, 1], "pads": [1, 1, 0, 1]},
    {"output_shape": [13, 12], "auto_pad": "SAME_UPPER"},
    {"strides": [3, 4], "auto_pad": "SAME_UPPER"},
    {"strides": [3, 4], "auto_pad": "SAME_LOWER", "output_padding": [1, 0]},
    {"strides": [3, 4], "auto_pad": "SAME_LOWER", "output_shape": [22, 24]},
    {"output_shape": [13, 12], "auto_pad": "SAME_LOWER"},
]


@pytest.mark.parametrize("given", SIZES)
def test_transposed_convolution_of_a_given_size(given: dict[str, Any]) -> None:
    chosen: dict[str, Any] = {"strides": [2, 2], **given}
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **chosen)
    assert_equal_to_onnxruntime(node, arrays(1, 2, transposed=True))
