"""Which row of the table a file is of: by its tensors' names and shapes, never by a guess."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.checkpoints.layouts import LAYERS, LAYOUTS, Layout
from models.errors import UsageError

MIN_MATCHED_LAYERS = len(LAYERS) // 2 + 1
"""A file is taken for an origin's when it names more than half of C3D's layers as that origin does."""

WEIGHTS = tuple(f"{layer}.weight" for layer in LAYERS)

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class LayoutMatch:
    """A layout that fits a file.

    Attributes:
        layout: the origin.
        prefix: what stands before its names in this file: `module.`, `model.backbone.`, `model_weights/`, ….
        named: how many of C3D's weights the file names as the origin does.
        fitting: how many of them also have its shapes.
    """

    layout: Layout
    prefix: str
    named: int
    fitting: int

    def canonical(self, name: str) -> str | None:
        """Return the network's name of a file's tensor, or None where the origin has no such tensor."""
        return self.layout.names.get(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None


def select_layouts(name: str) -> tuple[Layout, ...]:
    """Return the rows that `--layout` stands for: all for `auto`.

    Raises:
        UsageError: no such layout.
    """
    rows = tuple(row for row in LAYOUTS if name in ("auto", row.name))
    if not rows:
        raise UsageError(f"unknown layout {name!r}; known are auto, {', '.join(row.name for row in LAYOUTS)}")
    return rows


def detect_layouts(shapes: Shapes, rows: Iterable[Layout] = LAYOUTS) -> tuple[LayoutMatch, ...]:
    """Return the rows that fit a file best, all of them equally well: none, one, or candidates to choose from."""
    found = [fit for row in rows if (fit := match_layout(shapes, row)) is not None]
    best = max(((fit.fitting, fit.named) for fit in found), default=None)
    return tuple(fit for fit in found if (fit.fitting, fit.named) == best)


def match_layout(shapes: Shapes, layout: Layout) -> LayoutMatch | None:
    """Return how `layout` fits the tensors of a file, or None if it names too few of C3D's layers.

    The prefix is whatever stands before the layout's first names and gives most layers; it ends with a dot or a slash.
    """
    endings = [name for name, canonical in layout.names.items() if canonical in WEIGHTS]
    prefixes = {
        name.removesuffix(ending)
        for name in shapes
        for ending in endings
        if name.endswith(ending) and (len(name) == len(ending) or name[-len(ending) - 1] in "./")
    }
    best: LayoutMatch | None = None
    for prefix in sorted(prefixes):
        present = {layout.names[ending]: shapes[prefix + ending] for ending in endings if prefix + ending in shapes}
        fitting = sum(layout.matches(canonical, shape) for canonical, shape in present.items())
        if len(present) >= MIN_MATCHED_LAYERS and (
            best is None or (fitting, len(present)) > (best.fitting, best.named)
        ):
            best = LayoutMatch(layout, prefix, len(present), fitting)
    return best
