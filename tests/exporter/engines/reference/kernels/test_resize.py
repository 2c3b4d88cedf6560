"""Resize and Upsample in float64 equal onnxruntime's, also where scales are no whole numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import parity
from helpers.evaluated import assert_equal_to_onnxruntime, in_float64, in_onnxruntime, make_model
from helpers.graphs import graph, node
from onnx import helper, numpy_helper

X = np.random.default_rng(0).standard_normal((1, 2, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode: str) -> None:
    scales = np.array([1, 1, 2, 3], np.float32)
    resize = helper.make_node("Upsample", ["x", "scales"], ["y"], mode=mode)
    assert_equal_to_onnxruntime(resize, {"x": X, "scales": scales}, opset=9)
    resize = helper.make_node("Upsample", ["x"], ["y"], mode=mode, scales=scales.tolist())
    assert_equal_to_onnxruntime(resize, {"x": X}, opset=7)


POSITIONS = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
SCALES = [(1.7, 2.3), (0.3, 0.7), (2, 3), (1, 1.5)]


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("scales", SCALES)
def test_nearest_pixels_by_scales(positions: str, scales: tuple[float, float]) -> None:
    given = {"x": X, "roi": np.zeros(0, np.float32), "scales": np.array([1, 1, *scales], np.float32)}
    for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        attributes: dict[str, Any] = {"coordinate_transformation_mode": positions, "nearest_mode": nearest}
        assert_equal_to_onnxruntime(
            helper.make_node("Resize", [*given], ["y"], mode="nearest", **attributes), given, 13
        )


@pytest.mark.parametrize("scale", [0.3, 0.6, 0.8, 1.2, 1.7, 2.3])
def test_nearest_pixels_that_tie(scale: float) -> None:
    """Of images of 2 to 15 pixels, in the positions whose float32 is next to the middle of two pixels."""
    for size in range(2, 16):
        given = {"x": np.arange(size, dtype=np.float32)[None], "scales": np.array([1, scale], np.float32)}
        if int(given["scales"][1] * np.float32(size)) == 0:
            continue
        for nearest in ("round_prefer_floor", "round_prefer_ceil"):
            attributes = {"coordinate_transformation_mode": "half_pixel_symmetric", "nearest_mode": nearest}
            made = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest", **attributes)
            assert_equal_to_onnxruntime(made, given, 19)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_an_image_that_keeps_its_size_is_copied(mode: str) -> None:
    """Even where the scale is not 1; but not an axis alone."""
    for scales in ([1, 1, 1.2, 1.1], [1, 1, 1.2, 2]):
        given = {"x": X, "scales": np.array(scales, np.float32)}
        made = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode, nearest_mode="floor")
        assert_equal_to_onnxruntime(made, given, 18)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("scales", SCALES)
def test_linear_by_scales_and_to_sizes(positions: str, scales: tuple[float, float]) -> None:
    attributes: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": positions}
    roi = np.zeros(0, np.float32)
    given = {"x": X, "roi": roi, "scales": np.array([1, 1, *scales], np.float32)}
    assert_equal_to_onnxruntime(helper.make_node("Resize", [*given], ["y"], **attributes), given, 13)
    given = {"x": X, "sizes": np.array([1, 2, 7, 3])}
    model = make_model(helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes), given, 13)
    found = in_float64(model, given)[0]
    model.graph.input.pop()  # onnx infers no shapes from sizes of unknown number
    model.graph.initializer.append(numpy_helper.from_array(given["sizes"], "sizes"))
    assert np.allclose(found, in_onnxruntime(model, {"x": X})[0], rtol=0, atol=1e-5)


def test_sizes_of_some_axes() -> None:
    whole, some = {"x": X, "sizes": np.array([1, 2, 7, 3])}, {"x": X, "sizes": np.array([3, 7])}
    resize = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")
    expected = in_float64(make_model(resize, whole, 19), whole)[0]
    resize = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", axes=[-1, 2])
    assert np.allclose(in_float64(make_model(resize, some, 19), some)[0], expected, rtol=1e-12)


def test_sizes_that_float32_rounds_up() -> None:
    x = np.arange(10, dtype=np.float32)[None]
    given = {"x": x, "roi": np.zeros(0, np.float32), "scales": np.array([1, 0.7], np.float32)}  # 0.7 is 0.69999999
    assert_equal_to_onnxruntime(helper.make_node("Resize", [*given], ["y"]), given, 13)


@pytest.mark.parametrize("scale", [0.6, 1.7])
def test_before_opset_11(scale: float) -> None:
    given = {"x": X, "scales": np.array([1, 1, 2, scale], np.float32)}
    assert_equal_to_onnxruntime(helper.make_node("Resize", [*given], ["y"], mode="nearest"), given, 10)
    assert_equal_to_onnxruntime(helper.make_node("Resize", [*given], ["y"], mode="linear"), given, 10)


def test_integers() -> None:
    integers = np.arange(20, dtype=np.uint8).reshape(1, 1, 4, 5)
    given = {"x": integers, "roi": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 1.5], np.float32)}
    assert_equal_to_onnxruntime(helper.make_node("Resize", [*given], ["y"], mode="nearest"), given, 13)


def generate(rng: np.random.Generator) -> tuple[onnx.NodeProto, dict[str, Any]]:
    """Return a Resize with random attributes, and its inputs."""
    mode = str(rng.choice(["nearest", "linear", "cubic", "cubic"]))
    rank = 2 if mode == "cubic" else int(rng.integers(1, 4))
    positions = str(rng.choice([*POSITIONS, "half_pixel_symmetric", "tf_crop_and_resize"]))
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": positions}
    if mode == "cubic":
        attributes |= {"cubic_coeff_a": float(rng.choice([-0.5, -0.75])), "exclude_outside": int(rng.integers(2))}
    if mode != "nearest" and rank == 2:
        attributes["antialias"] = int(rng.integers(2))
    given: dict[str, Any] = {"x": rng.standard_normal((1, 2, *rng.integers(2, 8, rank))).astype(np.float32)}
    names = ["x", "", ""]
    if positions == "tf_crop_and_resize":
        starts, ends = rng.choice([0, 0.11, 0.23], rank), rng.choice([0.61, 1, 1.17], rank)  # no pixels that tie
        given["roi"] = np.array([0, 0, *starts, 1, 1, *ends], np.float32)
        names[1], attributes["extrapolation_value"] = "roi", 10.0
    if rng.random() < 0.5:
        given["scales"] = np.array([1, 1, *rng.choice([0.5, 0.6, 0.8, 1, 1.5, 2, 2.3], rank)], np.float32)
        names[2] = "scales"
    else:
        given["sizes"] = np.array([1, 2, *rng.integers(1, 11, rank)])
        names.append("sizes")
        if rng.random() < 0.3:
            attributes |= {
                "keep_aspect_ratio_policy": str(rng.choice(["not_larger", "not_smaller"])),
                "axes": [2, 3, 4],
            }
            attributes["axes"] = attributes["axes"][:rank]
            given = {name: values if name == "x" else _spatial(values, rank) for name, values in given.items()}
    return helper.make_node("Resize", names, ["y"], **attributes), given


def _spatial(values: Any, rank: int) -> Any:
    parts = values.reshape(-1, rank + 2)[:, 2:]
    return parts.reshape(-1)


def test_random_attributes() -> None:
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(250):
        made, given = generate(rng)
        try:
            in_onnxruntime(make_model(made, given, 19), given)
        except Exception:  # noqa: BLE001 - it does not implement every combination
            continue
        assert_equal_to_onnxruntime(made, given, 19, error=1e-4)
        compared += 1
    assert compared > 100


@pytest.mark.parametrize(
    ("scale", "attributes"), [(1.7, {"coordinate_transformation_mode": "align_corners"}), (2.3, {})]
)
def test_a_file_with_scales_that_are_no_whole_numbers_is_compared_with_its_own_positions(
    scale: float, attributes: dict[str, Any], tmp_path: Path
) -> None:
    def save(name: str, factor: float) -> Path:
        mode = "linear" if attributes else "nearest"
        nodes = [node("Mul", "x f", "a"), node("Resize", "a - s", "y", mode=mode, **attributes)]
        weights = {"f": np.array(factor, np.float32), "s": np.array([1, 1, 1, scale], np.float32)}
        model = graph(nodes, {"x": ("n", 1, 4, 6)}, {"y": ("n", 1, 4, "w")}, weights)
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    theirs = save("theirs.onnx", 1.0)
    report = parity.verify(theirs, theirs, input_types=("random", "uniform"))
    assert report.passed
    assert all(row.float32_max_error < 1e-5 * row.scale for row in report.comparisons)
    assert not parity.verify(save("mine.onnx", 1.0001), theirs, input_types=("random", "uniform")).passed
