"""Protocol Buffers' text format, as much of it as a configuration needs; no protobuf library takes part.

Source: https://protobuf.dev/reference/protobuf/textformat-spec.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.text import is_visible

INDENT = "  "
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Enum(str):
    """The name of an enumeration's value, which is written without quotes."""

    __slots__ = ()


@dataclass(frozen=True)
class Message:
    """Fields in their order; a name may occur several times."""

    fields: tuple[tuple[str, Value], ...]


Value = bool | int | str | tuple[int, ...] | Message
"""Of a field: a text is written in quotes, several numbers as a list."""


def format_fields(message: Message, indent: str = "") -> str:
    """Return a message's fields, each on lines of its own."""
    lines: list[str] = []
    for name, value in message.fields:
        if isinstance(value, Message):
            lines.append(f"{indent}{name} {{\n{format_fields(value, indent + INDENT)}{indent}}}\n")
        elif isinstance(value, tuple):
            lines.append(f"{indent}{name}: [{', '.join(map(str, value))}]\n")
        else:
            lines.append(f"{indent}{name}: {_format_scalar(value)}\n")
    return "".join(lines)


def _format_scalar(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not isinstance(value, Enum):
        return f'"{"".join(map(_format_char, value))}"'
    return str(value)


def _format_char(char: str) -> str:
    if char in _ESCAPES or is_visible(char):
        return _ESCAPES.get(char, char)
    # a string of protobuf is UTF-8, which has no unpaired surrogates: they become question marks
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "replace"))
