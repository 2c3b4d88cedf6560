"""Layers without names are known by their order and shapes; the outputs are the Sequential's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.built import c3d
from helpers.checkpoints import narrow_state
from helpers.selection import parse_options
from torch import nn

from models import build
from models.checkpoints.sequential import sequential_names
from models.errors import CheckpointError
from models.options import BuildOptions, WeightSelection

CHANNELS = ((3, 2), (2, 4), (4, 8), (8, 8), (8, 16), (16, 16), (16, 16), (16, 16))
POOLED_AFTER = (0, 1, 3, 5, 7)


def features(*, norm: bool, relu: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(CHANNELS):
        layers.append(nn.Conv3d(inputs, outputs, 3, padding=1))
        layers += [nn.BatchNorm3d(outputs)] * norm
        layers += [nn.ReLU()] * relu
        if index in POOLED_AFTER:
            window = (1, 2, 2) if index == 0 else (2, 2, 2)
            layers.append(nn.MaxPool3d(window, window, (0, 1, 1) if index == len(CHANNELS) - 1 else 0))
            layers += [nn.ReLU()] * (not relu)
        else:
            layers += [nn.ReLU()] * (not relu)
    return layers


def classifier(*, dropout: bool) -> list[nn.Module]:
    drop = [nn.Dropout()] * dropout
    return [nn.Linear(64, 4), nn.ReLU(), *drop, nn.Linear(4, 4), nn.ReLU(), *drop, nn.Linear(4, 5)]


def networks() -> dict[str, tuple[nn.Module, nn.Module]]:
    """{case: (what is saved, what computes)}."""
    found: dict[str, tuple[nn.Module, nn.Module]] = {}
    for case, norm, dropout, relu in (
        ("plain", False, True, True),
        ("with BatchNorm", True, True, True),
        ("without Dropout", False, False, True),
        ("ReLU after pooling", False, True, False),
    ):
        torch.manual_seed(len(found))
        first, second = features(norm=norm, relu=relu), classifier(dropout=dropout)
        whole = nn.Sequential(*first, nn.Flatten(), *second)
        found[f"{case}, one Sequential"] = whole, whole
        halves = nn.ModuleDict({"extractor": nn.Sequential(*first), "head": nn.Sequential(*second)})
        found[f"{case}, two"] = halves, whole
    return found


CASES = networks()


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_the_sequential(case: str, tmp_path: Path) -> None:
    saved, network = CASES[case]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean, module.running_var = (
                torch.randn(module.num_features) / 9,
                torch.rand(module.num_features) + 1,
            )
    torch.save({"state_dict": {f"module.{k}": v for k, v in saved.state_dict().items()}}, tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth", input_size=(3, 16, 48, 48)))
    clip = torch.randn(1, 3, 16, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected, found = network.double().eval()(clip), c3d(built).double()(clip)
    network.float()
    assert built.settings["batch_norm"] == ("BatchNorm" in case)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-9


def test_other_numbered_layers_are_no_c3d() -> None:
    shapes = {name: tuple(value.shape) for name, value in CASES["plain, one Sequential"][1].state_dict().items()}
    assert len(list(sequential_names(shapes))) == 1
    assert not list(sequential_names(shapes | {"3.weight": (4, 2, 1, 3, 3)}))
    assert not list(sequential_names(shapes | {"3.weight": (4, 3, 3, 3, 3)}))
    assert not list(sequential_names({k: v for k, v in shapes.items() if not k.startswith("3.")}))
    none = {k: (0, 0, *v[2:]) if len(v) == 5 else v for k, v in shapes.items()}
    assert not list(sequential_names(none)), "kernels of no channel chain, too"


def test_a_batch_norm_after_the_relu_is_another_network() -> None:
    """Names and shapes are C3D's; only the number of the BatchNorm tells that something lies before it."""
    layers = features(norm=True, relu=True)
    for index, layer in enumerate(layers[:-1]):
        if isinstance(layer, nn.BatchNorm3d) and isinstance(layers[index + 1], nn.ReLU):
            layers[index : index + 2] = reversed(layers[index : index + 2])
    assert [type(layer) for layer in layers[:3]] == [nn.Conv3d, nn.ReLU, nn.BatchNorm3d]
    shapes = {name: tuple(value.shape) for name, value in nn.Sequential(*layers).state_dict().items()}
    assert not list(sequential_names(shapes))


def ends_with(*widths: int) -> nn.Sequential:
    """A Sequential whose linear layers have these widths; the last one is not followed by a ReLU."""
    layers: list[nn.Module] = [*features(norm=False, relu=True), nn.Flatten()]
    inputs = 64
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    torch.manual_seed(0)
    return nn.Sequential(*layers[:-1])


def saved(network: nn.Module, path: Path) -> BuildOptions:
    torch.save(network.state_dict(), path)
    return BuildOptions(weights=path, input_size=(3, 16, 48, 48))


@pytest.mark.parametrize("widths", [(5,), (4, 101), (1024, 2), (48, 64)], ids=str)
def test_a_last_layer_as_wide_as_no_hidden_layer_gives_the_classes(widths: tuple[int, ...], tmp_path: Path) -> None:
    network = ends_with(*widths)
    options = saved(network, tmp_path / "c3d.pth")
    number = len(network) - 1
    if widths[-1] == 64:
        options = replace(options, selection=WeightSelection(key_map=(f"{number}=fc8",)))
    built = build(options)
    assert built.default_outputs == ("logits",)
    clip = torch.randn(1, 3, 16, 48, 48, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        torch.testing.assert_close(c3d(built)(clip), network.eval()(clip))
    note = f"{number}.weight is taken for fc8.weight, the classifier"
    assert any(text.startswith(note) for text in built.notes) == (widths[-1] != 64)


def test_a_last_layer_as_wide_as_a_hidden_layer_gives_features(tmp_path: Path) -> None:
    network = ends_with(8, 1024)
    built = build(saved(network, tmp_path / "c3d.pth"))
    assert built.default_outputs == ("fc7",)
    (note,) = (note for note in built.notes if note.startswith(f"{len(network) - 1}.weight is taken for fc7"))
    options = parse_options(note.partition("scores, ")[2].partition(" takes it")[0], tmp_path / "c3d.pth")
    assert build(replace(options, input_size=(16, 48, 48))).default_outputs == ("logits",)


@pytest.mark.parametrize("widths", [(64,), (8, 256)], ids=str)
def test_a_width_that_may_be_either_is_asked_about(widths: tuple[int, ...], tmp_path: Path) -> None:
    options = saved(ends_with(*widths), tmp_path / "c3d.pth")
    layer = ("fc6", "fc7")[len(widths) - 1]
    with pytest.raises(CheckpointError, match=r"has \d+ outputs, which may be features or class scores") as caught:
        build(options)
    message = str(caught.value)
    for name, end in ((layer, f" takes it for {layer}"), ("fc8", " for the classifier")):
        text = message.partition(end)[0].rpartition("--key-map ")[2]
        chosen = parse_options(f"--key-map {text}", tmp_path / "c3d.pth")
        built = build(replace(chosen, input_size=(16, 48, 48)))
        assert built.default_outputs == ("logits" if name == "fc8" else name,)


def test_the_options_name_a_file_of_another_layouts_tensors_as_it_does(tmp_path: Path) -> None:
    """Keras 3 numbers layers by their class: its second Dense may be fc7 or the classifier."""
    state, arrays = narrow_state(101), dict[str, np.ndarray]()
    layers = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc8")
    for index, layer in enumerate(layers):
        kind, number = ("conv3d", index) if index < 8 else ("dense", index - 8)
        weight = state[f"{layer}.weight"].numpy()
        place = f"layers/{kind}{f'_{number}' * (number > 0)}/vars"
        arrays[f"{place}/0"] = weight.transpose(2, 3, 4, 1, 0) if weight.ndim == 5 else weight.T
        arrays[f"{place}/1"] = state[f"{layer}.bias"].numpy()
    path = tmp_path / "c3d.npz"
    np.savez(path, allow_pickle=False, **arrays)
    options = BuildOptions(weights=path, layout="adamcasson")
    with pytest.raises(CheckpointError, match="has 101 outputs") as caught:
        build(options)
    offered = str(caught.value).partition("a ReLU follows, ")[2].partition(" for the classifier")[0]
    assert offered == "--key-map layers/dense_1/vars/0=fc8.weight --key-map layers/dense_1/vars/1=fc8.bias"
    built = build(replace(options, selection=parse_options(offered, path).selection))
    assert torch.equal(c3d(built).get_parameter("fc8.weight"), state["fc8.weight"])
