"""C3D's names, shapes and conventions, as plain data.

Source of the network: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, and
the attribute names that its PyTorch ports share, because checkpoints use them. torch is not imported here, so that the
command line can offer choices without waiting for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Literal, get_args

from models.specs import ConvHint, OutputSpec, Signature, TensorSpec, make_signature

ARCHITECTURE = "C3D"

Pool5 = Literal["symmetric", "right"]
"""Where pool5's 2x2x2 windows lie on a 7x7 map to give 4x4. `symmetric`: padding (0,1,1), the first window starts at
-1 (the PyTorch ports). `right`: windows start at 0 and the last one extends past the edge (Caffe's ceil mode). Weights
trained under one return other scores under the other, so the convention belongs to the checkpoint."""
POOL5_CONVENTIONS: tuple[Pool5, ...] = get_args(Pool5)

Output = Literal["logits", "fc6", "fc7", "probabilities"]
"""What an artifact can return: class scores before softmax, the features after fc6's or fc7's ReLU, softmax."""
OUTPUTS: tuple[Output, ...] = get_args(Output)

INPUT_NAME = "clip"

CLIP_SHAPE = (3, 16, 112, 112)
"""(channel, time, height, width) of one clip. fc6 fixes all four; only the batch size before them is dynamic."""

BASE_CHANNELS = 64
"""Output channels of conv1 in the published network; the other convolutions have 2, 4 and 8 times as many."""

FEATURE_DIM = 4096
"""Width of fc6 and fc7 in the published network."""

POOL5_POSITIONS = 16
"""Positions (1 x 4 x 4) of pool5's output, each with all channels: fc6 reads them all."""

FC6_IN_FEATURES = 8 * BASE_CHANNELS * POOL5_POSITIONS

DEFAULT_CLASSES = 101

MAX_CLASSES = 100_000
"""More than any data set has. A file that states more is refused before memory is allocated for it."""

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
0 stands for the clip's three colours."""

CLASSIFIER_KEYS = ("fc8.weight", "fc8.bias")
"""The classifier's parameters, which a backbone lacks."""

BATCH_NORMS: dict[str, str] = {name: name.replace("conv", "bn") for name in CHANNEL_FACTORS}
"""The BatchNorm3d that follows each convolution in the `batch_norm` variant: conv3a's is bn3a."""

MANIFEST_KEY = "c3d_export.manifest"
"""Where an exported model file carries its manifest: an ONNX metadata property, a TorchScript extra file."""

CONV_HINTS: Mapping[str, ConvHint] = MappingProxyType(
    {
        "conv1": ConvHint((1, 4), "pool1", 1),
        "conv2": ConvHint((4, 4), "pool2", 2),
        "conv3a": ConvHint((4, 4)),
        "conv3b": ConvHint((4, 4), "pool3", 2),
        "conv4a": ConvHint((4, 2)),
        "conv4b": ConvHint((4, 2), "pool4", 2),
        "conv5a": ConvHint((2, 2), two_frames=True),
        "conv5b": ConvHint((2, 2), two_frames=True),
    }
)
"""The tiles measured to be fastest on server CPUs (docs: benchmarks). conv1 has little to multiply; it gains because
its output, the network's largest tensor, is pooled in parts that stay in the cache."""


@dataclass(frozen=True)
class C3DConfig:
    """What decides a C3D's structure, and so the meaning of its weights.

    Attributes:
        num_classes: fc8's outputs; 0 for a network without fc8, which returns features only.
        batch_norm: whether a BatchNorm3d follows each convolution.
        pool5: pool5's window convention.
        base_channels: output channels of conv1; the other layers scale with it.
        feature_dim: width of fc6 and fc7.
    """

    num_classes: int = DEFAULT_CLASSES
    batch_norm: bool = False
    pool5: Pool5 = "symmetric"
    base_channels: int = BASE_CHANNELS
    feature_dim: int = FEATURE_DIM

    @property
    def conv_channels(self) -> dict[str, tuple[int, int]]:
        """{convolution: (input channels, output channels)}, in the order of the forward pass."""
        scaled = {name: (a * self.base_channels, b * self.base_channels) for name, (a, b) in CHANNEL_FACTORS.items()}
        return {name: (inputs or CLIP_SHAPE[0], outputs) for name, (inputs, outputs) in scaled.items()}

    @property
    def fc6_in_features(self) -> int:
        """The number of values that fc6 reads of pool5's output."""
        return 8 * self.base_channels * POOL5_POSITIONS

    @property
    def input(self) -> TensorSpec:
        """The network's input: `clip`, float32 (batch, channel, time, height, width)."""
        return TensorSpec(INPUT_NAME, "float32", ("batch", *CLIP_SHAPE))

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """Every output the network can return; features alone where it has no fc8."""
        features = (
            OutputSpec("fc6", (self.feature_dim,), "features", "fc6.relu"),
            OutputSpec("fc7", (self.feature_dim,), "features", "fc7.relu"),
        )
        if not self.num_classes:
            return features
        scores = OutputSpec("logits", (self.num_classes,), "scores", "fc8")
        return (scores, *features, OutputSpec("probabilities", (self.num_classes,), "probabilities"))

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """What is exported unless other outputs are asked for."""
        return ("logits",) if self.num_classes else ("fc7",)

    def signature(self, names: tuple[str, ...], batch: int | None) -> Signature:
        """Return the signature of an artifact with the outputs `names`; `batch` None leaves the batch size dynamic.

        Raises:
            UsageError: the network has no such output.
        """
        return make_signature(self.input, self.outputs, names, batch)

    def settings(self) -> dict[str, int | str | bool]:
        """Return the configuration as a manifest records it."""
        return asdict(self)

    def describe(self) -> str:
        """Return the network in a few words, for people."""
        variant = "C3D with BatchNorm" if self.batch_norm else "C3D"
        head = f"{self.num_classes} classes" if self.num_classes else "features only (no fc8)"
        narrow = f", {self.base_channels} base channels" if self.base_channels != BASE_CHANNELS else ""
        return f"{variant}, {head}, pool5 {self.pool5}{narrow}"


CONVOLUTIONS = C3DConfig().conv_channels
"""(input channels, output channels) of the published network's convolutions."""
