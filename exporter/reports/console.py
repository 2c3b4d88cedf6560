"""Results for people, on a terminal or in a pipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from exporter.isolation.streams import user_stderr, user_stdout
from exporter.memory_errors import translate_memory_errors
from exporter.reports.formatting import escape, escape_name
from exporter.reports.json_report import dump
from models.text import visible

if TYPE_CHECKING:
    from rich.status import Status


Result = TypeVar("Result")

PIPE_WIDTH = 120
FIELD_WIDTH = 9
"""Of a field's name, with the space after it."""
MIN_NAME_WIDTH = 10
"""Of a text column of a table: longer texts have more lines on a narrow terminal."""
MIN_TEXT_WIDTH = 20
"""Of a field's text, on terminals that are narrower than any table."""


class _Pipe(Console):
    def on_broken_pipe(self) -> None:
        """Continue when the reader of the pipe has gone, so that the exit code is right; rich would exit with 1."""
        _discard_stdout()


def _discard_stdout() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, user_stdout().fileno())
    os.close(null)


def stdout() -> Console:
    """Return the console for results; in a pipe it is wide enough for every table and has no colours."""
    stream = user_stdout()
    console = _Pipe(file=stream, highlight=False, emoji=False, soft_wrap=True)
    console.width = _width(stream, console) if console.is_terminal else PIPE_WIDTH
    return console


def _width(stream: TextIO, console: Console) -> int:
    """Return the width of the terminal that a stream goes to; rich looks at the standard descriptors only."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or console.width
    except (OSError, ValueError):
        return console.width


def writes_unicode() -> bool:
    """Return whether stdout takes every character: otherwise JSON is written with escapes of its own."""
    return (user_stdout().encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")


def show(
    result: Result,
    to_dict: Callable[[Result], dict[str, Any]],
    print_result: Callable[[Result, Console], None],
    *,
    as_json: bool,
) -> None:
    """Print a result on stdout, as one JSON object or for people."""
    if not as_json:
        print_result(result, stdout())
        return
    try:
        print_json(to_dict(result))
    except BrokenPipeError:
        _discard_stdout()


def print_json(value: dict[str, Any]) -> None:
    """Print an object on stdout as JSON."""
    print(dump(value, ascii_only=not writes_unicode()), file=user_stdout(), flush=True)


class TerminalProgress:
    """A progress callback that shows the current step on stderr, if that is a terminal.

    Attributes:
        step: the current one.
    """

    def __init__(self, status: Status | None) -> None:
        self._status = status
        self.step = "it started"

    def __call__(self, step: str) -> None:
        """Show a step."""
        self.step = step
        if self._status is not None:
            self._status.update(escape_name(step))

    def print_finished(self, line: str) -> None:
        """Print on stderr, terminal or not, that a part of a long command is finished."""
        with self.paused():
            print(visible(line), file=user_stderr(), flush=True)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Take the step off the terminal while results are printed on it."""
        if self._status is not None:
            self._status.stop()
        try:
            yield
        finally:
            if self._status is not None:
                self._status.start()


@contextmanager
def progress_on_terminal() -> Generator[TerminalProgress]:
    """Yield a progress callback that shows the current step on stderr, if that is a terminal."""
    stream = user_stderr()
    console = Console(file=stream, emoji=False)
    with ExitStack() as stack:
        shown = stream.isatty() and console.is_terminal
        progress = TerminalProgress(stack.enter_context(console.status("starting")) if shown else None)
        with translate_memory_errors(None, lambda: progress.step):
            yield progress


def make_table(headings: Sequence[str], widths: Sequence[int] = ()) -> Table:
    """Return a table without lines: text columns of at most the given widths first, then columns of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column, heading in enumerate(headings):
        if column < len(widths):
            table.add_column(heading, max_width=widths[column], overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_table(table: Table, console: Console) -> None:
    """Print a table of `make_table`, without spaces at the ends of lines.

    A terminal that is too narrow makes text columns narrower, down to `MIN_NAME_WIDTH`, and then breaks the lines:
    rich would cut the numbers and leave out the texts.
    """
    width = -1  # the last column has no space after it
    for column in table.columns:
        texts = [str(text) for text in (column.header, *column.cells)]
        longest = max(line.cell_len for text in texts for line in console.render_str(text).split(allow_blank=True))
        column.min_width = longest if column.no_wrap else min(longest, MIN_NAME_WIDTH)
        width += column.min_width + 1
    if width > console.width:
        table.width = width
    for segments in Segment.split_lines(console.render(table)):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        console.print(line)


def print_rows(headings: Sequence[str], widths: Sequence[int], rows: Iterable[Sequence[str]], console: Console) -> None:
    """Print a table of names and numbers; see `make_table`."""
    table = make_table(headings, widths)
    for row in rows:
        table.add_row(*map(escape_name, row))
    print_table(table, console)


def print_field(name: str, text: str, console: Console, *, width: int = FIELD_WIDTH) -> None:
    """Print a name and a text, both in rich's markup, the text `width` characters from the left.

    On a terminal, lines are broken between words and aligned with the first. In a pipe a field is one line, which a
    program can find.
    """
    label = Text.from_markup(name, emoji=False)
    label.pad_right(width - len(label))
    if not console.is_terminal:
        console.print(label.append_text(Text.from_markup(text, emoji=False)))
        return
    lines = Text.from_markup(text, emoji=False).wrap(console, max(MIN_TEXT_WIDTH, console.width - width))
    for number, line in enumerate(lines):
        line.rstrip()
        console.print((Text(" " * width) if number else label).append_text(line))


def print_text(text: str, console: Console) -> None:
    """Print a text in rich's markup: a field without a name."""
    print_field("", text, console, width=0)


def print_notes(notes: Sequence[str], console: Console) -> None:
    """Print a field for each note."""
    for note in notes:
        print_field("note", escape(note), console)


def print_raised(layers: Mapping[str, tuple[str, float]], console: Console) -> None:
    """Print a line for each layer that computes in a higher precision than the others."""
    for layer, (precision, gain) in layers.items():
        print_field("raised", f"{escape_name(layer)} computes in {escape_name(precision)}: {gain:+.1f} dB", console)


def print_duration(seconds: dict[str, float], console: Console) -> None:
    """Print how long a command took, in all and by phase."""
    print_field("took", f"{sum(seconds.values()):.1f} s ({describe_phases(seconds)})", console)


def describe_phases(seconds: Mapping[str, float]) -> str:
    """Return `load 0.7 s, run 3.0 s`."""
    return ", ".join(f"{phase} {value:.1f} s" for phase, value in seconds.items())
