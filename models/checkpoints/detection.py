"""Detect which layout a checkpoint has, from the names and shapes of its tensors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.checkpoints.layouts import LAYERS, LAYOUTS, Layout
from models.errors import UsageError

MIN_MATCHED_LAYERS = len(LAYERS) // 2 + 1
"""A layout matches a file that uses the layout's names for more than half of C3D's layers."""

WEIGHTS = tuple(f"{layer}.weight" for layer in LAYERS)

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class LayoutMatch:
    """A layout that matches a file.

    Attributes:
        layout: the layout that matches.
        prefix: the prefix of the tensor names in this file: `module.`, `model.backbone.`, `model_weights/`, ….
        matched_names: number of C3D's weights that the file has under the layout's names.
        matched_shapes: number of those that also have the layout's shapes.
    """

    layout: Layout
    prefix: str
    matched_names: int
    matched_shapes: int

    def canonical(self, name: str) -> str | None:
        """Return the network's name of a file's tensor, or None if the layout has no such tensor."""
        return self.layout.names.get(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None


def select_layouts(name: str) -> tuple[Layout, ...]:
    """Return the rows that `--layout` selects: all for `auto`.

    Raises:
        UsageError: no such layout.
    """
    rows = tuple(row for row in LAYOUTS if name in ("auto", row.name))
    if not rows:
        raise UsageError(f"unknown layout {name!r}; known are auto, {', '.join(row.name for row in LAYOUTS)}")
    return rows


def detect_layouts(shapes: Shapes, rows: Iterable[Layout] = LAYOUTS) -> tuple[LayoutMatch, ...]:
    """Return the layouts that match a file best: none, one, or several that match equally well."""
    found = [fit for row in rows if (fit := match_layout(shapes, row)) is not None]
    best = max(((fit.matched_shapes, fit.matched_names) for fit in found), default=None)
    return tuple(fit for fit in found if (fit.matched_shapes, fit.matched_names) == best)


def match_layout(shapes: Shapes, layout: Layout) -> LayoutMatch | None:
    """Return how `layout` matches the tensors of a file, or None if too few of C3D's layers have its names.

    The prefix is the one under which the most layers match; it ends with a dot or a slash.
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
        matched = sum(layout.matches(canonical, shape) for canonical, shape in present.items())
        if len(present) >= MIN_MATCHED_LAYERS and (
            best is None or (matched, len(present)) > (best.matched_shapes, best.matched_names)
        ):
            best = LayoutMatch(layout, prefix, len(present), matched)
    return best
