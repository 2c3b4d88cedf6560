"""The reference evaluator as an engine, and the same graph in float64 and float32."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import graphs, small_models
from onnx import TensorProto, helper

from exporter.engines.base import RuntimeOptions
from exporter.engines.onnx_reference import FloatGraph, OnnxReference
from exporter.errors import ArtifactError, CheckFailedError
from exporter.results import Placement

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return small_models.network(tmp_path / "m.onnx")


def by_hand(x: small_models.Array) -> small_models.Array:
    """The network of `small_models` in numpy, float64."""
    values = {name: array.astype(np.float64) for name, array in small_models.weights().items()}
    for number in (1, 2):
        padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        x = np.einsum("nchwij,ocij->nohw", windows, values[f"w{number}"]) + values[f"b{number}"][:, None, None]
        x = np.maximum(x, 0)
        if number == 1:
            x = x.reshape(len(x), 6, 4, 2, 4, 2).max(axis=(3, 5))
    return x.reshape(len(x), -1) @ values["w3"].T + values["b3"]


def float32_graph(path: Path, options: RuntimeOptions) -> FloatGraph:
    return FloatGraph(path, options, "float32")


@pytest.mark.parametrize(
    ("runtime", "dtype", "error"),
    [(OnnxReference, np.float32, 1e-5), (float32_graph, np.float32, 1e-5), (FloatGraph, np.float64, 1e-13)],
)
def test_outputs_have_its_precision(
    runtime: Callable[..., OnnxReference], dtype: type, error: float, path: Path
) -> None:
    with runtime(path, RuntimeOptions()) as opened:
        assert str(opened.signature) == "x float32 (n, 3, 8, 8) -> scores float32 (n, 7)"
        assert opened.placement == Placement("cpu", 7)
        assert opened.precision == np.dtype(dtype).name
        outputs = opened.run({"x": X})
    assert outputs["scores"].dtype == dtype
    assert np.abs(outputs["scores"] - by_hand(X)).max() < error


def test_every_value_in_the_order_computed(path: Path) -> None:
    with FloatGraph(path, RuntimeOptions(all_outputs=True)) as opened:
        values = opened.run({"x": X})
    assert [*values] == [*small_models.LAYERS]
    assert np.array_equal(values["relu1"], np.maximum(values["conv1"], 0))


def test_half_precision_is_widened_without_its_rounding(path: Path, tmp_path: Path) -> None:
    half = small_models.narrowed(path, tmp_path / "h.onnx", TensorProto.BFLOAT16)
    with (
        FloatGraph(half, RuntimeOptions()) as wide,
        FloatGraph(half, RuntimeOptions(), "float32") as narrow,
        OnnxReference(half, RuntimeOptions()) as own,
    ):
        exact, single, low = (opened.run({"x": X})["scores"] for opened in (wide, narrow, own))
    assert np.abs(exact - single).max() < 1e-5
    assert np.abs(exact - low).max() > 1e-3


def test_what_it_cannot_run_is_told_in_a_line(path: Path, tmp_path: Path) -> None:
    foreign = helper.make_node("Fancy", ["x"], ["y"], domain="theirs")
    value = helper.make_tensor_value_info
    signature = [value("x", TensorProto.FLOAT, ["n"])], [value("y", TensorProto.FLOAT, ["n"])]
    small_models.save(tmp_path / "f.onnx", [foreign], *signature, {})
    with (
        pytest.raises(ArtifactError, match="the reference evaluator rejects it: .*Fancy") as caught,
        OnnxReference(tmp_path / "f.onnx", RuntimeOptions()),
    ):
        pass
    assert "\n" not in str(caught.value)
    with (
        OnnxReference(path, RuntimeOptions()) as opened,
        pytest.raises(CheckFailedError, match="fails in the reference evaluator") as failed,
    ):
        opened.run({"x": X[:, :2]})
    assert "\n" not in str(failed.value)


def test_a_reference_that_cannot_be_had_names_the_node(path: Path) -> None:
    for runtime in (FloatGraph, float32_graph):
        with (
            runtime(path, RuntimeOptions()) as opened,
            pytest.raises(ArtifactError, match=r"no float(64|32) reference .*: .* \(Conv\): .*--no-verify") as caught,
        ):
            opened.run({"x": X[:, :2]})
        assert "\n" not in str(caught.value)


def test_nodes_computed_in_float32_are_noted(tmp_path: Path) -> None:
    node = graphs.node("MultiHeadAttention", "x x x", "y", domain="com.microsoft", num_heads=1)
    model = graphs.graph([node], {"x": [1, 2, 3]}, {"y": [1, 2, 3]}, {})
    onnx.save(model, tmp_path / "m.onnx")
    feeds = {"x": np.ones((1, 2, 3), np.float32)}
    with FloatGraph(tmp_path / "m.onnx", RuntimeOptions()) as opened:
        assert opened.notes == ()
        opened.run(feeds)
        (note,) = opened.notes
    assert "1 nodes in float32" in note
    assert "y.node (MultiHeadAttention)" in note
    with FloatGraph(tmp_path / "m.onnx", RuntimeOptions(), "float32") as opened:
        opened.run(feeds)
        assert opened.notes == ()


@pytest.mark.parametrize(("strides", "noted"), [([3, 3, 3], True), ([2, 2, 2], False)])
def test_convolutions_that_crop_under_same_are_noted(strides: list[int], noted: bool, tmp_path: Path) -> None:
    conv = graphs.node("Conv", "x w", "y", auto_pad="SAME_UPPER", strides=strides)
    model = graphs.graph([conv], {"x": [1, 1, 7, 7, 7]}, {"y": None}, {"w": np.ones((1, 1, 2, 2, 2), np.float32)})
    onnx.save(model, tmp_path / "m.onnx")
    with FloatGraph(tmp_path / "m.onnx", RuntimeOptions()) as opened:
        opened.run({"x": np.ones((1, 1, 7, 7, 7), np.float32)})
        assert [("y.node (Conv)" in note, "auto_pad" in note) for note in opened.notes] == [(True, True)] * noted


@pytest.mark.parametrize("external", [False, True])
def test_weights_inside_and_beside_the_file(external: bool, path: Path) -> None:
    if external:
        model = onnx.load(path)
        onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    with FloatGraph(path, RuntimeOptions()) as opened:
        assert np.abs(opened.run({"x": X})["scores"] - by_hand(X)).max() < 1e-13


def test_the_largest_value_of_a_volume(tmp_path: Path) -> None:
    """onnx's evaluator 1.23 reduces two axes of any input, and returns one axis too many for five."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6)).astype(np.float32)
    shape = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, 1, 1, 1])]
    graph = helper.make_graph([helper.make_node("GlobalMaxPool", ["x"], ["y"])], "g", shape, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with OnnxReference(tmp_path / "m.onnx", RuntimeOptions()) as runtime:
        assert np.array_equal(runtime.run({"x": x})["y"], x.max(axis=(2, 3, 4), keepdims=True))
