"""Inline SVG, drawn by matplotlib, for `charts`, with the colours of the page."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from exporter.foreign_logging import suppress_foreign_logging
from exporter.reports.formatting import replace_invisible

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
"""Placeholders in matplotlib's output for the CSS variables of the page, `var(--ink)` and so on."""
FONT = 12
"""Font size in pixels, at the chart's own size."""


WIDTH, ROW_HEIGHT, PLAIN_HEIGHT = 400, 38, 190
"""Sizes in pixels; the chart is scaled to the width of the screen, within limits that the style sheet sets."""
_TOP, _BOTTOM, _SIDE, _AXIS = 6, 42, 14, 44


def render_svg(
    draw: Callable[[Axes], None],
    rows: int | None,
    legend: Markup,
    name: str,
    axis: str,
    description: str,
    row_height: int = ROW_HEIGHT,
    plain_height: int = PLAIN_HEIGHT,
) -> Markup:
    """Return a chart with its legend.

    Args:
        draw: draws into the axes.
        rows: number of rows; None for a fixed height and a vertical axis with numbers.
        legend: placed above the chart.
        name: unique in the page; the ids inside the chart begin with it.
        axis: title of the horizontal axis.
        description: the text alternative of the chart.
        row_height: in pixels.
        plain_height: the height without rows, in pixels.
    """
    from markupsafe import Markup

    with suppress_foreign_logging():
        from matplotlib import rc_context
        from matplotlib.figure import Figure

    height = (plain_height if rows is None else max(1, rows) * row_height) + _TOP + _BOTTOM
    left = _AXIS if rows is None else _SIDE
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "c3d-export", "font.size": FONT}):
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        box = (left / WIDTH, _BOTTOM / height, 1 - (left + _SIDE) / WIDTH, 1 - (_BOTTOM + _TOP) / height)
        axes = figure.add_axes(box)
        axes.spines[["left", "right", "top", "bottom"]].set_visible(False)
        axes.patch.set_visible(False)
        axes.set_axisbelow(True)
        draw(axes)
        axes.set_xlabel(axis, fontsize=FONT, color=COLOURS["muted"], parse_math=False)
        svg = Markup(_inline(_save(figure), f"{name}-", replace_invisible(description)))  # noqa: S704 - ElementTree escaped it
    return Markup('<div class="chart">{}{}</div>').format(legend, svg)


def make_legend(entries: Iterable[tuple[str, str, str]]) -> Markup:
    """Return a legend of (role, glyph, name); nothing where no entry has a name."""
    from markupsafe import Markup

    named = [(role, glyph, replace_invisible(name)) for role, glyph, name in entries]
    item = Markup('<li><span class="{}" aria-hidden="true">{}</span> {}</li>')
    listed = Markup("").join(item.format(*entry) for entry in named)
    return Markup('<ul class="legend">{}</ul>').format(listed) if any(name for *_, name in named) else Markup("")


def _save(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # the page's own fonts are used, so glyphs that matplotlib's font lacks do not matter
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return stream.getvalue()


def _inline(svg: bytes, prefix: str, description: str) -> str:
    """Return matplotlib's SVG for inclusion in a page: unique ids, the colours of the page, a description."""
    root = ET.fromstring(svg)  # noqa: S314 - written by matplotlib a moment ago
    used = set(re.findall(rb'(?:url\(|href=")#([^)"]+)', svg))
    for parent in root.iter():
        for child in [*parent]:
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
        attributes = {key.split("}")[-1]: value for key, value in element.attrib.items()}
        if attributes.get("id", "").encode() in used:
            attributes["id"] = prefix + attributes["id"]
        else:
            attributes.pop("id", None)
        if attributes.get("href", "").startswith("#"):
            attributes["href"] = f"#{prefix}{attributes['href'][1:]}"
        if "clip-path" in attributes:
            attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{prefix}")
        if "style" in attributes:
            attributes["style"] = re.sub(r"font: [^;]*(;|$)", _font_size, _use_page_colours(attributes["style"]))
        element.attrib.clear()
        element.attrib.update(attributes)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib.update({"role": "img", "aria-label": description, "width": width, "height": height})
    return ET.tostring(root, encoding="unicode")


def _font_size(found: re.Match[str]) -> str:
    """Return the size of `font: 12px 'DejaVu Sans', …` without the family, which the style sheet sets."""
    pixels = re.search(r"([\d.]+)px", found[0])
    return f"font-size: {pixels[1] if pixels else FONT}px;"


def _use_page_colours(style: str) -> str:
    for name, placeholder in COLOURS.items():
        style = style.replace(placeholder, f"var(--{name})")
    return style
