"""The videos that a user names: files, folders, lists, images, cameras, URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exporter.errors import VideoError

LIST_SUFFIX = ".txt"
"""A file with this suffix lists videos: one name per line, relative to the file; empty lines and `#` comments are
skipped. A name may be anything but another list."""
IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""A folder that holds files with these suffixes and nothing else is one video, whose frames they are."""
MAX_SOURCES = 1_000_000
"""The most videos that one call may name."""
CAMERA = re.compile(r"camera:(\d{1,4})")
PATTERN = re.compile(r"%(0\d{1,2})?d")
"""FFmpeg's number in the name of an image: `%05d` has at least five digits, `%d` has any number of them."""


@dataclass(frozen=True)
class Source:
    """A video that can be opened.

    Attributes:
        url: a path or URL; `camera:0`; of images, the folder or pattern.
        name: for display: as the user wrote it, or its path from the folder that the user named.
        kind: how it is read.
        images: the files of a video whose frames are images, in order.
    """

    url: str
    name: str
    kind: Literal["file", "images", "camera"] = "file"
    images: tuple[str, ...] = ()


def expand_sources(named: Sequence[str | Path]) -> list[Source]:
    """Return the videos that paths or URLs name, in order.

    A folder of images is one video, its frames in natural order (`2.jpg` before `10.jpg`). Any other folder stands for
    the files directly in it, in natural order, without hidden files and images. `frames/%05d.jpg` names images that are
    numbered without a gap, as in FFmpeg; `camera:0` a camera. A file is only looked at when it is opened.

    Raises:
        VideoError: one of them names no videos, or all of them more than `MAX_SOURCES`.
    """
    sources: list[Source] = []
    for name in named:
        for source in _expand(str(name)):
            sources.append(source)
            if len(sources) > MAX_SOURCES:
                raise VideoError(f"{name}: more than {MAX_SOURCES:,} videos; name fewer at once")
    return sources


def _expand(name: str, listed_in: str | None = None) -> Iterator[Source]:
    if CAMERA.fullmatch(name):
        yield Source(name, name, "camera")
        return
    path = Path(name)
    try:
        if path.is_dir():
            yield from _folder(path)
        elif path.suffix == LIST_SUFFIX and listed_in is None and path.is_file():
            yield from _listed(path)
        elif PATTERN.search(path.name) and not path.exists():
            yield _numbered(path)
        else:
            yield Source(name, name)
    except OSError as error:
        raise VideoError(f"{name}: cannot be read: {error.strerror or error}") from error


def _folder(folder: Path) -> Iterator[Source]:
    files = natural_order(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    videos = [file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]
    if not files:
        raise VideoError(f"{folder}: names no videos: the folder holds no files")
    if not videos:
        yield Source(str(folder), str(folder), "images", tuple(map(str, files)))
    for video in videos:
        yield Source(str(video), str(video))


def _listed(path: Path) -> Iterator[Source]:
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise VideoError(f"{path}: not a list of videos: {error}") from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise VideoError(f"{path}: names no videos: the list is empty")
    for name in names:
        elsewhere = CAMERA.fullmatch(name) or "://" in name
        yield from _expand(name if elsewhere else str(path.parent / name), listed_in=str(path))


def _numbered(path: Path) -> Source:
    """Return the images that a pattern names: consecutive numbers from the lowest one.

    Raises:
        VideoError: the pattern has several numbers, or no file matches.
    """
    pieces = PATTERN.split(path.name)
    if len(pieces) != 3:
        raise VideoError(f"{path}: a pattern of images has one number, such as %05d")
    before, width, after = pieces[0], int(pieces[1] or 0), pieces[2]
    expected = re.compile(re.escape(before) + r"(\d+)" + re.escape(after), re.ASCII)
    found: dict[int, Path] = {}
    for file in path.parent.iterdir() if path.parent.is_dir() else ():
        matched = expected.fullmatch(file.name)
        if matched and len(matched[1]) >= width and f"{int(matched[1]):0{width}d}" == matched[1]:
            found[int(matched[1])] = file
    if not found:
        raise VideoError(f"{path}: no file matches the pattern")
    images: list[str] = []
    number = min(found)
    while number in found:
        images.append(str(found[number]))
        number += 1
    return Source(str(path), str(path), "images", tuple(images))


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths sorted by name, with the numbers in names as numbers: `2.jpg` before `10.jpg`."""

    def key(path: Path) -> tuple[list[tuple[int, str]], str]:
        pieces = re.split(r"(\d+)", path.name, flags=re.ASCII)
        return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], path.name

    return sorted(paths, key=key)
