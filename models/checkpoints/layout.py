"""How an origin names and lays out C3D's tensors: one row of the table in `models.checkpoints.layouts`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.config import BATCH_NORMS, CONVOLUTIONS, FC6_IN_FEATURES, FEATURE_DIM, Pool5
from models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

LINEARS = ("fc6", "fc7", "fc8")
LAYERS = (*CONVOLUTIONS, *LINEARS)
POOL5_SHAPE = (512, 4, 4)
"""pool5's (channel, height, width), of which fc6 reads 8192 values in an order of the origin's; time is 1."""


@dataclass(frozen=True)
class Layout:
    """One origin's names, layouts and conventions.

    Attributes:
        name: what `--layout` and the manifest call it.
        title: the files that have this layout, for display.
        names: {the file's tensor name: canonical name}; one tensor may have several spellings.
        pool5: the convention the weights were trained or are run under; None where the names do not determine it.
        preprocessing: what the origin feeds the network.
        conv_axes: axes of a kernel: torch's (out, in, time, height, width), or TensorFlow's `DHWIO`.
        linear_axes: axes of a linear weight: torch's (out, in), or `IO`.
        kernels_flipped: kernels are true convolutions' (Theano), mirrored in time, height and width.
        fc6: the order in which fc6 reads pool5: `CHW` (torch, Caffe), or `HWC` (channels last).
        disambiguation: what distinguishes this row from others with the same names and shapes.
    """

    name: str
    title: str
    names: Mapping[str, str]
    pool5: Pool5 | None
    preprocessing: Preprocessing
    conv_axes: Literal["OIDHW", "DHWIO"] = "OIDHW"
    linear_axes: Literal["OI", "IO"] = "OI"
    kernels_flipped: bool = False
    fc6: Literal["CHW", "HWC"] = "CHW"
    disambiguation: str = ""

    def shape(self, canonical: str) -> tuple[int | None, ...]:
        """Return the shape that the file's tensor must have; None is the number of classes.

        The file may have more leading axes of length 1 (`matches`). A BatchNorm's tensors are one value per channel.
        """
        layer, _, parameter = canonical.partition(".")
        if layer in BATCH_NORMS.values():
            channels = next(CONVOLUTIONS[conv][1] for conv, norm in BATCH_NORMS.items() if norm == layer)
            return () if parameter == "num_batches_tracked" else (channels,)
        if layer in CONVOLUTIONS:
            inputs, outputs = CONVOLUTIONS[layer]
            kernel = (outputs, inputs, 3, 3, 3) if self.conv_axes == "OIDHW" else (3, 3, 3, inputs, outputs)
            return kernel if parameter == "weight" else (outputs,)
        rows = None if layer == "fc8" else FEATURE_DIM
        columns = FC6_IN_FEATURES if layer == "fc6" else FEATURE_DIM
        if parameter != "weight":
            return (rows,)
        return (rows, columns) if self.linear_axes == "OI" else (columns, rows)

    def matches(self, canonical: str, shape: tuple[int, ...]) -> bool:
        """Return whether a tensor of the file has the shape that this origin gives it."""
        wanted = self.shape(canonical)
        extra = len(shape) - len(wanted)
        return (
            extra >= 0
            and all(size == 1 for size in shape[:extra])
            and all(want in (None, size) for want, size in zip(wanted, shape[extra:], strict=True))
        )

    def to_torch(self, canonical: str, tensor: Tensor) -> Tensor:
        """Return the file's tensor as torch lays it out: a view of it wherever that is possible.

        A tensor of another shape than this origin's is returned as it is, for the caller to refuse.
        """
        if not self.matches(canonical, tuple(tensor.shape)):
            return tensor
        layer, _, parameter = canonical.partition(".")
        tensor = tensor.reshape(tensor.shape[len(tensor.shape) - len(self.shape(canonical)) :])
        if parameter != "weight" or layer in BATCH_NORMS.values():
            return tensor
        if layer in CONVOLUTIONS:
            kernel = tensor.permute(4, 3, 0, 1, 2) if self.conv_axes == "DHWIO" else tensor
            return kernel.flip(2, 3, 4) if self.kernels_flipped else kernel
        matrix = tensor.t() if self.linear_axes == "IO" else tensor
        if layer == "fc6" and self.fc6 == "HWC":
            channels, height, width = POOL5_SHAPE
            return (
                matrix.reshape(FEATURE_DIM, height, width, channels)
                .permute(0, 3, 1, 2)
                .reshape(FEATURE_DIM, FC6_IN_FEATURES)
            )
        return matrix
