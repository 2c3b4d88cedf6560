"""The relatives of C3D, and other geometries, equal their origins' networks, written here layer by layer."""

import math
from collections.abc import Mapping

import pytest
import torch
from helpers.built import c3d
from torch import Tensor, nn

from models import C3D, build
from models.c3d import fold_batch_norm
from models.config import C3DConfig
from models.errors import UsageError
from models.options import BuildOptions
from models.pooling import Pool, Sizes

BASE, WIDTH, CLASSES = 4, 12, 5


def conv(inputs: int, outputs: int, *, norm: bool) -> list[nn.Module]:
    return [nn.Conv3d(inputs, outputs, 3, padding=1), *([nn.BatchNorm3d(outputs)] if norm else []), nn.ReLU()]


def trunk(channels: int, pool1: nn.Module, *, norm: bool) -> list[nn.Module]:
    """Convolutions and pools down to conv5b's ReLU."""
    b = BASE
    return [
        *(*conv(channels, b, norm=norm), pool1),
        *(*conv(b, 2 * b, norm=norm), nn.MaxPool3d(2)),
        *(*conv(2 * b, 4 * b, norm=norm), *conv(4 * b, 4 * b, norm=norm), nn.MaxPool3d(2)),
        *(*conv(4 * b, 8 * b, norm=norm), *conv(8 * b, 8 * b, norm=norm), nn.MaxPool3d(2)),
        *(*conv(8 * b, 8 * b, norm=norm), *conv(8 * b, 8 * b, norm=norm)),
    ]


def head(inputs: int, widths: tuple[int, ...], *, norm: bool = False) -> list[nn.Module]:
    """Flatten, hidden layers of these widths, and the classes."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(inputs, width), *([nn.BatchNorm1d(width)] if norm else []), nn.ReLU(), nn.Dropout()]
        inputs = width
    return [*layers, nn.Linear(inputs, CLASSES)]


def plain(channels: int, positions: int, pool5: nn.Module, widths: tuple[int, ...] = (WIDTH, WIDTH)) -> nn.Sequential:
    pool1 = nn.MaxPool3d((1, 2, 2), (1, 2, 2))
    return nn.Sequential(*trunk(channels, pool1, norm=False), pool5, *head(8 * BASE * positions, widths))


def global_pool(*, norm: bool) -> nn.Sequential:
    """xudejing/video-clip-order-prediction, models/c3d.py."""
    pool1 = nn.MaxPool3d((1, 2, 2), (1, 2, 2))
    return nn.Sequential(*trunk(3, pool1, norm=norm), nn.AdaptiveAvgPool3d(1), *head(8 * BASE, ()))


def efficient(duration: int, size: int, *, norm: bool = True) -> nn.Sequential:
    """okankop/Efficient-3DCNNs, models/c3d.py; copies of it lack the BatchNorm1d."""
    pool1, pool5 = nn.MaxPool3d((2, 2, 2), (1, 2, 2)), nn.MaxPool3d((1, 2, 2), (2, 2, 2), (0, 1, 1))
    positions = math.floor(duration / 16) * math.ceil(size / 32) ** 2
    layers = [*trunk(3, pool1, norm=True), pool5, *head(8 * BASE * positions, (WIDTH, WIDTH), norm=norm)]
    return nn.Sequential(*layers)


SYMMETRIC = nn.MaxPool3d(2, 2, (0, 1, 1))
CEIL = nn.MaxPool3d(2, 2, ceil_mode=True)
NETWORKS: Mapping[str, tuple[nn.Sequential, C3DConfig]] = {
    "global-pool": (
        global_pool(norm=True),
        C3DConfig(
            CLASSES, batch_norm=True, base_channels=BASE, feature_dim=0, height=32, width=48, variant="global-pool"
        ),
    ),
    "global-pool without BatchNorm, 8 frames": (
        global_pool(norm=False),
        C3DConfig(CLASSES, base_channels=BASE, feature_dim=0, frames=8, height=32, width=32, variant="global-pool"),
    ),
    "efficient-3dcnns": (
        efficient(16, 48),
        C3DConfig(CLASSES, True, "symmetric", BASE, WIDTH, None, 3, 16, 48, 48, "efficient-3dcnns", True),
    ),
    "efficient-3dcnns, 32 frames, no BatchNorm1d": (
        efficient(32, 48, norm=False),
        C3DConfig(CLASSES, True, "symmetric", BASE, WIDTH, None, 3, 32, 48, 48, "efficient-3dcnns"),
    ),
    "one channel, another width of fc7": (
        plain(1, 2 * 2, SYMMETRIC, (WIDTH, 7)),
        C3DConfig(CLASSES, base_channels=BASE, feature_dim=WIDTH, fc7_dim=7, channels=1, height=48, width=48),
    ),
    "two channels, 8 frames, pool5 right, even and odd maps": (
        plain(2, 2 * 3, CEIL),
        C3DConfig(CLASSES, False, "right", BASE, WIDTH, None, 2, 8, 64, 80),
    ),
    "32 frames, two steps after pool5": (
        plain(3, 2 * 3 * 3, SYMMETRIC),
        C3DConfig(CLASSES, False, "symmetric", BASE, WIDTH, None, 3, 32, 64, 64),
    ),
    "24 frames, an odd number of steps before pool5": (
        plain(3, 2 * 2 * 2, CEIL),
        C3DConfig(CLASSES, False, "right", BASE, WIDTH, None, 3, 24, 48, 48),
    ),
}


def randomize(network: nn.Module) -> None:
    """Give every parameter and statistic a value that shows whether it is used."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            module.weight.data.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            assert module.bias is not None
            module.bias.data.normal_(0, 0.1, generator=generator)
        if isinstance(module, nn.BatchNorm3d | nn.BatchNorm1d):
            for values in (module.weight.data, module.running_var):
                assert values is not None
                values.uniform_(0.5, 1.5, generator=generator)
            for values in (module.bias.data, module.running_mean):
                assert values is not None
                values.normal_(0, 0.1, generator=generator)


def build_from(origin: nn.Sequential, config: C3DConfig) -> C3D:
    """Return our network with the origin's tensors, which come in the same order."""
    network = C3D(
        config.num_classes,
        batch_norm=config.batch_norm,
        pool5=config.pool5,
        base_channels=config.base_channels,
        feature_dim=config.feature_dim,
        fc7_dim=config.fc7_dim,
        input_size=config.clip_shape,
        variant=config.variant,
        linear_batch_norm=config.linear_batch_norm,
    ).double()
    ours: dict[str, Tensor] = {}
    convs, norms, linears = (
        [module for module in origin if isinstance(module, kind)]
        for kind in (nn.Conv3d, nn.BatchNorm3d | nn.BatchNorm1d, nn.Linear)
    )
    for names, modules in (
        (("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"), convs),
        (("bn1", "bn2", "bn3a", "bn3b", "bn4a", "bn4b", "bn5a", "bn5b", "bn6", "bn7"), norms),
        (("fc6", "fc7", "fc8")[-len(linears) :], linears),
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
    origin, config = NETWORKS[name]
    origin = origin.double().eval()
    randomize(origin)
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
