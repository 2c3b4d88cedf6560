"""Names of a C3D whose layers Keras or TensorFlow named: by their class, and a number from the second one on.

`conv3d`, `conv3d_1`, …, `dense_2`; Keras 1 wrote `convolution3d_1`. The numbers count the layers of a class in a
process, in the order in which they were made. They need not begin at 0: another network may have been made before.
"""

from __future__ import annotations

import re

from models.checkpoints.layout import KERNEL, Shape, Shapes
from models.checkpoints.layout_names import keras_names
from models.checkpoints.unnamed_layers import find_base_channels, name_linears
from models.config import CONVOLUTIONS

_LAYER = re.compile(r"(?:^|/)((conv3d|convolution3d|dense)(?:_(\d{1,5}))?)/(?:\1[/_])?(?:kernel(?::0)?|weights|W)$")


def find_automatic_names(shapes: Shapes) -> dict[str, str]:
    """Return {the file's name without its prefix: canonical name} of a C3D of such layers; {} where there is none."""
    kernels: dict[int, tuple[str, Shape]] = {}
    linears: dict[int, tuple[str, Shape]] = {}
    for name, shape in shapes.items():
        if (found := _LAYER.search(name)) is not None:
            kind = linears if found[2] == "dense" else kernels
            kind[int(found[3] or 0)] = found[1], shape
    convs = [kernels[number] for number in sorted(kernels)]
    dense = [linears[number] for number in sorted(linears)]
    base = find_base_channels([_kernel(shape) for _, shape in convs])
    if base is None or any(len(shape) != 2 for _, shape in dense):
        return {}
    named = name_linears([shape[::-1] for _, shape in dense], 8 * base)
    layers = dict(zip((name for name, _ in convs), CONVOLUTIONS, strict=True))
    if named:
        layers |= dict(zip((name for name, _ in dense), named, strict=True))
    return keras_names(layers)


def _kernel(shape: Shape) -> Shape:
    """Return a kernel's shape with torch's axes (out, in, time, height, width)."""
    return (*shape[:2:-1], *KERNEL) if shape[:3] == KERNEL and shape[2:] != KERNEL else shape
