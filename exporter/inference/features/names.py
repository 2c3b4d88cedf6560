"""The names of videos among the files of a feature folder."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from exporter.video.sources import PATTERN
from models.text import find_name_fault, is_visible

MAX_BYTES = 120
"""Bytes of a name in UTF-8; file systems allow 255, and endings are added."""
HASH_DIGITS = 12
_NOT_PLAIN = re.compile(r'^[.-]|[/\\:*?"<>|]|[. ]$|\.csv$')
"""What a file system or a shell takes amiss, and the ending of the table beside a video's folder."""


def choose_names(videos: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """Return {video: its name}, where no two names are equal, not even in lower case.

    A name is the video's file name without its ending: `bikes` for `clips/bikes.mp4`. Where that is not unique, it is
    the file name with the ending. Where that is not unique either, or has characters that a file name should not have,
    a hash of the path is added. The names do not depend on the order of the videos.

    Args:
        videos: paths or URLs.
        known: {video: name} of those that an earlier run named, which keep their names.
    """
    left = list(dict.fromkeys(video for video in videos if video not in known))
    names = {video: known[video] for video in videos if video in known}
    taken = {name.casefold() for name in known.values()}
    for choose in (_stem, _file_name):
        proposed = {video: choose(video) for video in left}
        counts = Counter(name.casefold() for name in proposed.values())
        for video, name in proposed.items():
            if counts[name.casefold()] == 1 and name.casefold() not in taken and _is_plain(name):
                names[video] = name
        taken |= {name.casefold() for name in names.values()}
        left = [video for video in left if video not in names]
    return names | {video: _hashed(video) for video in left}


def plain_name(text: str) -> str:
    """Return a text as part of a file name: itself if it can be, otherwise with a hash of it."""
    return text if _is_plain(text) else _with_hash(text, text)


def _file_name(video: str) -> str:
    """Return the last part of a path or URL that is a name: a numbered pattern is called after its folder."""
    path = PurePosixPath(re.sub(r"[?#].*$", "", video) if "://" in video else video)
    return path.parent.name if PATTERN.search(path.name) else path.name


def _stem(video: str) -> str:
    return PurePosixPath(_file_name(video)).stem


def _is_plain(name: str) -> bool:
    composed = unicodedata.normalize("NFC", name)  # macOS hands out decomposed names
    return not _NOT_PLAIN.search(name) and find_name_fault(composed, MAX_BYTES) is None


def _hashed(video: str) -> str:
    return _with_hash(_file_name(video), video)


def _with_hash(name: str, hashed: str) -> str:
    """Return a name that can be part of a file name, with a hash of what it stands for."""
    digits = hashlib.sha256(hashed.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]
    shown = "".join(letter if is_visible(letter) else "_" for letter in name)
    plain = _NOT_PLAIN.sub("_", shown).encode()[: MAX_BYTES - HASH_DIGITS - 1].decode(errors="ignore")
    return f"{plain or 'unnamed'}-{digits}"
