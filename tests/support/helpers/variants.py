"""C3D's relatives and other geometries, as their origins build them: layer by layer, nothing of the code under test."""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.config import C3DConfig

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
    "pool5 without padding, as VMZ's": (
        plain(3, 3 * 3, nn.MaxPool3d(2)),
        C3DConfig(CLASSES, False, "valid", BASE, WIDTH),
    ),
    "32 frames, two steps after pool5": (
        plain(3, 2 * 3 * 3, SYMMETRIC),
        C3DConfig(CLASSES, False, "symmetric", BASE, WIDTH, None, 3, 32, 64, 64),
    ),
    "24 frames, an odd number of steps before pool5": (
        plain(3, 2 * 2 * 2, CEIL),
        C3DConfig(CLASSES, False, "right", BASE, WIDTH, None, 3, 24, 48, 48),
    ),
    "fc8 reads fc6": (
        plain(3, 2 * 2, SYMMETRIC, (WIDTH,)),
        C3DConfig(CLASSES, base_channels=BASE, feature_dim=WIDTH, fc7_dim=0, height=48, width=48),
    ),
    "fc8 reads pool5, two steps": (
        plain(3, 2 * 3 * 3, SYMMETRIC, ()),
        C3DConfig(CLASSES, base_channels=BASE, feature_dim=0, frames=32, height=64, width=64),
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


def make_origin(name: str) -> tuple[nn.Sequential, C3DConfig]:
    """Return an origin's network with weights drawn anew, in eval mode, and the configuration that equals it."""
    network, config = NETWORKS[name]
    network = copy.deepcopy(network)
    randomize(network)
    return network.eval(), config


def named_state(origin: nn.Sequential, layers: Mapping[str, tuple[str, ...]]) -> dict[str, Tensor]:
    """Return an origin's tensors under names: {`conv`, `norm` or `linear`: names of its layers, in their order}."""
    kinds = {"conv": nn.Conv3d, "norm": nn.BatchNorm3d | nn.BatchNorm1d, "linear": nn.Linear}
    return {
        f"{name}.{key}": value.clone()
        for kind, names in layers.items()
        for name, module in zip(names, [module for module in origin if isinstance(module, kinds[kind])], strict=True)
        for key, value in module.state_dict().items()
    }
