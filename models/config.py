"""C3D's names, shapes and conventions, as plain data.

Source of the network: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, and
the attribute names that its PyTorch ports share, because checkpoints use them. torch is not imported here, so that the
command line can offer choices without waiting for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Literal, get_args

from models.pooling import POOLED_CONVOLUTIONS, Pool, Pool5, Sizes, Variant, format_size, make_conv_hints, make_pools
from models.specs import ConvHint, OutputSpec, Signature, TensorSpec, make_signature

ARCHITECTURE = "C3D"

Output = Literal["logits", "fc6", "fc7", "probabilities", "pool5", "conv5b"]
"""What an artifact can return: class scores before softmax, the features after fc6's or fc7's ReLU, softmax, and the
features of pool5 and of conv5b's ReLU, with their positions in time and space."""
OUTPUTS: tuple[Output, ...] = get_args(Output)

INPUT_NAME = "clip"

InputSize = tuple[int, int, int, int]
"""(channel, time, height, width) of one clip. Only the batch size before them is dynamic."""
CLIP_SHAPE: InputSize = (3, 16, 112, 112)
"""The published network's."""

BASE_CHANNELS = 64
"""Output channels of conv1 in the published network; the other convolutions have 2, 4 and 8 times as many."""

FEATURE_DIM = 4096
"""Width of fc6 and fc7 in the published network."""

DEFAULT_CLASSES = 101

MAX_CLASSES = 100_000
"""More than any data set has. A file that states more is refused before memory is allocated for it."""

MAX_CLIP_VALUES = 1 << 28
"""Numbers of one clip (1 GiB in float32). A file that states more is refused before memory is allocated for it."""

CHANNEL_FACTORS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "conv1": (0, 1),
        "conv2": (1, 2),
        "conv3a": (2, 4),
        "conv3b": (4, 4),
        "conv4a": (4, 8),
        "conv4b": (8, 8),
        "conv5a": (8, 8),
        "conv5b": (8, 8),
    }
)
"""Each 3x3x3 convolution's (input, output) channels in units of the base channels, in the order of the forward pass;
0 stands for the clip's channels."""

CLASSIFIER_KEYS = ("fc8.weight", "fc8.bias")
"""The classifier's parameters, which a backbone lacks."""

BATCH_NORMS: dict[str, str] = {name: name.replace("conv", "bn") for name in CHANNEL_FACTORS}
"""The BatchNorm3d that follows each convolution in the `batch_norm` network: conv3a's is bn3a."""
LINEAR_BATCH_NORMS: dict[str, str] = {"fc6": "bn6", "fc7": "bn7"}
"""The BatchNorm1d that follows fc6 and fc7 with `linear_batch_norm`."""

FEATURES_OUTPUT = "fc6"
"""The output that is meant by C3D features unless another is named (Tran et al., section 4)."""
CAFFE_BLOBS: Mapping[str, str] = MappingProxyType(
    {"fc6": "fc6-1", "fc7": "fc7-1", "logits": "fc8-1", "probabilities": "prob"}
)
"""{output: its name in Facebook's Sports-1M network}, by which C3D's own feature files are called."""

MAX_MANIFEST_BYTES = 16 << 20
"""Bytes of a manifest that are read at most: 100,000 tensors with their hashes take 10 MB."""
MANIFEST_KEY = "c3d_export.manifest"
"""Where an exported model file carries its manifest: an ONNX metadata property, a TorchScript extra file."""

_ALWAYS_RECORDED = ("num_classes", "batch_norm", "pool5", "base_channels", "feature_dim")
"""Settings that a manifest always has. The others are recorded where they differ from the published network's, whose
manifest is then what earlier releases wrote and read."""


@dataclass(frozen=True)
class C3DConfig:
    """What decides a C3D's structure, and so the meaning of its weights.

    Attributes:
        num_classes: fc8's outputs; 0 for a network without fc8, which returns features only.
        batch_norm: whether a BatchNorm3d follows each convolution.
        pool5: pool5's window convention, in the variant `c3d`.
        base_channels: output channels of conv1; the other convolutions scale with it.
        feature_dim: width of fc6; 0 for a network without fc6.
        fc7_dim: width of fc7; 0 for a network without fc7, None for fc6's width.
        channels: the clip's channels: 3 colours, 2 of optical flow, 1 of grey values, ….
        frames: the clip's frames.
        height: rows of a frame.
        width: columns of a frame.
        variant: the published network or a relative.
        linear_batch_norm: whether a BatchNorm1d follows fc6 and fc7.
    """

    num_classes: int = DEFAULT_CLASSES
    batch_norm: bool = False
    pool5: Pool5 = "symmetric"
    base_channels: int = BASE_CHANNELS
    feature_dim: int = FEATURE_DIM
    fc7_dim: int | None = None
    channels: int = CLIP_SHAPE[0]
    frames: int = CLIP_SHAPE[1]
    height: int = CLIP_SHAPE[2]
    width: int = CLIP_SHAPE[3]
    variant: Variant = "c3d"
    linear_batch_norm: bool = False

    def __post_init__(self) -> None:
        """Normalise the width of fc7, so that equal networks have equal configurations."""
        if self.fc7_dim == self.feature_dim:
            object.__setattr__(self, "fc7_dim", None)

    def fault(self) -> str | None:
        """Return what makes a network of this configuration impossible, or None."""
        if not 0 <= self.num_classes <= MAX_CLASSES:
            return f"num_classes must be between 0 and {MAX_CLASSES} (got {self.num_classes})"
        if min(self.base_channels, *self.clip_shape) < 1 or min(self.feature_dim, self.fc7_width) < 0:
            return "channels, frames, height, width and base_channels must be at least 1, widths at least 0"
        if math.prod(self.clip_shape) > MAX_CLIP_VALUES:
            return f"clips of {format_size(self.clip_shape)} are too large: at most {MAX_CLIP_VALUES} numbers"
        for layer, size in self.map_sizes.items():
            if min(size) < 1:
                left = format_size(self.pooled_size(layer))
                return f"clips of {format_size(self.clip_shape)} are too small: {layer} cannot pool a map of {left}"
        return None

    @property
    def clip_shape(self) -> InputSize:
        """The shape (channel, time, height, width) of one clip."""
        return self.channels, self.frames, self.height, self.width

    @property
    def fc7_width(self) -> int:
        """Width of fc7; 0 for a network without fc7."""
        return self.feature_dim if self.fc7_dim is None else self.fc7_dim

    @property
    def conv_channels(self) -> dict[str, tuple[int, int]]:
        """{convolution: (input channels, output channels)}, in the order of the forward pass."""
        scaled = {name: (a * self.base_channels, b * self.base_channels) for name, (a, b) in CHANNEL_FACTORS.items()}
        return {name: (inputs or self.channels, outputs) for name, (inputs, outputs) in scaled.items()}

    @property
    def batch_norm_sizes(self) -> dict[str, int]:
        """{BatchNorm layer: its channels}, of those that exist."""
        convolutions = self.conv_channels if self.batch_norm else {}
        linear = {"fc6": self.feature_dim, "fc7": self.fc7_width} if self.linear_batch_norm else {}
        sizes = {BATCH_NORMS[name]: outputs for name, (_, outputs) in convolutions.items()}
        return sizes | {LINEAR_BATCH_NORMS[name]: width for name, width in linear.items() if width}

    @property
    def pools(self) -> dict[str, Pool | None]:
        """{pooling layer: its windows}; see `make_pools`."""
        return make_pools(self.variant, self.pool5)

    @property
    def map_sizes(self) -> dict[str, Sizes]:
        """{layer: (time, height, width) of its output}, in the order of the forward pass, down to pool5."""
        size: Sizes = (self.frames, self.height, self.width)
        sizes: dict[str, Sizes] = {}
        pools = {conv: (pool, self.pools[pool]) for pool, conv in POOLED_CONVOLUTIONS.items()}
        for conv in CHANNEL_FACTORS:
            sizes[conv] = size
            if conv in pools:
                name, pool = pools[conv]
                size = pool.output_size(size) if pool is not None else (1, 1, 1)
                sizes[name] = size
                if min(size) < 1:
                    break
        return sizes

    def pooled_size(self, pool: str) -> Sizes:
        """Return (time, height, width) of what a pooling layer reads."""
        return self.map_sizes[POOLED_CONVOLUTIONS[pool]]

    @property
    def pool5_shape(self) -> InputSize:
        """The shape (channel, time, height, width) of pool5's output for one clip."""
        return 8 * self.base_channels, *self.map_sizes["pool5"]

    @property
    def linear_sizes(self) -> dict[str, tuple[int, int]]:
        """{linear layer: (inputs, outputs)} of those that exist, in the order of the forward pass."""
        inputs = math.prod(self.pool5_shape)
        sizes: dict[str, tuple[int, int]] = {}
        for name, outputs in (("fc6", self.feature_dim), ("fc7", self.fc7_width), ("fc8", self.num_classes)):
            if outputs:
                sizes[name] = inputs, outputs
                inputs = outputs
        return sizes

    @property
    def takes_new_head(self) -> bool:
        """Whether an fc8 after the last layer makes a classifier: not where fc6 and fc7 are missing."""
        return self.variant == "global-pool" or bool(self.linear_sizes)

    @property
    def input(self) -> TensorSpec:
        """The network's input: `clip`, float32 (batch, channel, time, height, width)."""
        return TensorSpec(INPUT_NAME, "float32", ("batch", *self.clip_shape))

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """Every output the network can return, the usual one first."""
        conv5b = self.pool5_shape[0], *self.map_sizes["conv5b"]
        linear = self.linear_sizes
        possible: dict[str, OutputSpec] = {
            "logits": OutputSpec("logits", (self.num_classes,), "scores", "fc8"),
            "fc6": OutputSpec("fc6", (self.feature_dim,), "features", "fc6.relu"),
            "fc7": OutputSpec("fc7", (self.fc7_width,), "features", "fc7.relu"),
            "probabilities": OutputSpec("probabilities", (self.num_classes,), "probabilities"),
            "pool5": OutputSpec("pool5", self.pool5_shape, "features", "pool5"),
            "conv5b": OutputSpec("conv5b", conv5b, "features", "conv5b.relu"),
        }
        needed = {"logits": "fc8", "probabilities": "fc8", "fc6": "fc6", "fc7": "fc7"}
        return tuple(spec for name, spec in possible.items() if needed.get(name) in (None, *linear))

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """What is exported unless other outputs are asked for: that of the last layer."""
        last = [*self.linear_sizes][-1] if self.linear_sizes else "pool5"
        return ("logits",) if last == "fc8" else (last,)

    @property
    def conv_hints(self) -> dict[str, ConvHint]:
        """How a rewritten TorchScript module computes each convolution."""
        return make_conv_hints(self.map_sizes, self.pools)

    def signature(self, names: tuple[str, ...], batch: int | None) -> Signature:
        """Return the signature of an artifact with the outputs `names`; `batch` None leaves the batch size dynamic.

        Raises:
            UsageError: the network has no such output.
        """
        return make_signature(self.input, self.outputs, names, batch)

    def settings(self) -> dict[str, int | str | bool]:
        """Return the configuration as a manifest records it."""
        values = {setting.name: (getattr(self, setting.name), setting.default) for setting in fields(self)}
        return {
            name: value for name, (value, default) in values.items() if name in _ALWAYS_RECORDED or value != default
        }

    def describe(self) -> str:
        """Return the network in a few words, for people."""
        name = _TITLES[self.variant]
        if self.batch_norm:
            name += " and BatchNorm" if "with" in name else " with BatchNorm"
        last = self.default_outputs[0]
        ending = "no fc8" if last == "fc7" else f"ends at {last}"
        parts = [name, f"{self.num_classes} classes" if self.num_classes else f"features only ({ending})"]
        if self.num_classes and self.variant != "global-pool" and not self.fc7_width:
            parts.append("no fc7" if self.feature_dim else "no fc6 and no fc7")
        if self.variant == "c3d":
            parts.append(f"pool5 {self.pool5}")
        if self.base_channels != BASE_CHANNELS:
            parts.append(f"{self.base_channels} base channels")
        if self.clip_shape != CLIP_SHAPE:
            parts.append(f"clips of {format_size(self.clip_shape)}")
        return ", ".join(parts)


_TITLES: Mapping[Variant, str] = MappingProxyType(
    {
        "c3d": "C3D",
        "global-pool": "C3D with global average pooling",
        "efficient-3dcnns": "C3D of Efficient-3DCNNs",
    }
)

CONVOLUTIONS = C3DConfig().conv_channels
"""(input channels, output channels) of the published network's convolutions."""
