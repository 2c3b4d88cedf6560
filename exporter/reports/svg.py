"""Inline SVG, drawn by matplotlib, for `charts`: once for wide and once for narrow screens, in the page's colours."""

from __future__ import annotations

import io
import logging
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#010101",
    "muted": "#020202",
    "rule": "#030303",
    "subject": "#040404",
    "reference": "#050505",
    "limit": "#060606",
    "bad": "#070707",
}
"""Stand-ins in matplotlib's output for the page's own colours, `var(--ink)` and so on."""
FONT = 12
"""Pixels, on a screen that shows the picture at its own size."""


@dataclass(frozen=True)
class Size:
    """A picture's measures, pixels: `gutter` is for the rows' labels, 0 puts them above their rows."""

    name: str
    width: int
    gutter: int
    row: int
    letters: int


_SIZES = (Size("wide", 880, 210, 24, 28), Size("narrow", 328, 0, 38, 42))
_TOP, _BOTTOM, _SIDE = 6, 42, 14


def import_matplotlib() -> None:
    """Import matplotlib without its words on stderr about where it may keep its cache of fonts.

    Raises:
        ImportError: it is not installed.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl

    del mpl


def printable(text: str) -> str:
    """Return text without what neither XML nor a reader can take: control characters, halves of surrogate pairs."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def render_svg(
    draw: Callable[[Axes, Size], None], rows: int | None, legend: Markup, name: str, axis: str, description: str
) -> Markup:
    """Return a picture with its legend.

    Args:
        draw: draws into the axes.
        rows: how many the picture has; None for one of a fixed height with numbers at its left.
        legend: stands above it.
        name: of the picture, once in a page: its parts' ids begin with it.
        axis: what the horizontal axis shows.
        description: the picture in words.
    """
    import_matplotlib()
    from markupsafe import Markup
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn: list[str] = []
    for size in _SIZES:
        height = (190 if rows is None else max(1, rows) * size.row) + _TOP + _BOTTOM
        left = (44 if rows is None else size.gutter) or _SIDE
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "c3d-export", "font.size": FONT}):
            figure = Figure(figsize=(size.width / 72, height / 72))
            box = (left / size.width, _BOTTOM / height, 1 - (left + _SIDE) / size.width, 1 - (_BOTTOM + _TOP) / height)
            axes = figure.add_axes(box)
            axes.spines[["left", "right", "top", "bottom"]].set_visible(False)
            axes.patch.set_visible(False)
            axes.set_axisbelow(True)
            draw(axes, size)
            axes.set_xlabel(axis, fontsize=FONT, color=COLOURS["muted"], parse_math=False)
            drawn.append(_inline(_saved(figure), name, size, printable(description)))
    inline = Markup("".join(drawn))  # noqa: S704 - ElementTree escaped every text in it
    return Markup('<div class="chart">{}{}</div>').format(legend, inline)


def _saved(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # the page's own fonts are shown, so it does not matter what matplotlib's has no glyphs for
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return stream.getvalue()


def _inline(svg: bytes, name: str, size: Size, description: str) -> str:
    """Return matplotlib's SVG as it may stand in a page: names of its own, the page's colours, a description."""
    root = ET.fromstring(svg)  # noqa: S314 - written by matplotlib a moment ago
    prefix = f"{name}-{size.name}-"
    used = set(re.findall(rb'(?:url\(|href=")#([^)"]+)', svg))
    for parent in root.iter():
        for child in [*parent]:
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
        held = {name.split("}")[-1]: value for name, value in element.attrib.items()}
        if held.get("id", "").encode() in used:
            held["id"] = prefix + held["id"]
        else:
            held.pop("id", None)
        if held.get("href", "").startswith("#"):
            held["href"] = f"#{prefix}{held['href'][1:]}"
        if "clip-path" in held:
            held["clip-path"] = held["clip-path"].replace("url(#", f"url(#{prefix}")
        if "style" in held:
            held["style"] = re.sub(r"font: [^;]*(;|$)", _font, _coloured(held["style"]))
        element.attrib.clear()
        element.attrib.update(held)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib.update({"class": size.name, "role": "img", "aria-label": description, "width": width, "height": height})
    return ET.tostring(root, encoding="unicode")


def _font(found: re.Match[str]) -> str:
    """Keep the size of `font: 12px 'DejaVu Sans', …`; the family is the page's."""
    pixels = re.search(r"([\d.]+)px", found[0])
    return f"font-size: {pixels[1] if pixels else FONT}px;"


def _coloured(style: str) -> str:
    for name, stand_in in COLOURS.items():
        style = style.replace(stand_in, f"var(--{name})")
    return style
