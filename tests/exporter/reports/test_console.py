"""Fields of a report, on terminals and in pipes, and what is printed while a command works."""

from io import StringIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from exporter.reports.console import (
    MAX_NAME,
    plain,
    print_field,
    print_notes,
    print_rows,
    print_text,
    print_title,
    progress_on_terminal,
)
from models.text import shorten

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
def test_texts_are_no_markup(terminal: bool) -> None:
    stream = StringIO()
    print_field("FAILED", "a [red]text[/]", console(stream, 80, terminal=terminal), style="bold red")
    print_field("    class names", "known", console(stream, 80, terminal=terminal), width=19)
    print_text("a [title]", console(stream, 80, terminal=terminal))
    expected = "FAILED   a [red]text[/]\n    class names    known\na [title]\n"
    assert stream.getvalue() == expected


def test_only_the_title_and_the_name_are_styled() -> None:
    stream = StringIO()
    styled = Console(file=stream, width=80, force_terminal=True, color_system="standard", soft_wrap=True)
    print_title("a\x1b[2J", "  [red]b", styled)
    print_field("FAILED", "c", styled, style="bold red")
    assert stream.getvalue() == "\x1b[1ma\\x1b[2J\x1b[0m  [red]b\n\x1b[1;31mFAILED\x1b[0m   c\n"


@pytest.mark.parametrize("whole", [True, False])
def test_what_people_copy_is_one_line_on_a_terminal_too(whole: bool) -> None:
    stream = StringIO()
    print_field("wrote", " ".join(["a path"] * 20), console(stream, 40, terminal=True), whole=whole)
    assert (stream.getvalue().count("\n") == 1) is whole


def test_what_is_finished_is_a_line_on_stderr_without_a_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_on_terminal() as progress:
        progress("exporting")
        progress.print_finished("onnx fp32 cpu (1 of 2): exported\x1b[2J\nin 3 s")
    assert capsys.readouterr() == ("", "onnx fp32 cpu (1 of 2): exported\\x1b[2J\\nin 3 s\n")


@pytest.mark.parametrize("width", [20, 44, 60, 80, 120])
def test_a_table_is_whole_on_a_terminal_of_any_width(width: int) -> None:
    headings = ("input", "max\nerror", "float32\nmean", "median", "cosine")
    names = ("abcdefghijklmnopqrstuvwxyz", "a [bold]b[/] c")
    rows = [(name, "1.2e-07", "3.4e-08", "12.5 (0.93 to 1.02)", "0.999999") for name in names]
    stream = StringIO()
    print_rows(headings, (15,), rows, console(stream, width, terminal=True))
    text = stream.getvalue()
    assert "…" not in text
    assert text.count("1.2e-07 3.4e-08 12.5 (0.93 to 1.02) 0.999999\n") == 2
    first_columns = "".join(line[:16].partition(" ")[0] for line in text.splitlines())
    assert names[0] in first_columns
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_of_a_table_end_without_spaces(terminal: bool) -> None:
    stream = StringIO()
    row = ("random", "1.0", Text("pass", "green"))
    print_rows(("name", "max\nerror"), (15,), [row], console(stream, 80, terminal=terminal), after=("",))
    assert stream.getvalue() == "         max\nname   error\nrandom   1.0 pass\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv1.weight", "conv1.weight"),
        ("a\nloads     yes", "a\\nloads     yes"),
        ("\x1b[2K\x1b[1A[red]", "\\x1b[2K\\x1b[1A[red]"),
        ("\x9b2J\u202egnp.exe\udc80", "\\x9b2J\\u202egnp.exe\\udc80"),
        ("Größe 動画.mp4", "Größe 動画.mp4"),
    ],
)
def test_names_of_files_cannot_forge_lines_of_a_console(text: str, shown: str) -> None:
    printed = StringIO()
    Console(file=printed, width=200).print(plain(text))
    assert printed.getvalue() == f"{shown}\n"


@given(st.text(st.one_of(st.characters(codec=None), st.sampled_from("[]/\\\\:@=abc \x1b\u202e"))))
@example("[/]\\\\")
@example("a\\\\[bold]b[/bold]:smile:\\\\")
def test_a_name_is_printed_as_it_is(text: str) -> None:
    printed = StringIO()
    Console(file=printed, width=10_000, highlight=False).print(plain(text, MAX_NAME))
    assert printed.getvalue() == f"{shorten(text, MAX_NAME)}\n"
