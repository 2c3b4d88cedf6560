"""The emulation of float16 arithmetic: sums in float32, each result that the file declares as float16 rounded."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, make_model, node, normal, run_onnxruntime, save
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.engines import find_engine, find_verifying_engine
from exporter.engines.base import RuntimeOptions
from exporter.engines.float16_emulation import Float16Emulation
from exporter.engines.reference.operators import round_to_float16

Half = NDArray[np.float16]


def half_network(nodes: list[onnx.NodeProto], outputs: str = "y", **weights: NDArray[Any]) -> onnx.ModelProto:
    """Nodes between a Cast of x (n, 6) to h, float16, and a Cast of z to y, float32."""
    to_half, to_float = node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Cast", "z", "y", to=TensorProto.FLOAT)
    return graph([to_half, *nodes, to_float], {"x": ("n", 6)}, {outputs: ("n", "c")}, weights, 17)


def emulate(model: onnx.ModelProto, x: NDArray[Any], folder: Path, **options: Any) -> dict[str, NDArray[Any]]:
    with Float16Emulation(save(folder / "m.onnx", model), RuntimeOptions(**options)) as runtime:
        return runtime.run({"x": x})


def test_rounding_is_numpys_for_every_kind_of_number() -> None:
    patterns = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = np.sort(halves[np.isfinite(halves)])
    numbers = np.concatenate(
        [
            patterns.view(np.float32),
            halves,
            (finite[:-1] + finite[1:]) / 2,
            np.array([65519.99, 65520, 2**-25, 2**-26], np.float32),
        ]
    )
    with np.errstate(all="ignore"):
        expected = numbers.astype(np.float16).astype(np.float32)
    assert np.array_equal(round_to_float16(numbers), expected, equal_nan=True)
    assert np.isinf(round_to_float16(np.array([65520], np.float32))).all()


def test_only_float32_numbers_are_rounded() -> None:
    indices, missing = np.array([70_001]), None
    assert round_to_float16([indices, missing])[0] is indices
    assert round_to_float16(missing) is None


def test_a_network_of_three_layers_equals_numpys_float16_step_by_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # multiples of 2^-6 below 4: float32 holds every sum of their products, so that its order does not matter
    x, w, b, v = (rng.integers(-255, 256, size) / 64 for size in ((3, 6), (6, 8), (8,), (8, 5)))
    w, b, v = (values.astype(np.float16) for values in (w, b, v))
    nodes = [node("Gemm", "h w b", "g"), node("Relu", "g", "r"), node("MatMul", "r v", "z")]
    model = half_network(nodes, w=w, b=b, v=v)

    def exact(left: Half, right: Half) -> NDArray[np.float64]:
        return left.astype(np.float64) @ right.astype(np.float64)

    hidden = (exact(x.astype(np.float16), w) + b.astype(np.float64)).astype(np.float16)
    expected = exact(np.maximum(hidden, 0), v).astype(np.float16).astype(np.float32)
    found = emulate(model, x.astype(np.float32), tmp_path)["y"]
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, exact(np.maximum(exact(x.astype(np.float16), w) + b, 0), v).astype(np.float32))


def test_a_convolution_over_time_sums_in_float32(tmp_path: Path) -> None:
    x, w = np.full((1, 1, 2, 40, 40), 1 / 64, np.float32), np.ones((1, 1, 2, 40, 40), np.float16)
    nodes = [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Conv", "h w", "z"), node("Cast", "z", "y", to=1)]
    model = graph(nodes, {"x": x.shape}, {"y": (1, 1, 1, 1, 1)}, {"w": w}, 17)
    # 3200 / 64; a float16 sum of these would stop at 32, where half of its spacing is 1 / 64
    assert emulate(model, x, tmp_path)["y"].item() == 50


@pytest.mark.parametrize("computed", [False, True], ids=["stored weight", "computed weight"])
def test_a_convolution_is_rounded_before_its_bias_is_added_and_after_it(computed: bool, tmp_path: Path) -> None:
    x, w, b = np.ones((1, 1, 2, 2, 2), np.float32), np.ones((1, 1, 2, 2, 2), np.float16), np.array([0.25], np.float16)
    w[0, 0, 0, 0, 0] = 2042  # the sum is 2049, between the float16 numbers 2048 and 2050
    convolution = node("Conv", "h v b", "z", kernel_shape=(2, 2, 2)) if computed else node("Conv", "h w b", "z")
    nodes = [node("Identity", "w", "v"), node("Cast", "x", "h", to=TensorProto.FLOAT16), convolution]
    nodes = [*nodes[not computed :], node("Cast", "z", "y", to=1)]
    model = graph(nodes, {"x": x.shape}, {"y": (1, 1, 1, 1, 1)}, {"w": w, "b": b}, 17)
    # rounded before the bias: 2048, and 2048.25 is 2048; rounded once, 2049.25 would be 2050
    values = emulate(model, x, tmp_path, all_outputs=True)
    assert values["z"].item() == 2048
    assert "z.before_bias" not in values


def test_an_overflow_between_layers_is_seen_and_onnxruntimes_cpu_provider_hides_it(tmp_path: Path) -> None:
    w, v = np.full((6, 8), 200, np.float16), np.full((8, 5), 1e-3, np.float16)
    model = half_network([node("MatMul", "h w", "m"), node("MatMul", "m v", "z")], w=w, v=v)
    x = np.full((1, 6), 100, np.float32)  # m is 120,000
    assert np.isposinf(emulate(model, x, tmp_path)["y"]).all()
    assert np.isfinite(run_onnxruntime(model, {"x": x})["y"]).all()


def test_subnormal_results_lose_bits(tmp_path: Path) -> None:
    w = np.full((6, 8), 2.0**-13, np.float16)
    model = half_network([node("MatMul", "h w", "z")], w=w)
    x = np.full((1, 6), 2.0**-12 + 2.0**-22, np.float32)  # the sum is 6 (2^-25 + 2^-35), in units of 2^-24: 3.003
    assert emulate(model, x, tmp_path)["y"][0, 0] == 3 * 2.0**-24


def test_values_that_the_file_declares_as_float32_are_not_rounded(tmp_path: Path) -> None:
    w = normal(6, 5)
    model = graph([node("MatMul", "x w", "y")], {"x": ("n", 6)}, {"y": ("n", 5)}, {"w": w}, 17)
    x = normal(3, 6)
    assert np.abs(emulate(model, x, tmp_path)["y"] - x.astype(np.float64) @ w).max() < 1e-6


def test_inner_values_are_returned_and_float16_outputs_stay_float16(tmp_path: Path) -> None:
    w = normal(6, 5).astype(np.float16)
    model = make_model(
        [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("MatMul", "h w", "y")],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ("n", 5))],
        {"w": w},
        17,
    )
    values = emulate(model, np.full((1, 6), 0.1, np.float32), tmp_path, all_outputs=True)
    assert values["h"][0, 0] == np.float32(np.float16(0.1))
    assert values["y"].dtype == np.float16


def test_the_body_of_a_loop_is_rounded_too(tmp_path: Path) -> None:
    half, info = TensorProto.FLOAT16, helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Mul", ["a", "s"], ["b"])],
        "body",
        [info("i", TensorProto.INT64, ()), info("going", TensorProto.BOOL, ()), info("a", half, ("n", 6))],
        [info("on", TensorProto.BOOL, ()), info("b", half, ("n", 6))],
    )
    model = half_network([node("Loop", "times - h", "z", body=body)], times=np.array(3), s=np.array(0.1, np.float16))
    expected = np.float16(1)
    for _ in range(3):
        expected = np.float16(np.float32(expected) * np.float32(np.float16(0.1)))
    assert emulate(model, np.ones((1, 6), np.float32), tmp_path)["y"][0, 0] == expected


def test_it_judges_float16_files_on_the_cpu_only() -> None:
    assert find_verifying_engine("onnx", None, "fp16", "cpu").name == "float16-emulation"
    assert find_verifying_engine("onnx", None, "fp16", "cuda").name == "onnxruntime"
    assert find_verifying_engine("onnx", None, "fp32", "cpu").name == "onnxruntime"
    assert find_verifying_engine("onnx", "openvino", "fp16", "cpu").name == "openvino"
    assert find_verifying_engine("torchscript", None, "fp16", "cpu").name == "torchscript"
    assert find_engine("onnx").name == "onnxruntime"


def test_it_says_that_it_is_an_emulation(tmp_path: Path) -> None:
    model = half_network([node("MatMul", "h w", "z")], w=normal(6, 5).astype(np.float16))
    with Float16Emulation(save(tmp_path / "m.onnx", model), RuntimeOptions()) as runtime:
        assert any("emulation" in note for note in runtime.notes)
        assert runtime.precision == "float16"
