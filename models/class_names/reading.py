"""Reads a user's file of class names.

The formats are those in which data sets and training scripts publish them:

* text, one name a line, in the order of the network's outputs;
* text with a number before each name (`1 ApplyEyeMakeup`, UCF-101's classInd.txt), counted from 0 or 1, in any order;
* JSON: a list of names, {"0": name} or {name: 0}, counted from 0 or 1; or the manifest of an artifact that has names.

Text is UTF-8, with or without a byte order mark; lines end as on any system. What is not plainly a list of names is
refused: a name at the wrong position is an error that no later check can see.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from models.config import MAX_MANIFEST_BYTES
from models.errors import BadInputError, naming
from models.paths import read_small_file

MAX_BYTES = 768 << 10
"""Of all names as JSON, a line each, so that a manifest has room for them; `exporter.artifacts.files` has the limit
of a manifest."""

MANIFEST_NAMES = "class_names"
"""The field of a manifest that has the names."""

LINE_OVERHEAD = 6
"""Bytes that a line of JSON takes beside the name in its quotes: four spaces, a comma, a newline."""

NUMBERED = re.compile(r"(\d{1,9})[\s,;:.]+(\S.*)")
"""`1 ApplyEyeMakeup`, `0: ApplyEyeMakeup`, `0,ApplyEyeMakeup`."""

INDEX = re.compile("[0-9]{1,9}")
"""A key of {"0": name}."""

UTF16_OR_UTF32 = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")


def read_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a file.

    Raises:
        BadInputError: no such file, unreadable, not text in UTF-8, or not a list of different names; the message says
            which line.
    """
    limit = MAX_MANIFEST_BYTES if path.suffix == ".json" else MAX_BYTES
    content = read_small_file(path, "file of class names", limit, BadInputError)
    with naming(path):
        text = _decode(content)
        found = _parse_json(text) if text.lstrip().startswith(("[", "{")) else _parse_lines(text)
        return check_names(found)


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names if they can be class names: different ones, on one line each, that fit into a manifest.

    Raises:
        BadInputError: they cannot; the message counts the names from 1.
    """
    if not names:
        raise BadInputError("holds no class names")
    seen: dict[str, int] = {}
    total = 0
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance] - JSON's
            raise BadInputError(f"class {number} has no name")
        if fault := next((letter for letter in name if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")), None):
            raise BadInputError(f"class {number} has a name with the control character U+{ord(fault):04X}")
        if name in seen:
            raise BadInputError(f"classes {seen[name]} and {number} have the same name, {name!r}")
        seen[name] = number
        total += len(json.dumps(name, ensure_ascii=False).encode()) + LINE_OVERHEAD
    if total > MAX_BYTES:
        raise BadInputError(f"{len(names):,} names of {total:,} bytes do not fit into a manifest ({MAX_BYTES:,})")
    return tuple(names)


def _decode(content: bytes) -> str:
    if content.startswith(UTF16_OR_UTF32):
        raise BadInputError("is in UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"byte {error.start} is not UTF-8; save it as UTF-8") from error
    if "\0" in text:
        raise BadInputError("holds zero bytes: not text in UTF-8")
    return text


def _parse_lines(text: str) -> list[str]:
    """Return the names of a text file; empty lines are allowed at its end only, where they move no name."""
    lines = [line.strip(" \t") for line in text.replace("\r\n", "\n").replace("\r", "\n").rstrip().split("\n")]
    if lines == [""]:
        return []
    if "" in lines:
        raise BadInputError(f"line {lines.index('') + 1} is empty, so the names after it would be one class off")
    numbered = [NUMBERED.fullmatch(line) for line in lines]
    matches = [match for match in numbered if match]
    if len(matches) < len(lines):
        return lines
    return _in_order([(int(match[1]), match[2]) for match in matches])


def _parse_json(text: str) -> list[str]:
    try:
        content: Any = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"begins as JSON and is not: {error}") from error
    if isinstance(content, list):
        return cast("list[str]", content)
    pairs = cast("Mapping[str, Any]", content)
    if isinstance(pairs.get(MANIFEST_NAMES), list):
        return cast("list[str]", pairs[MANIFEST_NAMES])
    if all(_is_index(value) for value in pairs.values()):
        return _in_order([(value, name) for name, value in pairs.items()])
    if all(INDEX.fullmatch(key) for key in pairs):
        return _in_order([(int(key), value) for key, value in pairs.items()])
    raise BadInputError('is JSON, but neither a list of names nor {"0": name} nor {name: 0}')


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; Python would keep the last of two equal keys, and lose a class."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadInputError(f"has {twice!r} twice")
    return found


def _in_order(numbered: list[tuple[int, str]]) -> list[str]:
    """Return the names in the order of their numbers, which count from 0 or from 1 without a gap."""
    numbers = sorted(number for number, _ in numbered)
    if not numbers:
        return []
    first = min(numbers[0], 1)
    for expected, number in enumerate(numbers, first):
        if number < expected:
            raise BadInputError(f"has the number {number} twice")
        if number > expected:
            raise BadInputError(f"numbers its names from {first} to {numbers[-1]}, but {expected} is missing")
    return [name for _, name in sorted(numbered, key=lambda pair: pair[0])]
