"""The relatives of C3D, and other geometries, equal their origins' networks, which tests/support/helpers/variants.py writes."""

import pytest
import torch
from helpers.built import c3d
from helpers.variants import NETWORKS, make_origin
from torch import Tensor, nn

from models import C3D, build
from models.c3d import fold_batch_norm, from_config
from models.config import C3DConfig
from models.errors import UsageError
from models.options import BuildOptions
from models.pooling import Pool, Sizes


def build_from(origin: nn.Sequential, config: C3DConfig) -> C3D:
    """Return our network with the origin's tensors, which come in the same order."""
    network = from_config(config).double()
    ours: dict[str, Tensor] = {}
    convs, norms, linears = (
        [module for module in origin if isinstance(module, kind)]
        for kind in (nn.Conv3d, nn.BatchNorm3d | nn.BatchNorm1d, nn.Linear)
    )
    for names, modules in (
        (("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"), convs),
        (("bn1", "bn2", "bn3a", "bn3b", "bn4a", "bn4b", "bn5a", "bn5b", "bn6", "bn7"), norms),
        (tuple(config.linear_sizes), linears),
    ):
        ours |= {
            f"{name}.{key}": value
            for name, module in zip(names, modules, strict=False)
            for key, value in module.state_dict().items()
        }
    network.load_state_dict(ours)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_equal_the_origins_network(name: str) -> None:
    origin, config = make_origin(name)
    origin = origin.double()
    network = build_from(origin, config)
    clip = torch.randn(1, *config.clip_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    flatten = next(i for i, module in enumerate(origin) if isinstance(module, nn.Flatten))
    with torch.inference_mode():
        conv5b = origin[: flatten - 1](clip)
        expected = {"conv5b": conv5b, "pool5": origin[flatten - 1](conv5b), "logits": origin(clip)}
        conv5b, pool5, _, _, logits = network.forward_layers(clip)
        folded = fold_batch_norm(network.float()).double()(clip)
    for output, actual in (("conv5b", conv5b), ("pool5", pool5), ("logits", logits)):
        torch.testing.assert_close(actual, expected[output], rtol=1e-9, atol=1e-9 * float(expected[output].abs().max()))
    shapes = {spec.name: spec.shape for spec in config.outputs}
    assert shapes["conv5b"] == conv5b.shape[1:]
    assert shapes["pool5"] == pool5.shape[1:]
    # weights were rounded to float32 twice
    assert (folded - expected["logits"]).abs().max() < 1e-5 * expected["logits"].abs().max()


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_a_pools_sizes_are_torchs(ceil_mode: bool) -> None:
    pools = [Pool((2, 2, 2), (2, 2, 2), padding, ceil_mode) for padding in ((0, 0, 0), (0, 1, 1))] + [
        Pool((2, 2, 2), (1, 2, 2), ceil_mode=ceil_mode),
        Pool((1, 2, 2), (2, 2, 2), (0, 1, 1), ceil_mode),
    ]
    for pool in pools:
        layer = nn.MaxPool3d(pool.kernel, pool.stride, pool.padding, ceil_mode=ceil_mode)
        for length in range(2, 12):
            size: Sizes = length, length, length + 1
            assert layer(torch.zeros(1, *size)).shape[1:] == pool.output_size(size), (pool, size)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_the_error_of_a_wrong_clip_has_this_networks_numbers_also_in_torchscript() -> None:
    network = c3d(build(BuildOptions(5, base_channels=4, feature_dim=8, input_size=(2, 32, 64, 48))))
    for module in (network, torch.jit.script(network)):
        with pytest.raises((ValueError, torch.jit.Error), match=r"must be \(N, 2, 32, 64, 48\).*got.*3, 16, 112, 112"):
            module(torch.zeros(1, 3, 16, 112, 112))


def test_a_clip_that_pools_away_is_refused_with_the_layer() -> None:
    with pytest.raises(UsageError, match=r"clips of 3x8x112x112 are too small: pool5 cannot pool a map of 1x7x7"):
        build(BuildOptions(base_channels=4, input_size=(8, 112, 112)))
    assert build(BuildOptions(base_channels=4, input_size=(8, 112, 112), pool5="right")).input.shape[2] == 8


def test_pool5_is_a_convention_of_the_published_network_alone() -> None:
    with pytest.raises(UsageError, match="--pool5 is a convention of the variant c3d"):
        build(BuildOptions(base_channels=4, pool5="right", variant="global-pool"))


@pytest.mark.parametrize(
    ("pool", "halves"),
    [
        (Pool((2, 2, 2), (2, 2, 2)), True),
        (Pool((1, 2, 2), (1, 2, 2)), True),
        (Pool((2, 2, 2), (2, 2, 2), padding=(0, 1, 1)), False),
        (Pool((2, 2, 2), (2, 2, 2), ceil_mode=True), False),
        (Pool((2, 2, 2), (1, 2, 2)), False),
        (Pool((3, 3, 3), (3, 3, 3)), False),
    ],
)
def test_pools_whose_windows_lie_side_by_side_inside_the_map(pool: Pool, halves: bool) -> None:
    assert pool.halves is halves
