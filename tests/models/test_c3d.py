"""The network is the one of the paper, under the names that checkpoints use."""

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.built import c3d
from helpers.checkpoints import SHAPES

from models import C3D
from models.builder import BuiltModel, build
from models.c3d import fold_batch_norm
from models.errors import UsageError
from models.options import BuildOptions


def test_names_shapes_and_size(built: BuiltModel) -> None:
    shapes = {name: tuple(value.shape) for name, value in built.network.state_dict().items()}
    expected = {f"{name}.weight": shape for name, shape in {**SHAPES, "fc8": (101, 4096)}.items()}
    expected |= {f"{name}.bias": shape[:1] for name, shape in {**SHAPES, "fc8": (101,)}.items()}
    assert shapes == expected
    assert built.parameters == 78_409_573


def test_sports1m_head_has_the_published_size() -> None:
    with torch.device("meta"):
        network = C3D(487)
    assert sum(p.numel() for p in network.parameters()) == 79_991_015


def test_initialisation_is_kaiming_normal_and_pytorch_default(built: BuiltModel) -> None:
    for name in reference.CONVOLUTIONS:
        layer = built.network.get_submodule(name)
        fan_in = SHAPES[name][1] * 27
        weight, bias = layer.weight, layer.bias  # pyright: ignore[reportUnknownVariableType]
        assert isinstance(weight, torch.Tensor)
        assert isinstance(bias, torch.Tensor)
        assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
        # a normal has 0.27 % beyond three sigma, a uniform none
        assert (weight.abs() > 3 * weight.std()).float().mean().item() == pytest.approx(0.0027, rel=0.5)
        assert bias.abs().max().item() <= 1 / math.sqrt(fan_in)
    assert built.network.state_dict()["fc6.weight"].abs().max().item() <= 1 / math.sqrt(8192)


def test_batch_norm_variant_starts_at_one_and_zero() -> None:
    network = build(BuildOptions(5, batch_norm=True)).network
    names = {name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm3d)}
    assert names == {"bn1", "bn2", "bn3a", "bn3b", "bn4a", "bn4b", "bn5a", "bn5b"}
    for name in names:
        norm = network.get_submodule(name)
        assert isinstance(norm, torch.nn.BatchNorm3d)
        assert bool((norm.weight == 1).all())
        assert bool((norm.bias == 0).all())


def test_outputs_equal_an_independent_computation() -> None:
    network = c3d(build(BuildOptions(7, seed=3, base_channels=8, feature_dim=32))).double()
    clip = np.random.default_rng(1).standard_normal((3, 16, 112, 112))
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    seen = reference.trunk(state, clip)
    for pool5 in ("symmetric", "right"):  # they differ after the convolutions only; fc6 reads 16 positions of both
        with torch.device("meta"):
            network.pool5 = C3D(7, pool5=pool5).pool5
        with torch.inference_mode():
            outputs = [value[0].numpy() for value in network.forward_layers(torch.from_numpy(clip[None]))[2:]]
        expected = reference.outputs(state, clip, pool5, seen)
        for name, actual in zip(("fc6", "fc7", "logits"), outputs, strict=True):
            np.testing.assert_allclose(actual, expected[name], rtol=0, atol=1e-12 * np.abs(expected[name]).max())


@pytest.mark.parametrize("shape", [(1, 3, 8, 112, 112), (1, 3, 16, 128, 171), (1, 1, 16, 112, 112), (3, 16, 112, 112)])
def test_another_clip_is_told_with_the_numbers(built: BuiltModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(N, 3, 16, 112, 112\).*got.*" + str(shape[-1])):
        built.network(torch.zeros(shape))


def test_pretrained_needs_a_path() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="give pretrained the path"):
        C3D(pretrained=True)


def test_a_negative_class_count_is_refused() -> None:
    with pytest.raises(UsageError, match=r"between 0 and 100000 \(got -1\)"):
        build(BuildOptions(-1))
    with torch.device("meta"), pytest.raises(ValueError, match=r"between 0 and 100000 \(got -1\)"):
        C3D(-1)


def test_batch_norm_folds_without_changing_the_function() -> None:
    network = c3d(build(BuildOptions(5, batch_norm=True, seed=1, base_channels=8, feature_dim=32)))
    generator = torch.Generator().manual_seed(0)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(generator=generator)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2, generator=generator)
    for name, parameter in network.named_parameters():
        if name.startswith("bn"):
            parameter.data.uniform_(-1.5, 1.5, generator=generator)
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in folded.modules())
    for name in reference.CONVOLUTIONS:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        x = np.random.default_rng(0).standard_normal((weight.shape[1], 3, 4, 5))
        norm = {
            key: state[f"{name.replace('conv', 'bn')}.{key}"][:, None, None, None]
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        plain = reference.convolve(x, weight, bias) - norm["running_mean"]
        expected = plain / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
        with torch.inference_mode():
            actual = folded.get_submodule(name).double()(torch.from_numpy(x[None]))[0].numpy()
        # one float32 rounding of each weight, nothing more
        assert np.abs(actual - expected).max() <= 1e-6 * np.abs(expected).max(), name
    for name in ("fc6", "fc7", "fc8"):
        assert torch.equal(folded.get_submodule(name).weight, network.get_submodule(name).weight)  # pyright: ignore


def activation_scales(network: C3D) -> list[float]:
    """The standard deviation after each convolution, of clips with standard deviation 1."""
    scales: list[float] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: scales.append(output.std().item()))
        for module in network.children()
        if isinstance(module, torch.nn.Conv3d)
    ]
    with torch.inference_mode():
        network(torch.randn(2, 3, 16, 112, 112, generator=torch.Generator().manual_seed(0)))
    for hook in hooks:
        hook.remove()
    return scales


def test_activations_neither_vanish_nor_explode_through_the_convolutions() -> None:
    scales = activation_scales(c3d(build(BuildOptions(5, base_channels=16, feature_dim=32))))
    assert len(scales) == 8
    assert all(0.5 < scale < 10 for scale in scales)


def test_a_fixed_standard_deviation_makes_them_vanish() -> None:
    network = c3d(build(BuildOptions(5, base_channels=16, feature_dim=32)))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if name.startswith("conv"):  # biases would hide how little of the clip is left
            parameter.data = torch.randn(parameter.shape, generator=generator) * (
                0.01 if name.endswith("weight") else 0
            )
    scales = activation_scales(network)
    assert scales[-1] < 1e-4
    assert all(after < 0.6 * before for before, after in itertools.pairwise(scales))
