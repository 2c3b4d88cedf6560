"""Results for people, on a terminal or in a pipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from exporter.isolation.streams import user_stderr, user_stdout
from exporter.memory_errors import translate_memory_errors
from exporter.reports.json_report import dump
from models.text import shorten, visible

if TYPE_CHECKING:
    from rich.status import Status


Result = TypeVar("Result")

PIPE_WIDTH = 120
MAX_LINE = 1000
"""Characters of a text from a file or a user that a line of a report shows."""
MAX_NAME = 120
"""Characters of a name that a cell of a table shows."""
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
            self._status.update(plain(step, MAX_NAME))

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


def plain(text: str, most: int = MAX_LINE) -> Text:
    """Return any text for a console: visible, on one line, and not taken for markup.

    Args:
        text: any text.
        most: the characters that it may have; of a longer one the beginning, the length and the end are shown.
    """
    return Text(shorten(text, most))


def print_rows(
    headings: Sequence[str],
    widths: Sequence[int],
    rows: Iterable[Sequence[str | Text]],
    console: Console,
    *,
    after: Sequence[str] = (),
    bad: Container[int] = (),
) -> None:
    """Print a table without lines, and without spaces at the ends of lines.

    A terminal that is too narrow makes the first columns narrower, down to `MIN_NAME_WIDTH`, and then breaks the lines:
    rich would cut the numbers and leave out the texts.

    Args:
        headings: of the columns of texts, then of numbers.
        widths: of the columns of texts, at most.
        rows: their cells, as `plain` makes them: of names, at most `MAX_NAME` characters.
        console: where to.
        after: headings of columns of short words after the numbers.
        bad: the positions of rows in red.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column, heading in enumerate(headings):
        if column < len(widths):
            table.add_column(Text(heading), max_width=widths[column], overflow="fold")
        else:
            table.add_column(Text(heading), justify="right", no_wrap=True)
    for heading in after:
        table.add_column(Text(heading), no_wrap=True)
    for number, row in enumerate(rows):
        cells = (plain(cell, MAX_NAME) if isinstance(cell, str) else cell for cell in row)
        table.add_row(*cells, style="red" if number in bad else "")
    width = -1  # the last column has no space after it
    for column in table.columns:
        texts = (text for text in (column.header, *column.cells) if isinstance(text, Text))
        longest = max(line.cell_len for text in texts for line in text.split(allow_blank=True))
        column.min_width = longest if column.no_wrap else min(longest, MIN_NAME_WIDTH)
        width += column.min_width + 1
    if width > console.width:
        table.width = width
    for segments in Segment.split_lines(console.render(table)):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        console.print(line)


def print_field(
    name: str, text: str | Text, console: Console, *, width: int = FIELD_WIDTH, style: str = "", whole: bool = False
) -> None:
    """Print a name and a text, the text `width` characters from the left.

    On a terminal, lines are broken between words and aligned with the first. In a pipe a field is one line, which a
    program can find.

    Args:
        name: the name.
        text: the text, or what `plain` and rich made of one.
        console: where to.
        width: of the name, with the spaces after it.
        style: of the name.
        whole: it is what people copy: one line on a terminal too, so that this gives it back as it is.
    """
    label = plain(name)
    label.stylize(style)
    label.pad_right(width - len(label))
    shown = plain(text) if isinstance(text, str) else text
    if whole or not console.is_terminal:
        console.print(label.append_text(shown))
        return
    lines = shown.wrap(console, max(MIN_TEXT_WIDTH, console.width - width))
    for number, line in enumerate(lines):
        line.rstrip()
        console.print((Text(" " * width) if number else label).append_text(line))


def print_text(text: str | Text, console: Console) -> None:
    """Print a text: a field without a name."""
    print_field("", text, console, width=0)


def print_title(title: str, more: str, console: Console) -> None:
    """Print a title in bold, and more about it."""
    line = plain(title)
    line.stylize("bold")
    print_text(line.append_text(plain(more)), console)


def print_wrote(path: object, more: str, console: Console) -> None:
    """Print a file that was written, and more about it."""
    print_field("wrote", f"{path}{more}", console, whole=True)


def print_result(*, passed: bool, text: str, console: Console) -> None:
    """Print whether a check has passed, and more about it."""
    word = ("passed", "bold green") if passed else ("FAILED", "bold red")
    print_field("result", Text.assemble(word, plain(text)), console)


def print_failed(text: str, console: Console) -> None:
    """Print why a video has no result."""
    print_field("FAILED", text, console, style="bold red")


def print_notes(notes: Sequence[str], console: Console) -> None:
    """Print a field for each note."""
    for note in notes:
        print_field("note", note, console)


def print_raised(layers: Mapping[str, tuple[str, float]], console: Console) -> None:
    """Print a line for each layer that computes in a higher precision than the others."""
    for layer, (precision, gain) in layers.items():
        print_field("raised", f"{layer} computes in {precision}: {gain:+.1f} dB", console)


def print_duration(seconds: dict[str, float], console: Console) -> None:
    """Print how long a command took, in all and by phase."""
    print_field("took", f"{sum(seconds.values()):.1f} s ({describe_phases(seconds)})", console)


def describe_phases(seconds: Mapping[str, float]) -> str:
    """Return `load 0.7 s, run 3.0 s`."""
    return ", ".join(f"{phase} {value:.1f} s" for phase, value in seconds.items())
