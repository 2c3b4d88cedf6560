"""What the site's build takes from the code and from benchmarks/results, so that it is written down once.

mkdocs calls the functions of this module by their names (`hooks` in mkdocs.yml).
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from exporter.cli.main import cli
from exporter.fault_injection.faults import FAULTS
from exporter.passes.pipelines import cpu_passes, cuda_passes
from exporter.types import OptimizeOptions
from models.checkpoints.readers import READERS

RESULTS = Path("benchmarks/results")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of benchmarks/results."""
    for page in sorted(RESULTS.glob("*.md")):
        files.append(File.generated(config, f"results/{page.name}", abs_src_path=str(page.resolve())))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables that a page asks for, and point links to benchmarks/results to their pages of the site.

    A page asks by a line `<!-- table: NAME -->`; it stays invisible where the file is read as it is.
    """
    # the tests are not part of the site
    markdown = re.sub(r'\[([^]]+)\]\(\.\./\.\./(tests/[^ )]+) "(\w+)"\)', r'<abbr title="\2::\3">\1</abbr>', markdown)
    markdown = re.sub(r"^<!-- table: (\w+) -->$", lambda found: TABLES[found[1]](), markdown, flags=re.MULTILINE)
    return markdown.replace("../benchmarks/results/", "results/").replace("](../../docs/", "](../")


def on_pre_build(**_: Any) -> None:
    """Make the examples of every command's help a code block: mkdocs-click would print them as a paragraph."""
    for command in walk(cli):
        command.help = fence_examples(command.help or "")


def walk(command: click.Command) -> Iterable[click.Command]:
    """Yield a command and all commands below it."""
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from walk(child)


def fence_examples(text: str) -> str:
    r"""Return a help text whose blocks after `\b` are fenced; the first line of each is its title."""
    blocks: list[str] = []
    for block in text.split("\n\n"):
        first, _, rest = block.strip().partition("\n")
        if first != "\b":
            blocks.append(block)
            continue
        title, _, lines = rest.partition("\n")
        blocks.append(f"{title.strip()}\n\n```text\n{lines}\n```" if title.endswith(":") else rest)
    return "\n\n".join(blocks)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(header)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def faults() -> str:
    """Return the table of fault types."""
    return table(("fault", "cause that it imitates"), ((fault.name, fault.cause) for fault in FAULTS))


def passes() -> str:
    """Return the table of graph passes: in the order of the `cpu` pipeline, then those of `cuda`."""
    steps = (*cpu_passes(OptimizeOptions("cpu")), *cuda_passes())
    rows = ((f"`{step.name}`", step.condition, step.reason) for step in steps)
    return table(("pass", "applies to", "why"), rows)


def readers() -> str:
    """Return the table of checkpoint files."""
    rows = ((kind.name, " ".join(f"`{suffix}`" for suffix in kind.suffixes)) for kind in READERS)
    return table(("file format", "usual suffixes"), rows)


TABLES: dict[str, Callable[[], str]] = {"faults": faults, "passes": passes, "readers": readers}
