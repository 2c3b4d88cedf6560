"""Fields of a report, on terminals and in pipes, and what is printed while a command works."""

from io import StringIO

import pytest
from rich.console import Console

from exporter.reports.console import print_field, print_notes, progress_on_terminal

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


def test_in_a_pipe_a_field_is_one_line_unless_it_is_to_be_folded() -> None:
    stream = StringIO()
    print_notes((NOTE,), console(stream, 80, terminal=False))
    assert stream.getvalue() == f"note     {NOTE}\n"
    print_field(
        "result", "[red]FAILED[/] " + "x " * 60, console(stream := StringIO(), 80, terminal=False), fold_in_pipe=True
    )
    lines = stream.getvalue().splitlines()
    assert (lines[0][:15], len(lines)) == ("result   FAILED", 2)


def test_what_is_finished_is_a_line_on_stderr_without_a_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_on_terminal() as progress:
        progress("exporting")
        progress.print_finished("onnx fp32 cpu (1 of 2): exported\x1b[2J\nin 3 s")
    assert capsys.readouterr() == ("", "onnx fp32 cpu (1 of 2): exported\\x1b[2J\\nin 3 s\n")
