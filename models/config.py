"""C3D's names, shapes and conventions, as plain data.

Source of the network: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, and
the attribute names that its PyTorch ports share, because checkpoints use them. This module imports nothing, so that
the command line can offer choices without waiting for torch.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Pool5 = Literal["symmetric", "right"]
"""Where pool5's 2x2x2 windows lie on a 7x7 map to give 4x4. `symmetric`: padding (0,1,1), the first window starts at
-1 (the PyTorch ports). `right`: windows start at 0 and the last one hangs over the edge (Caffe's ceil mode). Weights
trained under one give other answers under the other, so the convention belongs to the checkpoint."""
POOL5_CONVENTIONS: tuple[Pool5, ...] = get_args(Pool5)

Output = Literal["logits", "fc6", "fc7", "probabilities"]
"""What an artifact may answer: class scores before softmax, the 4096 features after fc6's or fc7's ReLU, softmax."""
OUTPUTS: tuple[Output, ...] = get_args(Output)

CLIP_SHAPE = (3, 16, 112, 112)
"""(channel, time, height, width) of one clip. fc6 fixes all four; only the batch in front of them is free."""

FEATURE_DIM = 4096
"""Width of fc6 and fc7."""

FC6_IN_FEATURES = 8192
"""512 channels of 1x4x4 after pool5."""

DEFAULT_CLASSES = 101

MAX_CLASSES = 100_000
"""More than any data set has; a file that claims more is not believed before memory is given to it."""

CONVOLUTIONS: dict[str, tuple[int, int]] = {
    "conv1": (3, 64),
    "conv2": (64, 128),
    "conv3a": (128, 256),
    "conv3b": (256, 256),
    "conv4a": (256, 512),
    "conv4b": (512, 512),
    "conv5a": (512, 512),
    "conv5b": (512, 512),
}
"""Each 3x3x3 convolution's (input channels, output channels), in the order of the forward pass."""

CLASSIFIER_KEYS = ("fc8.weight", "fc8.bias")
"""The classifier's parameters: a backbone has none."""

BATCH_NORMS: dict[str, str] = {name: name.replace("conv", "bn") for name in CONVOLUTIONS}
"""The BatchNorm3d that follows each convolution in the `batch_norm` variant: conv3a's is bn3a."""


MANIFEST_KEY = "c3d_export.manifest"
"""Where an exported model file carries its manifest: an ONNX metadata property, a TorchScript extra file."""


@dataclass(frozen=True)
class C3DConfig:
    """What decides a C3D's structure, and so the meaning of its weights.

    Attributes:
        num_classes: fc8's outputs; 0 for a network without fc8, which answers features only.
        batch_norm: whether a BatchNorm3d follows each convolution.
        pool5: pool5's window convention.
    """

    num_classes: int = DEFAULT_CLASSES
    batch_norm: bool = False
    pool5: Pool5 = "symmetric"

    def describe(self) -> str:
        """Return the network in a few words, for people."""
        variant = "C3D with BatchNorm" if self.batch_norm else "C3D"
        head = f"{self.num_classes} classes" if self.num_classes else "features only (no fc8)"
        return f"{variant}, {head}, pool5 {self.pool5}"


def output_shape(output: Output, num_classes: int) -> tuple[int, ...]:
    """Return one clip's shape of `output`, without the batch."""
    return (FEATURE_DIM,) if output in {"fc6", "fc7"} else (num_classes,)
