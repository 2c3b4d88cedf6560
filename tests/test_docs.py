"""The documentation agrees with the code: commands, tables, names and examples."""

import dataclasses
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import msgspec
import pytest

import exporter
import models
from exporter.artifacts.manifest import Manifest
from exporter.cli.main import cli
from exporter.cli.verify import verify_command
from exporter.engines import ENGINES, bench_engines, engine_names
from exporter.formats import FORMATS
from exporter.parity.input_types import INPUT_TYPES
from exporter.parity.tolerance import SNR_TOLERANCES
from exporter.passes.pipelines import build_passes
from exporter.types import (
    COMPUTE_PRECISIONS,
    DEVICES,
    QUICK,
    TARGETS,
    ComputePrecision,
    FormatName,
    OptimizeOptions,
)
from models.checkpoints.layouts import LAYOUTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("benchmarks/**/*.md")])
PROGRAMS: dict[str, click.Command] = {"c3d-export": cli, "verify": verify_command}


def read_table(page: str, first_column: str) -> list[list[str]]:
    """Return the rows of the page's table whose header starts with `first_column`, cell by cell."""
    lines = (DOCS / page).read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows: list[list[str]] = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def read_commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command of this project in the page's console and indented blocks."""
    text = page.read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    for line in (*lines, *re.findall(rf"^    ((?:{'|'.join(PROGRAMS)}) .*)$", text, re.MULTILINE)):
        yield from split_commands(line)


def split_commands(line: str) -> Iterator[list[str]]:
    """Yield the commands of this project in a shell line, without variables before them."""
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word not in ("&&", "|", ";"):
            words.append(word)
            continue
        while words and ("=" in words[0] or words[0] in ("/usr/bin/time", "-v")):
            del words[0]
        if ">" in words:
            del words[words.index(">") :]
        if words and words[0] in PROGRAMS:
            yield words
        words = []


COMMANDS = [(page, words) for page in PAGES for words in read_commands(page)]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(words) for _, words in COMMANDS])
def test_commands_of_the_docs_parse(page: Path, words: list[str]) -> None:
    command, parent, arguments = PROGRAMS[words[0]], None, words[1:]
    while True:
        context = command.make_context(command.name, list(arguments), parent=parent)
        rest = [*context._protected_args, *context.args]  # pyright: ignore[reportPrivateUsage]
        if not isinstance(command, click.Group) or not rest:
            break
        _, child, arguments = command.resolve_command(context, rest)
        assert child is not None, f"{page}: {' '.join(words)}"
        command, parent = child, context
    assert command is not cli or context.params["formats"] or {"--help", "--version"} & {*words}, (
        f"{page}: {' '.join(words)} has no --format"
    )
    assert not context.args, f"{page}: {' '.join(words)}"


def test_commands_in_running_text_name_options_that_exist() -> None:
    known = {option for command in walk(cli) for param in command.params for option in param.opts}
    for page in PAGES:
        for code in re.findall(r"`(?:c3d-export|verify)( [^`]*)`", page.read_text()):
            named = {word.split("=")[0] for word in code.split() if word.startswith("-")}
            assert named <= {*known, "--help"}, f"{page}: {code}"


def test_options_in_running_text_exist() -> None:
    known = {option for command in walk(cli) for param in command.params for option in param.opts}
    foreign = {
        "--check",
        "--long",
        "--seconds",
        "--strict",
        "--onnxrt",
        "--trt",
        "--into",
        "--help",
        "--version",
        "--gpus",
    }
    for page in (page for page in PAGES if page.is_relative_to(DOCS) or page.name == "README.md"):
        named = set(re.findall(r"`(--[a-z0-9-]+)", page.read_text()))
        assert named <= known | foreign, page


def walk(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from walk(child)


def test_the_table_of_origins_lists_every_layout() -> None:
    rows = read_table("how-to/checkpoints.md", "layout")
    expected = [f"`{layout.name}`{' *' if layout.disambiguation else ''}" for layout in LAYOUTS]
    assert [row[0] for row in rows] == expected
    for row, layout in zip(rows, LAYOUTS, strict=True):
        assert f"`{layout.pool5 or 'symmetric'}`" in row[3]


CELL = re.compile(
    r'\[(tested|tested on a GPU|not run here|refused|no engine)\]\(\.\./\.\./(tests/[\w/]+\.py) "(test_\w+)"\)'
)


def test_the_table_of_formats_precisions_and_devices_links_every_cell_to_a_test() -> None:
    rows = {(row[0].strip("`"), row[1]): row[2:] for row in read_table("reference/formats.md", "format | precision")}
    places: list[tuple[FormatName, ComputePrecision]] = [
        (name, precision) for name in FORMATS for precision in COMPUTE_PRECISIONS
    ]
    assert [*rows] == places
    for name, precision in places:
        for device, cell in zip(DEVICES, rows[name, precision], strict=True):
            found = CELL.fullmatch(cell)
            assert found, (name, precision, device, cell)
            state, path, function = found.groups()
            able = any(device in engine.devices for engine in ENGINES.values() if name in engine.runs)
            if FORMATS[name].precisions.get(precision) != "":
                assert state == "refused", (name, precision, device)
            else:
                assert state in (("tested", "tested on a GPU", "not run here") if able else ("no engine",)), (
                    name,
                    precision,
                    device,
                )
            code = re.search(rf"((?:^@.*\n(?:^[ )].*\n)*)*)^def {function}\(", (ROOT / path).read_text(), re.MULTILINE)
            assert code, f"{path}: no {function}"
            assert ("pytest.mark.cuda" in code[1]) == (state in ("tested on a GPU", "not run here")), (
                f"{path}::{function}"
            )


def test_every_test_that_a_page_links_to_by_name_exists() -> None:
    text = (ROOT / "docs/reference/formats.md").read_text()
    linked = set(re.findall(r'\(\.\./\.\./(tests/[\w/]+\.py) "(test_\w+)"\)', text))
    assert len(linked) > 10
    for path, function in linked:
        assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}: no {function}"


def test_the_table_of_inputs_lists_every_input_type() -> None:
    rows = read_table("reference/parity.md", "input type")
    assert [row[0] for row in rows] == [f"`{name}`{' *' if name in QUICK else ''}" for name in INPUT_TYPES]


def test_the_table_of_engines_lists_every_engine() -> None:
    assert [row[0] for row in read_table("reference/parity.md", "name")] == [
        *(f"`{name}`" for name in engine_names()),
        "`torch`",
    ]


def test_the_table_of_bench_engines_lists_every_engine() -> None:
    assert [row[0] for row in read_table("explanation/bench.md", "engine")] == [
        f"`{spec.name}`" for spec in bench_engines()
    ]


def test_the_table_of_tolerances_has_the_codes_numbers() -> None:
    expected = [
        [name, f"≥ {rule.min_snr_db:g} dB", f"≥ {rule.min_top1:.0%}".replace("%", " %")]
        for name, rule in SNR_TOLERANCES.items()
    ]
    assert [[row[0], row[1], row[3]] for row in read_table("reference/parity.md", "precision")] == expected


def test_the_table_of_targets_lists_every_pass() -> None:
    rows = {row[0]: row[1] for row in read_table("reference/passes.md", "target")}
    assert list(rows) == [f"`{target}`" for target in TARGETS]
    portable = [step.name for step in build_passes(OptimizeOptions("portable"))]
    assert rows["`portable`"] == ", ".join(portable)
    for target in TARGETS:
        added = [step.name for step in build_passes(OptimizeOptions(target)) if step.name not in portable]
        assert all(name in rows[f"`{target}`"] for name in added)


def test_the_manifest_page_names_every_field() -> None:
    named = {name for row in read_table("reference/manifest.md", "field") for name in re.findall(r"`(\w+)`", row[0])}
    assert named == {field.name for field in dataclasses.fields(Manifest)}


def test_the_json_schema_of_the_manifest_is_the_codes() -> None:
    stored = json.loads((DOCS / "reference/manifest.schema.json").read_text())
    current = msgspec.json.schema(Manifest)
    assert stored == json.loads(json.dumps(current)), (
        "write it again: json.dumps(msgspec.json.schema(Manifest), indent=2)"
    )


def test_pages_install_from_a_clone_with_constraints_and_extras_that_exist() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named: list[str] = []
    for page in PAGES:
        text = " ".join(page.read_text().split())
        for options, own in re.findall(
            r"pip install ((?:-\S+ |constraints\.txt )*)'?\.(?:\[([a-z0-9,]+)\])?[' `]", text
        ):
            assert options.startswith("-c constraints.txt "), page
            named += own.split(",") if own else []
        assert page == DOCS / "index.md" or "c3d-export[" not in text, page
    for source in (path for folder in ("exporter", "models") for path in (ROOT / folder).rglob("*.py")):
        text = source.read_text()
        named += re.findall(r"install_command\([\"'](\w+)", text)
        assert source == ROOT / "models/errors.py" or "c3d-export[" not in text, f"{source}: use install_command"
    named += [engine.extra for engine in ENGINES.values() if engine.extra]
    assert len(set(named)) > 8
    assert set(named) <= extras


def test_links_between_pages_lead_to_files() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_site_has_every_page_in_its_navigation() -> None:
    listed = re.findall(r"[\w./-]+\.md$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    results = [f"results/{page.name}" for page in (ROOT / "benchmarks/results").glob("*.md")]
    assert sorted(listed) == sorted([*pages, *results])


@pytest.mark.parametrize("module", [exporter, models])
def test_the_api_page_lists_every_public_name(module: ModuleType) -> None:
    page = (DOCS / "reference/python.md").read_text()
    name = module.__name__
    listed = re.findall(rf"^::: {name}\.(\w+)$", page, re.MULTILINE)
    if module is exporter:
        listed += set(models.__all__) & set(exporter.__all__)
    assert sorted(listed) == sorted(module.__all__)


def test_the_example_of_an_own_network_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "how-to/own-network.md").read_text()
    monkeypatch.chdir(tmp_path)
    example = tmp_path / "own_network_example.py"  # TorchScript reads the source of the network's class from its file
    example.write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("own_network_example")
    printed = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert capsys.readouterr().out == "".join([*printed, "True\n"])
