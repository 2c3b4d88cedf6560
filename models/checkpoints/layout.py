"""How an origin names and lays out C3D's tensors: one row of the table in `models.checkpoints.layouts`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from models.config import BATCH_NORMS, CONVOLUTIONS, LINEAR_BATCH_NORMS, InputSize
from models.pooling import Pool5, Variant
from models.preprocessing.profiles import UNKNOWN
from models.preprocessing.recipe import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

LINEARS = ("fc6", "fc7", "fc8")
LAYERS = (*CONVOLUTIONS, *LINEARS)
SEQUENTIAL = "sequential"
"""The layout whose names are taken from the file."""
KERNEL = (3, 3, 3)
"""(time, height, width) of every convolution's kernel."""
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""{name of a tensor, in the file or canonical: its shape}."""
_NORMS = frozenset((*BATCH_NORMS.values(), *LINEAR_BATCH_NORMS.values()))


@dataclass(frozen=True)
class Layout:
    """One origin's names, layouts and conventions.

    Attributes:
        name: what `--layout` and the manifest call it.
        title: the files that have this layout, for display.
        names: {the file's tensor name: canonical name}; one tensor may have several spellings.
        pool5: the convention the weights were trained or are run under; None where the names do not determine it.
        variant: the variant that these names belong to; None where several have them, and the shapes decide.
        preprocessing: what the origin feeds the network.
        conv_axes: axes of a kernel: torch's (out, in, time, height, width), or TensorFlow's `DHWIO`.
        linear_axes: axes of a linear weight: torch's (out, in), or `IO`.
        kernels_flipped: kernels are those of true convolutions (Theano): mirrored in time, height and width.
        fc6: the order in which fc6, or fc8 without an fc6, reads pool5: `CHW` (torch, Caffe), or `HWC` (channels last);
            time comes before rows.
        disambiguation: what distinguishes this row from others with the same names and shapes.
        containers: the file formats in which the origin writes; () for any. In others its names prove nothing, and
            only `--layout` selects this row.
        classes: the class counts of the files that the origin published; () for any. With another count the weights
            are a user's own, and the names prove nothing.
        needs_fc8: the names prove this origin only in a file that has fc8, under this row's name.
        extras: patterns of the origin's further tensors, which are not C3D's.
        class_lists: {class count: the list (`models.class_names`) in whose order the origin has its classes}; a count
            that is missing is of no known list.
        written_by: returns whether this origin wrote a file, judging by what it holds beside the weights; None where
            names and shapes are enough.
    """

    name: str
    title: str
    names: Mapping[str, str]
    pool5: Pool5 | None = None
    preprocessing: Preprocessing = UNKNOWN
    conv_axes: Literal["OIDHW", "DHWIO"] = "OIDHW"
    linear_axes: Literal["OI", "IO"] = "OI"
    kernels_flipped: bool = False
    fc6: Literal["CHW", "HWC"] = "CHW"
    disambiguation: str = ""
    variant: Variant | None = None
    containers: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    needs_fc8: bool = False
    extras: tuple[str, ...] = ()
    class_lists: Mapping[int, str] = field(default_factory=dict[int, str])
    written_by: Callable[[object], bool] | None = None

    @property
    def is_specific(self) -> bool:
        """Whether only some of the files with its names are of this origin."""
        return bool(self.containers or self.classes or self.needs_fc8 or self.written_by)

    def is_proven(self, container: str, num_classes: int, content: object = None) -> bool:
        """Return whether a file with this row's names is of this origin.

        Args:
            container: the file format.
            num_classes: fc8's outputs; 0 where the file has no fc8.
            content: what else the file holds, as its reader returned it.
        """
        written = not self.containers or container.startswith(self.containers)
        written = written and (self.written_by is None or self.written_by(content))
        published = not self.classes or num_classes in self.classes
        return written and published and (num_classes > 0 or not self.needs_fc8)

    def shape(self, canonical: str) -> tuple[int | None, ...]:
        """Return the shape that the file's tensor must have; None is a size that differs from network to network.

        The file may have more leading axes of length 1 (`matches`). A BatchNorm's tensors are one value per channel.
        """
        layer, _, parameter = canonical.partition(".")
        if parameter == "num_batches_tracked":
            return ()
        if parameter != "weight" or layer in _NORMS:
            return (None,)
        if layer in CONVOLUTIONS:
            return (None, None, *KERNEL) if self.conv_axes == "OIDHW" else (*KERNEL, None, None)
        return None, None

    def matches(self, canonical: str, shape: tuple[int, ...]) -> bool:
        """Return whether a tensor of the file has the axes that this origin gives it."""
        wanted = self.shape(canonical)
        extra = len(shape) - len(wanted)
        return (
            extra >= 0
            and all(size == 1 for size in shape[:extra])
            and all(want in (None, size) for want, size in zip(wanted, shape[extra:], strict=True))
        )

    def to_torch(self, canonical: str, tensor: Tensor) -> Tensor:
        """Return the file's tensor with torch's axes, a view of it wherever that is possible.

        fc6 still reads pool5 in the order of the file (`order_fc6`). A tensor of another shape than this origin's is
        returned as it is, for the caller to refuse.
        """
        if not self.matches(canonical, tuple(tensor.shape)):
            return tensor
        layer, _, parameter = canonical.partition(".")
        tensor = tensor.reshape(tensor.shape[len(tensor.shape) - len(self.shape(canonical)) :])
        if parameter != "weight" or layer in _NORMS:
            return tensor
        if layer in CONVOLUTIONS:
            kernel = tensor.permute(4, 3, 0, 1, 2) if self.conv_axes == "DHWIO" else tensor
            return kernel.flip(2, 3, 4) if self.kernels_flipped else kernel
        return tensor.t() if self.linear_axes == "IO" else tensor

    def order_fc6(self, matrix: Tensor, pool5: InputSize) -> Tensor:
        """Return the weight (out, in) that reads pool5 with its columns in the order in which torch flattens pool5.

        Args:
            matrix: what `to_torch` returned.
            pool5: (channel, time, height, width) of pool5's output.
        """
        channels, *positions = pool5
        if self.fc6 == "CHW" or matrix.shape[-1] != channels * math.prod(positions):
            return matrix
        return matrix.reshape(-1, *positions, channels).permute(0, 4, 1, 2, 3).reshape(len(matrix), -1)
