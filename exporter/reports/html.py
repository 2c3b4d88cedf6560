"""Pages: one HTML file with everything in it, which loads nothing from the network and runs no script.

`base.html.jinja` is the page, `parts.html.jinja` its tables and figures, `page.css` its style; `charts` draws the
charts. jinja2 escapes every text.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from exporter import __version__
from exporter.errors import UnavailableError
from exporter.foreign_logging import suppress_foreign_logging
from exporter.output_targets import check_output_file, write_file
from exporter.reports.formatting import replace_invisible
from exporter.storage import Location
from models.errors import install_command

if TYPE_CHECKING:
    from jinja2 import Environment

    from exporter.results import PreviewFrames

OPTION = "--html"
THUMBNAIL = 160
"""The longer side of a frame in a page, pixels."""


@dataclass(frozen=True)
class Row:
    """A row of a table. The first cell names it; `bad` rows are highlighted."""

    cells: tuple[str, ...]
    bad: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        id: the id of its caption, unique in the page.
        title: the caption.
        headings: one for each column.
        rows: the rows, with a cell for each column.
        numbers: indices of the columns that hold numbers; they are aligned right.
    """

    id: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    numbers: tuple[int, ...] = ()


def require_page(path: Location, inputs: Iterable[Location] = ()) -> None:
    """Check, before anything long runs, that a page can be written: the path and the libraries.

    Args:
        path: the file.
        inputs: what the command reads: none of it is overwritten.

    Raises:
        OutputError: `path` cannot be written.
        UsageError: it is one of the inputs.
        UnavailableError: a library is missing.
    """
    check_output_file(path, OPTION, inputs)
    try:
        with suppress_foreign_logging():
            for library in ("jinja2", "matplotlib", "PIL"):
                import_module(library)
    except ImportError as error:
        raise UnavailableError(
            f"{OPTION} needs jinja2, matplotlib and Pillow ({error.name} is missing); {install_command('report')}"
        ) from error


def render(template: str, context: Mapping[str, Any], made: datetime | None = None) -> str:
    """Return a page.

    Args:
        template: a file beside this module that extends `base.html.jinja`.
        context: the values of the template's variables.
        made: the date in the last line; None for now.
    """
    date = f"{made or datetime.now(UTC):%Y-%m-%d %H:%M %Z}".strip()
    return _environment().get_template(template).render(made=date, version=__version__, **context)


def write_page(path: Location, page: Callable[[], str]) -> None:
    """Write a page.

    Raises:
        OutputError: it cannot be written.
    """
    write_file(path, page().encode(), OPTION)


def thumbnails(clip: PreviewFrames) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Return a clip's frames as JPEG `data:` addresses, and their (width, height)."""
    from PIL import Image

    addresses: list[str] = []
    size = (clip.width, clip.height)
    for frame in clip.frames:
        image = Image.frombytes("RGB", (clip.width, clip.height), frame)
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        size, stream = image.size, io.BytesIO()
        image.save(stream, "JPEG", quality=85)
        addresses.append(f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}")
    return tuple(addresses), size


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("exporter.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )


def _finalize(value: object) -> object:
    """Return markup unchanged, and other text without control characters."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return replace_invisible(value)
    return value
