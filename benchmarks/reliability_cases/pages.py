"""Reports with payloads in the names of classes, videos and artifacts: a page has the elements that it has without."""

from __future__ import annotations

import csv
import html.parser
import io
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

from helpers.bench_reports import REPORT
from helpers.small_video_model import PROFILE, make_small_video_model
from helpers.videos import moving, write_video

from exporter.reports.bench_page import bench_page
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
INVISIBLE = ("\u202egnp.4pm", "\u2066x\u2069", "\x1b[31mred", "a\x00b", "a\u200bb", "\ufeffx", "\x85x", "a\rb")
"""Texts that move, hide or reorder what is beside them."""
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
    texts = (*PAYLOADS, *INVISIBLE)
    row = Row(
        "no text in the page of bench adds an element or an attribute, or holds a character that moves others",
        f"{len(texts)} payloads in place of every text of a report: bench --html",
    )
    yield run_cases(row, len(texts), lambda number: try_bench(texts[number]))


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


def try_bench(payload: str) -> tuple[str, str]:
    """Compare the page of a benchmark whose texts are a payload with the page of plain texts."""
    page, plain = (bench_page(replace_texts(REPORT, text)) for text in (payload, "plain"))
    faults: list[str] = []
    if _elements(page) != _elements(plain):
        faults.append(f"other elements: {[*{*_elements(page)} ^ {*_elements(plain)}][:3]}")
    faults += [
        f"{ord(letter):#x} is in the page"
        for text in INVISIBLE
        for letter in text
        if letter in page and not letter.isprintable()
    ]
    return "a page", f"bench --html, {payload!r}: {'; '.join(faults)}" if faults else ""


FIXED = ("unit", "device")
"""Fields of a report whose texts are not anybody's."""


def replace_texts(value: Any, payload: str, known: dict[str, str] | None = None) -> Any:
    """Return a dataclass, tuple or dict with a payload and a number for each text in it; equal texts stay equal."""
    names: dict[str, str] = {} if known is None else known
    if isinstance(value, str):
        return names.setdefault(value, f"{payload}{len(names)}")
    if isinstance(value, tuple):
        return tuple(replace_texts(one, payload, names) for one in cast("tuple[Any, ...]", value))
    if isinstance(value, dict):
        return {key: replace_texts(one, payload, names) for key, one in cast("dict[str, Any]", value).items()}
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            one.name: replace_texts(getattr(value, one.name), payload, names)
            for one in fields(value)
            if one.name not in FIXED
        }
        return replace(value, **changed)
    return value


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
