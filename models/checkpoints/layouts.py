"""The table of origins: how each names C3D's layers, and the conventions its weights were trained under.

A new origin is one row of `LAYOUTS`. Recognition goes by names (`recognise`), the shapes are checked against the
network afterwards (`models.checkpoints.loading`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from models.preprocessing import JFZHANG95, UNKNOWN, Preprocessing
from models.spec import CONVOLUTIONS, NORMALISATIONS, Pool5

LINEARS = ("fc6", "fc7", "fc8")
LAYERS = (*CONVOLUTIONS, *LINEARS)


@dataclass(frozen=True)
class Layout:
    """One origin's names and conventions.

    Attributes:
        name: what `--layout` and the manifest call it.
        title: the files it stands for, for people.
        modules: {the file's module path: canonical module}; parameters keep their own last name (`weight`, `bias`).
        pool5: the convention the weights were trained or are run under; None where the names do not tell.
        preprocessing: what the origin feeds the network.
    """

    name: str
    title: str
    modules: Mapping[str, str]
    pool5: Pool5 | None
    preprocessing: Preprocessing


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="identity",
        title="this project's own names, shared by most PyTorch ports (DavideA c3d.pickle, training checkpoints)",
        modules={name: name for name in (*LAYERS, *NORMALISATIONS.values())},
        pool5=None,
        preprocessing=UNKNOWN,
    ),
    Layout(
        name="jfzhang95",
        title="c3d-pretrained.pth of jfzhang95/pytorch-video-recognition, and R-C3D.pytorch's weights",
        modules={
            **{f"features.{n}": name for n, name in zip((0, 3, 6, 8, 11, 13, 16, 18), CONVOLUTIONS, strict=True)},
            **{f"classifier.{n}": name for n, name in zip((0, 3, 6), LINEARS, strict=True)},
        },
        pool5="symmetric",
        preprocessing=JFZHANG95,
    ),
)

MOST_LAYERS = len(LAYERS) // 2 + 1
"""A file is taken for an origin's when it names more than half of C3D's layers as that origin does."""


@dataclass(frozen=True)
class Recognition:
    """A layout that fits a file, and the prefix (`module.`, `model.backbone.`, …) in front of its names."""

    layout: Layout
    prefix: str
    layers: int


def recognise(names: Collection[str], layout: Layout) -> Recognition | None:
    """Return how `layout` fits the tensor names of a file, or None if it names too few of C3D's layers.

    The prefix is whatever stands before the layout's first names and gives most layers; it ends with a dot.
    """
    known = set(names)
    endings = [f"{module}.weight" for module, canonical in layout.modules.items() if canonical in LAYERS]
    prefixes = {
        name.removesuffix(ending)
        for ending in endings
        for name in known
        if name == ending or name.endswith(f".{ending}")
    }
    best: Recognition | None = None
    for prefix in sorted(prefixes):
        layers = sum(prefix + ending in known for ending in endings)
        if layers >= MOST_LAYERS and (best is None or layers > best.layers):
            best = Recognition(layout, prefix, layers)
    return best


def canonical_name(name: str, found: Recognition) -> str | None:
    """Return the network's name of a file's tensor, or None where the network has no such layer."""
    if not name.startswith(found.prefix):
        return None
    module, _, parameter = name.removeprefix(found.prefix).rpartition(".")
    canonical = found.layout.modules.get(module)
    return None if canonical is None else f"{canonical}.{parameter}"
