"""Reports with payloads in the names of classes, videos and artifacts: a page has the elements that it has without."""

from __future__ import annotations

import csv
import html.parser
import io
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from helpers.small_video_model import PROFILE, make_small_video_model
from helpers.videos import moving, write_video

from reliability_cases.base import Row, Run
from reliability_cases.forked import COMMAND_SECONDS, Done, import_commands, run_cases, run_command

PAYLOADS = (
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' onfocus='alert(1)' autofocus x='",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "]]><x/>",
    "<!--",
    "&lt;script&gt;&#60;b&#62;",
    "x{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}$",
    "${jndi:ldap://127.0.0.1/x}",
    "javascript:alert(1)",
    '=HYPERLINK("http://127.0.0.1";"x")',
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    'a,b;c"d',
)
"""Names of classes, and, without what a file name may not hold, of videos and artifacts."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
PAGE = ("--html", "page.html")
PREDICT = ("c3d-export", "predict", "MODEL", "VIDEO", "--preprocess", PROFILE, "--labels", "labels.txt", "--per-clip")
COMMANDS: dict[str, tuple[str, ...]] = {
    "predict --html --csv": (*PREDICT, *PAGE, "--csv", "table.csv"),
    "verify parity --html --junit": ("verify", "parity", "MODEL", "--inputs", "zeros", *PAGE, "--junit", "junit.xml"),
}


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "pages"
    make_small_video_model(folder)
    write_video(folder / "clip.gif", moving(18), "gif", "rgb8")
    import_commands()
    cases = [(command, payload) for command in COMMANDS for payload in PAYLOADS]
    if not run.long:
        cases = cases[:: len(cases) // 12]
    row = Row(
        "no name in a page adds an element or an attribute, breaks XML, or is a formula in a table",
        f"{len(PAYLOADS)} payloads as names of classes, videos, artifacts: {', '.join(COMMANDS)}",
    )
    yield run_cases(row, len(cases), lambda number: try_case(folder, *cases[number]), seconds=COMMAND_SECONDS)


def try_case(folder: Path, command: str, payload: str) -> tuple[str, str]:
    """Compare a page with the one of the same command with plain names."""
    done, found = _make(folder, command, payload)
    faults = [*done.faults, *_table_faults(folder), *_junit_faults(folder)]
    _, plain = _make(folder, command, "plain")
    if found is None or plain is None:
        faults.append("no page")
    elif found != plain:
        faults.append(f"other elements: {[*{*found} ^ {*plain}][:3]}")
    return f"exit {done.code}", f"{command}, {payload!r}: {'; '.join(faults)}: {done.stderr[-200:]!r}" if faults else ""


def _place(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-{os.getpid()}")


def _make(folder: Path, command: str, name: str) -> tuple[Done, list[str] | None]:
    place = _place(folder)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    label = name.replace("\t", " ")
    file = "".join("_" if letter in "/\0\t" else letter for letter in name)
    shutil.copyfile(folder / "c3d.onnx", place / f"{file}.onnx")
    shutil.copyfile(folder / "clip.gif", place / f"{file}.gif")
    (place / "labels.txt").write_text("".join(f"{label}{number}\n" for number in range(5)))
    words = {"MODEL": f"./{file}.onnx", "VIDEO": f"./{file}.gif"}
    done = run_command([words.get(word, word) for word in COMMANDS[command]], place)
    page = place / "page.html"
    return done, _elements(page.read_text()) if page.exists() else None


class _Elements(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(f"{tag} {' '.join(sorted(name for name, _ in attrs))}")


def _elements(page: str) -> list[str]:
    """Return the elements of a page with the names of their attributes; of charts, whose shapes vary, the kinds."""
    parser = _Elements()
    parser.feed(page)
    return sorted({*parser.found})


def _table_faults(folder: Path) -> list[str]:
    path = _place(folder) / "table.csv"
    if not path.exists():
        return []
    rows = list(csv.reader(io.StringIO(path.read_text())))
    formulas = [cell for row in rows[1:] for cell in (row[:1] + row[-2:-1]) if cell.startswith(FORMULA)]
    return [f"a formula: {cell!r}" for cell in formulas[:1]]


def _junit_faults(folder: Path) -> list[str]:
    path = _place(folder) / "junit.xml"
    if not path.exists():
        return []
    try:
        ET.parse(path)
    except ET.ParseError as error:
        return [f"JUnit: {error}"]
    return []
