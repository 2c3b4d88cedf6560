"""A reader of Protocol Buffers' text format, for configurations: {field: its values}, without a schema."""

import ast
import re
from typing import Any

TOKEN = re.compile(r'\s*(?:#[^\n]*\n\s*)*("(?:[^"\\]|\\.)*"|[\w.+-]+|[{}\[\]:,])')


def parse(text: str) -> dict[str, list[Any]]:
    """Return every field with all of its values: a message is a dict, a list of numbers a list."""
    tokens = TOKEN.findall(text)
    assert "".join(TOKEN.sub("", text).split()) == "", "something is no token"
    fields, rest = _message(tokens)
    assert not rest
    return fields


def _message(tokens: list[str]) -> tuple[dict[str, list[Any]], list[str]]:
    fields: dict[str, list[Any]] = {}
    while tokens and tokens[0] != "}":
        name, tokens = tokens[0], tokens[1:]
        assert re.fullmatch(r"[a-z]\w*", name)
        if tokens[0] == "{":
            value, tokens = _message(tokens[1:])
            assert tokens[0] == "}"
            tokens = tokens[1:]
        elif tokens[1] == "[":
            assert tokens[0] == ":"
            end = tokens.index("]")
            value, tokens = [_scalar(token) for token in tokens[2:end] if token != ","], tokens[end + 1 :]
        else:
            assert tokens[0] == ":"
            value, tokens = _scalar(tokens[1]), tokens[2:]
        fields.setdefault(name, []).append(value)
    return fields, tokens


def _scalar(token: str) -> Any:
    """Return a text, a number, a boolean, or the name of an enumeration's value."""
    if token.startswith('"'):
        return ast.literal_eval("b" + token.encode("ascii", "backslashreplace").decode()).decode()
    if token in ("true", "false"):
        return token == "true"
    return int(token) if re.fullmatch(r"-?\d+", token) else token
