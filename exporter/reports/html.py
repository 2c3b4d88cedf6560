"""Pages: one HTML file with everything in it, that asks nothing of any network and runs no script.

`base.html.jinja` is the page, `parts.html.jinja` its tables and figures, `page.css` its style; `charts` draws the
pictures. Every text is escaped by jinja2, whatever it is.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter import __version__
from exporter.errors import OutputError, UnavailableError
from exporter.reports.output_files import atomic_write
from exporter.reports.svg import import_matplotlib, printable

if TYPE_CHECKING:
    from jinja2 import Environment

    from exporter.results import PreviewFrames

THUMBNAIL = 160
"""The longer side of a frame in a page, pixels."""


@dataclass(frozen=True)
class Row:
    """A row of a table: texts, the first of which names it; `bad` rows are pointed out."""

    cells: tuple[str, ...]
    bad: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        id: of its caption, once in the page.
        title: the caption.
        headings: of the columns.
        rows: a text for each column.
        numbers: the columns whose texts are numbers, aligned right.
    """

    id: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    numbers: tuple[int, ...] = ()


def require_libraries(option: str = "--html") -> None:
    """Ask for what pages need, before anything long runs.

    Raises:
        UnavailableError: a library is missing.
    """
    try:
        import jinja2
        import PIL

        del jinja2, PIL
        import_matplotlib()
    except ImportError as error:
        raise UnavailableError(
            f"{option} needs jinja2, matplotlib and Pillow ({error.name} is missing); pip install 'c3d-export[report]'"
        ) from error


def render(template: str, context: Mapping[str, Any], made: datetime | None = None) -> str:
    """Return a page.

    Args:
        template: a file beside this module that extends `base.html.jinja`.
        context: what it shows.
        made: when, for its last line; now if not told.
    """
    reported = f"{made or datetime.now(UTC):%Y-%m-%d %H:%M %Z}".strip()
    return _environment().get_template(template).render(made=reported, version=__version__, **context)


def write_page(path: Path, page: Callable[[], str], option: str = "--html") -> None:
    """Write a page.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        atomic_write(path, page().encode())
    except OSError as error:
        raise OutputError(f"{option} {path}: cannot be written: {error.strerror}") from error


def thumbnails(clip: PreviewFrames) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Return a clip's frames as JPEG `data:` addresses, and their (width, height)."""
    from PIL import Image

    reported: list[str] = []
    size = (clip.width, clip.height)
    for frame in clip.frames:
        image = Image.frombytes("RGB", (clip.width, clip.height), frame)
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        size, stream = image.size, io.BytesIO()
        image.save(stream, "JPEG", quality=85)
        reported.append(f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}")
    return tuple(reported), size


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("exporter.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    """Return what may stand in a page: markup as it is, other text without what no page can hold."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return printable(value)
    return value
