"""Which networks a checkpoint file holds, by the names and shapes of its tensors.

Networks that are often mistaken for C3D are detected too, so that the error names the network instead of missing keys.
A rule looks at names and shapes together: many networks share `layer1.0` or `mixed_3b`, and their kernels tell them
apart. A rule that is not sure claims nothing. Sources of the names: torchvision, pytorchvideo, PySlowFast, MMAction2,
kenshohara/3D-ResNets-PyTorch, facebookresearch/VMZ, piergiaj/pytorch-i3d, kinetics-i3d, hassony2/kinetics_i3d_pytorch,
antoine77340/S3D_HowTo100M, kylemin/S3D, mit-han-lab/temporal-shift-module, sunnyxiaohu/R-C3D.pytorch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from models.checkpoints.detection import LayoutMatch, detect_networks, select_layouts
from models.checkpoints.key_map import KeyMap, suggest_key_map
from models.checkpoints.layout import Shapes
from models.checkpoints.layouts import LAYOUTS
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.selection import Candidate, find_candidates
from models.checkpoints.unbuilt import check_unbuilt_weights, describe_empty, describe_unknown
from models.errors import CheckpointError, UsageError, join_limited

START = r"(^|[./])"
RESIDUAL = (
    START + r"(layer1[./]0[./_]|res_?2[a_./]|res_blocks\.0\.|s2\.pathway0_res0|conv2\.block1\.|comp_0_conv|fast_res2)"
)
"""The first block of residual networks under the names of the usual implementations."""
INCEPTION = START + r"[Mm]ixed_3b[./]"
SEPARATE = START + r"(\w+\.)*(conv_[st]|spatial_conv|temporal_conv|conv\d_[st]|conv\d\.0\.3|comp_0_conv_1_middle_w)\b"
"""A convolution in space followed by one in time, under the names of R(2+1)D's implementations."""
ATTENTION = START + r"(attn|attention|self_attention|self_attn)[./]"


@dataclass(frozen=True)
class _File:
    """The names and shapes of a file's tensors."""

    shapes: Shapes

    def has(self, *patterns: str) -> bool:
        """Return whether each pattern is found in the name of some tensor."""
        return all(any(re.search(pattern, name) for name in self.shapes) for pattern in patterns)

    @cached_property
    def kernels(self) -> frozenset[tuple[int, ...]]:
        """(time, height, width) of the 3-D convolutions that are laid out as torch does."""
        return frozenset(shape[2:] for shape in self.shapes.values() if len(shape) == 5)

    @cached_property
    def depthwise(self) -> frozenset[tuple[int, ...]]:
        """The same of the depthwise ones."""
        return frozenset(shape[2:] for shape in self.shapes.values() if len(shape) == 5 and shape[1] == 1 < shape[0])

    @cached_property
    def is_flat(self) -> bool:
        """Whether its convolutions are 2-D."""
        return any(len(shape) == 4 for shape in self.shapes.values()) and not self.kernels

    def fc6(self, *sizes: int) -> bool:
        """Return whether fc6's weight has these two sizes, in either order."""
        return any(
            "fc6" in name and sorted(size for size in shape if size > 1) == sorted(sizes)
            for name, shape in self.shapes.items()
        )


@dataclass(frozen=True)
class UnsupportedNetwork:
    """A network other than C3D: its description, and the test of tensor names and shapes that detects it."""

    title: str
    matches: Callable[[_File], bool]


def _is_deep_c3d(file: _File) -> bool:
    reads = any("fc6" in name and 2048 in shape and prod(shape) > 2048 for name, shape in file.shapes.items())
    return reads and file.has(START + "conv1a", START + "conv5a") and not file.has("conv[345]b")


def _is_s3d(file: _File) -> bool:
    separable = {(1, 3, 3), (3, 1, 1)} <= file.kernels
    modules = (INCEPTION, START + r"base\.\d+\.branch0\.", START + r"features\.\d+\.branch0\.")
    return separable and any(file.has(module) for module in modules)


UNSUPPORTED: tuple[UnsupportedNetwork, ...] = (
    UnsupportedNetwork(
        "R-C3D's detector on another network than C3D: a detector, not a C3D", lambda f: f.has("RCNN_rpn", "RCNN_base")
    ),
    UnsupportedNetwork(
        "VMZ's C3D in Caffe2's blobs (BatchNorm with epsilon 1e-3 and inverse variances), which is another network",
        lambda f: f.fc6(4096, 4608) and f.has(r"fc6_w$"),
    ),
    UnsupportedNetwork(
        "tgan2's C3DVersion1 (fc6 from 2048 values to 1024), which is another network", lambda f: f.fc6(1024, 2048)
    ),
    UnsupportedNetwork("deep_c3d_ucf101 (five convolutions, fc6 of 2048), which is another network", _is_deep_c3d),
    UnsupportedNetwork(
        "C3D-v1.1's 3-D ResNet-18 of Caffe, which is another network in spite of its name",
        lambda f: f.has(START + "res2a", START + "conv1") and bool(f.kernels),
    ),
    UnsupportedNetwork("a transformer, not a C3D", lambda f: f.has(ATTENTION) and not f.has(RESIDUAL)),
    UnsupportedNetwork("an X3D network, not a C3D", lambda f: (5, 1, 1) in f.depthwise),
    UnsupportedNetwork(
        "a SlowFast network, not a C3D",
        lambda f: (
            f.has(START + r"slow_path[./]", START + r"fast_path[./]")
            or f.has(r"multipathway_fusion|pathway1_|(^|[./])fast_conv1")
        ),
    ),
    UnsupportedNetwork("an S3D (separable Inception modules), not a C3D", _is_s3d),
    UnsupportedNetwork(
        "an I3D (Inception modules), not a C3D",
        lambda f: bool(f.kernels) and (f.has(INCEPTION) or f.has(START + r"[Cc]onv3d_1a_7x7")),
    ),
    UnsupportedNetwork(
        "a CSN (depthwise residual network), not a C3D", lambda f: f.has(RESIDUAL) and (3, 3, 3) in f.depthwise
    ),
    UnsupportedNetwork("an R(2+1)D network, not a C3D", lambda f: f.has(RESIDUAL, SEPARATE) and not f.is_flat),
    UnsupportedNetwork("a 3-D ResNet, not a C3D", lambda f: f.has(RESIDUAL) and bool(f.kernels)),
    UnsupportedNetwork(
        "a network for images with temporal shifts (TSM), not a C3D",
        lambda f: f.is_flat and f.has(RESIDUAL, r"conv\d\.(conv\.)?net\.weight"),
    ),
    UnsupportedNetwork("a ResNet for images (2-D convolutions), not a C3D", lambda f: f.is_flat and f.has(RESIDUAL)),
    UnsupportedNetwork(
        "a network for images (2-D convolutions, VGG's names), not a C3D",
        lambda f: f.is_flat and f.has(r"features\.0\.weight$"),
    ),
)


def identify_unsupported(shapes: Shapes) -> str | None:
    """Return a sentence that names the network of a file that is not C3D; None if it is unknown.

    Args:
        shapes: {tensor name: shape} of the file.
    """
    file = _File(shapes)
    return next((f"this is {network.title}" for network in UNSUPPORTED if network.matches(file)), None)


def name_layers(raw: ReadResult, layout: str, key_map: KeyMap) -> ReadResult:
    """Return a file's tensors; under the names that its graph gives them by position, where their own say less.

    Args:
        raw: what the file holds.
        layout: `auto`, or an origin's name; positions are known under the first one's.
        key_map: names that the user explained.
    """
    if not raw.by_position or layout not in ("auto", LAYOUTS[0].name) or key_map.entries:
        return raw
    found = next(iter(detect_networks(raw.shapes, select_layouts(layout))), None)
    if found is not None and _agree(found[0], raw):
        return raw
    return replace(raw, content=dict(raw.by_position), by_position={}, is_by_position=True)


def _agree(match: LayoutMatch, raw: ReadResult) -> bool:
    """Return whether names show each layer that the graph does, as the same tensor with the same axes."""
    placed = {name: tensor for name, tensor in raw.by_position.items() if name.endswith(".weight")}
    if placed.keys() > match.weights.keys():
        return False
    return all(raw.tensors[match.weights[name]] is placed[name] for name in placed.keys() & match.weights.keys())


def find_networks(raw: ReadResult, layout: str, key_map: KeyMap) -> tuple[Candidate, ...]:
    """Return the file's networks of a layout, at least one.

    Raises:
        CheckpointError: there is none.
        UsageError: no such layout, or a key map of names that the file has not.
    """
    shapes = raw.shapes
    if unused := key_map.unused(shapes):
        have = join_limited(shapes, 4)
        raise UsageError(f"--key-map {unused[0]}: the file has no such layer or tensor; it has {have}")
    networks = detect_networks(shapes, select_layouts(layout), raw.container, key_map, raw.content)
    candidates = find_candidates(raw.contents, networks)
    is_c3d = any(one.matches[0].fits for one in candidates) or suggest_key_map(shapes)
    other = None if is_c3d else identify_unsupported(shapes)
    if other is not None:
        raise CheckpointError(other)
    if not candidates or not all(one.matches[0].fits for one in candidates):
        check_unbuilt_weights(raw)
    if not shapes:
        raise CheckpointError(describe_empty(raw))
    if not candidates:
        raise CheckpointError(describe_unknown(shapes, layout))
    return candidates
