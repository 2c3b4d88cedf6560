"""What the error of a value that is in no list says."""

import click
import pytest
from click.testing import CliRunner

from exporter.cli.values import Choice, parse_names

NAMES = ("onnx", "torchscript", "pt2")


@click.command()
@click.option("--format", type=Choice(NAMES), multiple=True)
@click.option("--target", type=Choice(NAMES))
def command(**_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--format", "onnx,torchscript"], "; give --format for each: --format onnx --format torchscript"),
        (["--format", "ONNX, pt2"], "; give --format for each: --format onnx --format pt2"),
        (["--target", "onnx+pt2"], "; a run takes one of them, such as --target onnx"),
        (["--target", "ONNX"], "; did you mean onnx?"),
        (["--target", "torch"], "; did you mean torchscript?"),
        (["--target", "onnx,tensorflow"], "'pt2'"),
        (["--target", "xyz"], "'pt2'"),
    ],
)
def test_the_hint_of_a_value_that_is_not_in_the_list(arguments: list[str], hint: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, done.output.rstrip().endswith(hint)) == (2, True), done.output


def test_a_value_of_the_list_is_taken() -> None:
    assert CliRunner().invoke(command, ["--format", "onnx", "--format", "pt2", "--target", "pt2"]).exit_code == 0


@pytest.mark.parametrize("value", ["", "fc6,", "fc6,,fc7", " "])
def test_an_empty_name_in_a_list_is_refused(value: str) -> None:
    with pytest.raises(click.BadParameter, match="empty"):
        parse_names(value)
