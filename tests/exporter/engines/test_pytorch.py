"""The network in PyTorch as an engine: its layers under the names that exported graphs use."""

import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.reference import CONVOLUTIONS

from exporter.engines.base import RuntimeOptions
from exporter.engines.pytorch import PyTorchRuntime, open_compiled_network, open_network, save_network
from exporter.errors import OutputError, UnavailableError
from exporter.results import ReferencePrecision
from models.builder import BuiltModel, build
from models.options import BuildOptions
from models.preprocessing.network import with_preprocessing
from models.preprocessing.profiles import JFZHANG95
from models.specs import OutputSpec, TensorSpec


@pytest.fixture(scope="module")
def model() -> BuiltModel:
    return build(BuildOptions(num_classes=5, base_channels=8, feature_dim=32))


@pytest.fixture(scope="module")
def clip() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {"clip": np.random.default_rng(0).standard_normal((1, 3, 16, 112, 112), dtype=np.float32)}


def test_every_output_and_every_layer(model: BuiltModel, clip: dict[str, np.ndarray]) -> None:  # pyright: ignore
    with PyTorchRuntime(model, "float32", RuntimeOptions()) as runtime:
        assert (runtime.precision, runtime.placement.fallback_nodes) == ("float32", ())
        assert runtime.description.endswith(" float32 (cpu)")
        outputs = runtime.run(clip)
    shapes = {"logits": (1, 5), "fc6": (1, 32), "fc7": (1, 32), "probabilities": (1, 5)}
    shapes |= {"conv5b": (1, 64, 2, 7, 7), "pool5": (1, 64, 1, 4, 4)}
    assert {name: values.shape for name, values in outputs.items()} == shapes
    assert outputs["probabilities"].sum() == pytest.approx(1)
    with PyTorchRuntime(model, "float32", RuntimeOptions(all_outputs=True)) as runtime:
        layers = runtime.run(clip)
    assert [*layers][:6] == ["conv1", "conv1.relu", "pool1", "conv2", "conv2.relu", "pool2"]
    assert [*layers][-5:] == ["fc6", "fc6.relu", "fc7", "fc7.relu", "fc8"]
    assert np.array_equal(layers["fc8"], outputs["logits"])
    assert np.array_equal(layers["fc6.relu"], outputs["fc6"])
    assert np.array_equal(layers["conv1.relu"], np.maximum(layers["conv1"], 0))


def test_a_batch_norms_output_has_its_convolutions_name(clip: dict[str, np.ndarray]) -> None:  # pyright: ignore
    model = build(BuildOptions(num_classes=3, batch_norm=True, base_channels=8, feature_dim=32))
    model.network.get_parameter("bn1.bias").data += 7
    with PyTorchRuntime(model, "float32", RuntimeOptions(all_outputs=True)) as runtime:
        layers = runtime.run(clip)
    assert [name for name in layers if name.startswith("conv") and not name.endswith("relu")] == [*CONVOLUTIONS]
    assert layers["conv1"].mean() == pytest.approx(7, abs=0.5)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_layers_of_a_network_inside_a_module_of_its_class(precision: ReferencePrecision) -> None:
    network = torch.nn.Sequential(OrderedDict(conv1=torch.nn.Conv2d(1, 2, 3), act=torch.nn.ReLU())).eval()
    model = BuiltModel(
        network,
        TensorSpec("x", "float32", ("batch", 1, 8, 8)),
        (OutputSpec("y", (2, 6, 6)),),
        forward_all=torch.nn.Sequential(torch.nn.Identity(), network).eval(),
    )
    with PyTorchRuntime(model, precision, RuntimeOptions(all_outputs=True)) as runtime:
        assert next(iter(runtime.run({"x": np.zeros((1, 1, 8, 8), np.float32)}))) == "conv1"


def test_float64_leaves_the_callers_network_unchanged(model: BuiltModel, clip: dict[str, np.ndarray]) -> None:  # pyright: ignore
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    with PyTorchRuntime(model, "float64", RuntimeOptions()) as runtime:
        assert runtime.precision == "float64"
        assert runtime.run(clip)["logits"].dtype == np.float64
        after = model.network.state_dict()
        assert all(value.dtype == torch.float32 and torch.equal(before[name], value) for name, value in after.items())


def test_cuda_that_is_not_there(model: BuiltModel) -> None:
    if torch.cuda.is_available():
        pytest.skip("CUDA is there")
    with (
        pytest.raises(UnavailableError, match="cannot use CUDA here"),
        PyTorchRuntime(model, "float32", RuntimeOptions("cuda")),
    ):
        pass


def test_a_full_disk_is_named(model: BuiltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_content: object, path: Path) -> None:
        path.write_bytes(b"a part")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 728384 vs 728336")

    def usage(_folder: Path) -> SimpleNamespace:
        return SimpleNamespace(total=10**9, free=0 if (tmp_path / "network.pt").exists() else 10**8)

    monkeypatch.setattr(torch, "save", fail)
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OutputError, match="No space left on device"):
        save_network(model, tmp_path / "network.pt")
    assert not [*tmp_path.iterdir()]


def test_a_saved_network_returns_the_same(model: BuiltModel, clip: dict[str, np.ndarray], tmp_path: Path) -> None:  # pyright: ignore
    save_network(model, tmp_path / "network.pt")
    with (
        PyTorchRuntime(model, "float32", RuntimeOptions()) as own,
        open_network(tmp_path / "network.pt", RuntimeOptions(threads=1)) as saved,
    ):
        assert torch.get_num_threads() == 1
        expected, outputs = own.run(clip), saved.run(clip)
    assert [*outputs] == [*expected]
    assert all(np.allclose(outputs[name], expected[name], atol=1e-5) for name in outputs)


def test_inductor_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with (
        pytest.raises(UnavailableError, match="there is no no-such-compiler; apt-get install"),
        open_compiled_network(tmp_path / "not even read", RuntimeOptions()),
    ):
        pass


def test_a_saved_network_keeps_the_preprocessing_inside_it(model: BuiltModel, tmp_path: Path) -> None:
    cube = np.random.default_rng(0).uniform(80, 120, (3, 16, 112, 112)).astype(np.float32)
    inside = with_preprocessing(replace(model, preprocessing=JFZHANG95, mean_cube=cube))
    frames = np.random.default_rng(1).integers(0, 256, (1, 16, 90, 120, 3), dtype=np.uint8)
    save_network(inside, tmp_path / "network.pt")
    with (
        open_network(tmp_path / "network.pt", RuntimeOptions()) as saved,
        PyTorchRuntime(inside, "float32", RuntimeOptions()) as own,
    ):
        outputs = [runtime.run({"frames": frames}) for runtime in (saved, own)]
    assert np.array_equal(outputs[0]["logits"], outputs[1]["logits"])
