"""Persistent ids of pickle protocol 0: the text of torch's tuple, `('storage', <class 'torch.FloatStorage'>, '0', …)`.

Python's pickler writes `str(id)` where the protocol has text only (`pickle._Pickler.save_pers`). torch itself does not
read such a file back; the text states all that the tuple does.
"""

from __future__ import annotations

import re

from models.checkpoints.pickles.values import Global

_CLASS = r"<class '(?P<class>[\w.]{1,200})'>"
_STORAGE = re.compile(
    rf"\('storage', {_CLASS}, '(?P<key>[^'\\]{{1,50}})', '(?P<location>[^'\\]{{1,50}})', (?P<count>\d{{1,18}})"
    r"(?P<view>, (?:None|\('(?P<view_key>[^'\\]{1,50})', (?P<offset>\d{1,18}), (?P<size>\d{1,18})\)))?\)"
)
_MODULE = re.compile(rf"\('module', {_CLASS}, ")


def parse_identifier(identifier: object) -> object:
    """Return a persistent id as the list that other protocols have; what is no text of torch's is returned as it is."""
    if not isinstance(identifier, str):
        return identifier
    if found := _STORAGE.fullmatch(identifier):
        items: list[object] = [
            "storage",
            _parse_global(found["class"]),
            found["key"],
            found["location"],
            int(found["count"]),
        ]
        if found["view"]:
            view = found["view_key"], found["offset"], found["size"]
            items.append(None if view[0] is None else [view[0], int(view[1]), int(view[2])])
        return items
    if found := _MODULE.match(identifier):
        return ["module", _parse_global(found["class"]), None, None]
    return identifier


def _parse_global(path: str) -> Global:
    module, _, name = path.rpartition(".")
    return Global(module, name)
