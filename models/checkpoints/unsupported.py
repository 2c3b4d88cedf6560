"""Networks that are often mistaken for C3D, so that the error names the network instead of missing keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class UnsupportedNetwork:
    """A network other than C3D: its description, and the test of tensor names and shapes that detects it."""

    title: str
    matches: Callable[[Shapes], bool]


def _has(*parts: str) -> Callable[[Shapes], bool]:
    """Match files in which each part occurs in some tensor's name."""
    return lambda shapes: all(any(part in name for name in shapes) for part in parts)


def _fc6(*sizes: int) -> Callable[[Shapes], bool]:
    """Match files whose fc6 weight has these two sizes, in either order."""
    return lambda shapes: any(
        "fc6" in name and sorted(size for size in shape if size > 1) == sorted(sizes) for name, shape in shapes.items()
    )


def _fc6_outputs(outputs: int) -> Callable[[Shapes], bool]:
    return lambda shapes: any(
        "fc6" in name and len([size for size in shape if size > 1]) > 1 and outputs in shape
        for name, shape in shapes.items()
    )


def _is_image_vgg(shapes: Shapes) -> bool:
    return any(name.endswith("features.0.weight") and len(shape) == 4 for name, shape in shapes.items())


def _is_deep_c3d(shapes: Shapes) -> bool:
    deeper = any(layer in name for name in shapes for layer in ("conv3b", "conv4b", "conv5b"))
    return not deeper and _fc6_outputs(2048)(shapes)


UNSUPPORTED: tuple[UnsupportedNetwork, ...] = (
    UnsupportedNetwork(
        "VMZ's C3D (BatchNorm, no pool5: fc6 reads 4608 values), which is another network", _fc6(4096, 4608)
    ),
    UnsupportedNetwork(
        "tgan2's C3DVersion1 (fc6 from 2048 values to 1024), which is another network", _fc6(1024, 2048)
    ),
    UnsupportedNetwork("deep_c3d_ucf101 (five convolutions, fc6 of 2048), which is another network", _is_deep_c3d),
    UnsupportedNetwork(
        "C3D-v1.1's 3-D ResNet-18 of Caffe, which is another network in spite of its name", _has("res2a", "conv1")
    ),
    UnsupportedNetwork("an I3D (Inception modules), not a C3D", _has("ixed_3b")),
    UnsupportedNetwork("an I3D (Inception modules), not a C3D", _has("Conv3d_1a_7x7")),
    UnsupportedNetwork("a SlowFast network, not a C3D", _has("slow_path")),
    UnsupportedNetwork("a SlowFast network, not a C3D", _has("pathway0")),
    UnsupportedNetwork("an R(2+1)D network, not a C3D", _has("layer1.0.conv1.0.", "layer1.0.conv1.0.3")),
    UnsupportedNetwork("a ResNet, not a C3D", _has("layer1.0.conv1", "layer2.0")),
    UnsupportedNetwork("a ResNet, not a C3D", _has("res2_", "res3_")),
    UnsupportedNetwork("a network for images (2-D convolutions, VGG's names), not a C3D", _is_image_vgg),
    UnsupportedNetwork("a transformer, not a C3D", _has("blocks.0.attn")),
)


def identify_unsupported(shapes: Shapes) -> str | None:
    """Return a sentence that names the network of a file that is not C3D; None if it is unknown.

    Args:
        shapes: {tensor name: shape} of the file.
    """
    return next((f"this is {network.title}" for network in UNSUPPORTED if network.matches(shapes)), None)
