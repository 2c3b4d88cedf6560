"""Fields of a report, on terminals and in pipes, and what is printed while a command works."""

from io import StringIO

import pytest
from rich.console import Console

from exporter.reports.console import (
    make_table,
    print_field,
    print_notes,
    print_table,
    print_text,
    progress_on_terminal,
)

NOTE = "accuracy was calibrated and evaluated without clips of yours: give videos of the network's own kind [bold]"


def console(stream: StringIO, width: int, *, terminal: bool) -> Console:
    return Console(
        file=stream, width=width, highlight=False, soft_wrap=True, force_terminal=terminal, color_system=None
    )


@pytest.mark.parametrize("width", [40, 80])
def test_on_a_terminal_a_field_is_broken_between_words_and_aligned(width: int) -> None:
    stream = StringIO()
    print_notes((NOTE,), console(stream, width, terminal=True))
    first, *others = stream.getvalue().splitlines()
    assert others
    assert all(len(line) <= width for line in (first, *others))
    assert first.startswith("note     accuracy was")
    assert {line[:9] for line in others} == {" " * 9}
    assert " ".join([first[9:], *(line[9:] for line in others)]) == NOTE


def test_in_a_pipe_a_field_is_one_line() -> None:
    stream = StringIO()
    print_notes((NOTE,), console(stream, 80, terminal=False))
    assert stream.getvalue() == f"note     {NOTE}\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_name_in_markup_takes_the_width_that_is_seen(terminal: bool) -> None:
    stream = StringIO()
    print_field("[bold red]FAILED[/]", "a [red]text[/]", console(stream, 80, terminal=terminal))
    print_field("    class names", "known", console(stream, 80, terminal=terminal), width=19)
    print_text("a \\[title]", console(stream, 80, terminal=terminal))
    assert stream.getvalue() == "FAILED   a text\n    class names    known\na [title]\n"


def test_what_is_finished_is_a_line_on_stderr_without_a_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_on_terminal() as progress:
        progress("exporting")
        progress.print_finished("onnx fp32 cpu (1 of 2): exported\x1b[2J\nin 3 s")
    assert capsys.readouterr() == ("", "onnx fp32 cpu (1 of 2): exported\\x1b[2J\\nin 3 s\n")


@pytest.mark.parametrize("width", [20, 44, 60, 80, 120])
def test_a_table_is_whole_on_a_terminal_of_any_width(width: int) -> None:
    headings = ("input", "max\nerror", "float32\nmean", "median", "cosine")
    names = ("abcdefghijklmnopqrstuvwxyz", "a [bold]b[/] c")
    table = make_table(headings, (15,))
    for name in names:
        table.add_row(name, "1.2e-07", "3.4e-08", "12.5 (0.93 to 1.02)", "0.999999")
    stream = StringIO()
    print_table(table, console(stream, width, terminal=True))
    text = stream.getvalue()
    assert "…" not in text
    assert text.count("1.2e-07 3.4e-08 12.5 (0.93 to 1.02) 0.999999\n") == 2
    first_columns = "".join(line[:16].partition(" ")[0] for line in text.splitlines())
    assert names[0] in first_columns
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_of_a_table_end_without_spaces(terminal: bool) -> None:
    stream = StringIO()
    table = make_table(("name", "max\nerror"), (15,))
    table.add_column("", no_wrap=True)
    table.add_row("random", "1.0", "[green]pass[/]")
    print_table(table, console(stream, 80, terminal=terminal))
    assert stream.getvalue() == "         max\nname   error\nrandom   1.0 pass\n"
