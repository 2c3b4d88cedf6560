"""The videos that a user names: files, folders, lists, images, cameras, URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from exporter.errors import VideoError
from exporter.storage import (
    Location,
    display,
    exists,
    file_name,
    glob,
    is_folder,
    is_pattern,
    is_url,
    join,
    list_files,
    open_input,
)

LIST_SUFFIX = ".txt"
"""A file with this suffix lists videos: one name per line, relative to the file; empty lines and `#` comments are
skipped. A name may be anything but another list."""
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""A folder that holds files with these suffixes and nothing else is one video, whose frames they are. A GIF is a video
of its own."""
MAX_SOURCES, MAX_LIST_BYTES = 1_000_000, 1 << 28
"""The most videos that one call may name, and the size of a list."""
CAMERA = re.compile(r"camera:(\d{1,4})")
PATTERN = re.compile(r"%(0\d{1,2})?d")
"""FFmpeg's number in the name of an image: `%05d` has at least five digits, `%d` has any number of them."""


@dataclass(frozen=True)
class Source:
    """A video that can be opened.

    Attributes:
        url: a path or URL; `camera:0`; of images, the folder or pattern.
        name: for display: its path from where the user's name for it leads; of a URL, without what may be secret.
        kind: how it is read.
        images: the files of a video whose frames are images, in order.
    """

    url: str
    name: str
    kind: Literal["file", "images", "camera"] = "file"
    images: tuple[str, ...] = ()


def expand_sources(named: Sequence[Location]) -> list[Source]:
    """Return the videos that paths or URLs name, in order.

    A folder of images is one video, its frames in natural order (`2.jpg` before `10.jpg`). Any other folder stands for
    the files directly in it, in natural order, without hidden files and images. `frames/%05d.jpg` names images that are
    numbered without a gap, as in FFmpeg; `clips/*.mp4` every file that matches; `camera:0` a camera. A file is only
    looked at when it is opened.

    Raises:
        VideoError: one of them names no videos, or all of them more than `MAX_SOURCES`.
        UnavailableError: the library of a URL's protocol is not installed.
    """
    sources: list[Source] = []
    for name in named:
        for source in _expand(str(name)):
            sources.append(source)
            if len(sources) > MAX_SOURCES:
                raise VideoError(f"{source.name}: more than {MAX_SOURCES:,} videos; name fewer at once")
    return sources


def _expand(name: str, listed: bool = False) -> Iterator[Source]:
    if CAMERA.fullmatch(name):
        yield Source(name, name, "camera")
    elif is_folder(name):
        yield from _folder(name)
    elif file_name(name).endswith(LIST_SUFFIX) and not listed:
        yield from _listed(name)
    elif not is_url(name) and PATTERN.search(Path(name).name) and not exists(name):
        yield _numbered(Path(name))
    elif is_pattern(name):
        found = natural_order(glob(name))
        if not found:
            raise VideoError(f"{display(name)}: no file matches the pattern")
        yield from map(_file, found)
    else:
        yield _file(name)


def _file(url: str) -> Source:
    return Source(url, display(url))


def _folder(folder: str) -> Iterator[Source]:
    files = natural_order(list_files(folder))
    videos = [file for file in files if PurePosixPath(file_name(file)).suffix.lower() not in IMAGE_SUFFIXES]
    if not files:
        raise VideoError(f"{display(folder)}: names no videos: the folder holds no files")
    if not videos:
        yield Source(folder, display(folder), "images", tuple(files))
    yield from map(_file, videos)


def _listed(name: str) -> Iterator[Source]:
    with open_input(name, "list of videos", VideoError) as stream:
        content = stream.read(MAX_LIST_BYTES + 1)
    if len(content) > MAX_LIST_BYTES:
        raise VideoError(f"{display(name)}: not a list of videos: more than {MAX_LIST_BYTES:,} bytes")
    try:
        lines = [line.strip() for line in content.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise VideoError(f"{display(name)}: not a list of videos: {error}") from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise VideoError(f"{display(name)}: names no videos: the list is empty")
    if len(names) > MAX_SOURCES:  # before each of them is looked for
        raise VideoError(f"{display(name)}: more than {MAX_SOURCES:,} videos; name fewer at once")
    folder = name.rpartition("/")[0] if is_url(name) else str(Path(name).parent)
    for line in names:
        absolute = CAMERA.fullmatch(line) or "://" in line
        yield from _expand(line if absolute else join(folder, line), listed=True)


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
    for file in map(Path, list_files(str(path.parent)) if is_folder(str(path.parent)) else ()):
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


def natural_order(locations: Iterable[str]) -> list[str]:
    """Return locations sorted by file name, with the numbers in names as numbers: `2.jpg` before `10.jpg`."""

    def key(location: str) -> tuple[list[tuple[int, str]], str]:
        pieces = re.split(r"(\d+)", file_name(location), flags=re.ASCII)
        return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], location

    return sorted(locations, key=key)
