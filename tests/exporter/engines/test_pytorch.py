"""The network in PyTorch as an engine: its layers under the names that exported graphs use."""

import numpy as np
import pytest
import torch
from conftest import ExportedByCommand
from helpers.reference import CONVOLUTIONS

from exporter.engines import RuntimeOptions
from exporter.engines.pytorch import PyTorchRuntime
from exporter.errors import UnavailableError
from exporter.onnx_io.load import load_without_weights
from models.builder import BuiltModel, build
from models.options import BuildOptions


@pytest.fixture(scope="module")
def clip() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {"clip": np.random.default_rng(0).standard_normal((1, 3, 16, 112, 112), dtype=np.float32)}


def test_every_output_and_every_layer(
    built: BuiltModel, exported: ExportedByCommand, clip: dict[str, np.ndarray]
) -> None:  # pyright: ignore
    with PyTorchRuntime(built, "float32", RuntimeOptions()) as runtime:
        assert (runtime.precision, runtime.placement.fallback_nodes) == ("float32", ())
        assert runtime.title.endswith(" float32 (cpu)")
        answers = runtime.run(clip)
    assert {name: values.shape for name, values in answers.items()} == {
        "logits": (1, 101),
        "fc6": (1, 4096),
        "fc7": (1, 4096),
        "probabilities": (1, 101),
    }
    assert answers["probabilities"].sum() == pytest.approx(1)
    with PyTorchRuntime(built, "float32", RuntimeOptions(all_outputs=True)) as runtime:
        layers = runtime.run(clip)
    nodes = [node.name for node in load_without_weights(exported.onnx).graph.node if node.name != "flatten"]
    assert [*layers] == nodes
    assert np.array_equal(layers["fc8"], answers["logits"])
    assert np.array_equal(layers["fc6.relu"], answers["fc6"])
    assert np.array_equal(layers["conv1.relu"], np.maximum(layers["conv1"], 0))


def test_a_batch_norms_output_has_its_convolutions_name(clip: dict[str, np.ndarray]) -> None:  # pyright: ignore
    model = build(BuildOptions(num_classes=3, batch_norm=True, base_channels=8, feature_dim=32))
    model.network.get_parameter("bn1.bias").data += 7
    with PyTorchRuntime(model, "float32", RuntimeOptions(all_outputs=True)) as runtime:
        layers = runtime.run(clip)
    assert [name for name in layers if name.startswith("conv") and not name.endswith("relu")] == [*CONVOLUTIONS]
    assert layers["conv1"].mean() == pytest.approx(7, abs=0.5)


def test_float64_leaves_the_callers_network_unchanged(clip: dict[str, np.ndarray]) -> None:  # pyright: ignore
    model = build(BuildOptions(num_classes=3, base_channels=8, feature_dim=32))
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    with PyTorchRuntime(model, "float64", RuntimeOptions()) as runtime:
        assert runtime.precision == "float64"
        assert runtime.run(clip)["logits"].dtype == np.float64
        after = model.network.state_dict()
        assert all(value.dtype == torch.float32 and torch.equal(before[name], value) for name, value in after.items())


def test_cuda_that_is_not_there(built: BuiltModel) -> None:
    if torch.cuda.is_available():
        pytest.skip("CUDA is there")
    with (
        pytest.raises(UnavailableError, match="cannot use CUDA here"),
        PyTorchRuntime(built, "float32", RuntimeOptions("cuda")),
    ):
        pass
