"""The videos that a user names: files, folders, lists, images, cameras, URLs."""

from __future__ import annotations

import contextlib
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from exporter.errors import C3DExportError, OutOfMemoryError, VideoError, join_limited
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
from models.errors import count
from models.progress import Progress, no_progress

LIST_SUFFIX = ".txt"
"""A file with this suffix lists videos: one name per line, relative to the file; empty lines and `#` comments are
skipped. A name may be anything but another list."""
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""A folder that holds files with these suffixes and no video is one video, whose frames they are. A GIF is a video of
its own."""
_VIDEO_NAMES = (
    ".264 .265 .3g2 .3gp .amv .apng .asf .av1 .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2t .m2ts "
    ".m2v .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .swf .ts .vob "
    ".webm .wmv .y4m"
)
VIDEO_SUFFIXES = frozenset(_VIDEO_NAMES.split())
"""Of a folder that holds files with these suffixes, the others are left out. Whether a file that is taken, or named by
itself, is a video is decided by its content."""
MAX_SOURCES, MAX_LIST_BYTES = 1_000_000, 1 << 28
"""The most videos that one call may name, and the size of a list."""
CAMERA = re.compile(r"camera:(\d{1,4})")
PATTERN = re.compile(r"%(0\d{1,2})?d")
"""FFmpeg's number in the name of an image: `%05d` has at least five digits, `%d` has any number of them."""

RefuseName = Callable[[str, C3DExportError], None]
"""Called with a name that stands for no video, or `LIST, line N` of a list, and the reason."""
MAX_NAMED = 4
"""Names of files that a note about those left out gives."""


@dataclass(frozen=True)
class Source:
    """A video that can be opened.

    Attributes:
        url: a path or URL; `camera:0`; of images, the folder or pattern.
        name: for display: its path from where the user's name for it leads; of a URL, without what may be secret.
        kind: how it is read.
        images: the files of a video whose frames are images, in order.
        listed: `LIST, line N` for one that a list names.
    """

    url: str
    name: str
    kind: Literal["file", "images", "camera"] = "file"
    images: tuple[str, ...] = ()
    listed: str = field(default="", compare=False)

    @contextlib.contextmanager
    def located(self) -> Generator[None]:
        """Begin the message of an error of opening it with the line of the list that names it."""
        try:
            yield
        except VideoError as error:
            if not self.listed:
                raise
            raise VideoError(f"{self.listed}: {error}") from error


def expand_sources(
    named: Sequence[Location], refuse: RefuseName | None = None, note: Progress = no_progress
) -> list[Source]:
    """Return the videos that paths or URLs name, in order.

    A folder stands for the videos directly in it, by their suffixes, in natural order (`2.mp4` before `10.mp4`); one of
    images is one video, its frames in natural order. Where no suffix is known, all files are taken. Hidden files never
    are. `frames/%05d.jpg` names images that are
    numbered without a gap, as in FFmpeg; `clips/*.mp4` every file that matches; `camera:0` a camera. A file is only
    looked at when it is opened.

    Args:
        named: the paths and URLs.
        refuse: called for each name, and each line of a list, that stands for no videos, which is then left out; the
            errors below are then raised for too many videos only.
        note: called with a line about each folder of which files are left out; images beside videos are not named.

    Raises:
        VideoError: one of them names no videos, or all of them more than `MAX_SOURCES`.
        BadInputError: a folder or server cannot be accessed.
        UsageError: no such protocol of a URL.
        UnavailableError: the library of a URL's protocol is not installed.
    """
    return list(iterate_sources(named, refuse, note))


def iterate_sources(
    named: Sequence[Location], refuse: RefuseName | None = None, note: Progress = no_progress
) -> Iterator[Source]:
    """Yield what `expand_sources` returns, and call `refuse` where its turn is: names are in the order given."""
    number = 0
    for name in map(str, named):
        for source in _expand(name, refuse, note):
            number += 1
            if number > MAX_SOURCES:
                raise VideoError(f"{source.name}: more than {MAX_SOURCES:,} videos; name fewer at once")
            yield source


def _expand(name: str, refuse: RefuseName | None, note: Progress) -> Iterator[Source]:
    listed = not CAMERA.fullmatch(name) and file_name(name).endswith(LIST_SUFFIX)
    try:
        if listed and not is_folder(name):
            yield from _listed(name, refuse, note)
        else:
            yield from _find(name, note)
    except OutOfMemoryError:
        raise
    except C3DExportError as error:
        if refuse is None:
            raise
        refuse(name, error)


def _find(name: str, note: Progress) -> list[Source]:
    """Return the videos of a name that is not of a list."""
    if CAMERA.fullmatch(name):
        return [Source(name, name, "camera")]
    if is_folder(name):
        return _folder(name, note)
    if not is_url(name) and PATTERN.search(Path(name).name) and not exists(name):
        return [_numbered(Path(name))]
    if is_pattern(name):
        found = natural_order(glob(name))
        if not found:
            raise VideoError(f"{display(name)}: no file matches the pattern")
        return list(map(_file, found))
    return [_file(name)]


def _file(url: str) -> Source:
    return Source(url, display(url))


def _folder(folder: str, note: Progress) -> list[Source]:
    files = natural_order(list_files(folder))
    if not files:
        raise VideoError(f"{display(folder)}: names no videos: the folder holds no files")
    videos, images = _with_suffix(files, VIDEO_SUFFIXES), _with_suffix(files, IMAGE_SUFFIXES)
    taken = videos or images or files
    known = {*taken, *images}
    if others := [file_name(file) for file in files if file not in known]:
        what = "video" if videos else "image"
        note(
            f"{display(folder)}: {count(len(others), 'file')} without the suffix of {what}s left out: "
            f"{join_limited(others, MAX_NAMED)}; name such a file itself to read it"
        )
    if images and not videos:
        return [Source(folder, display(folder), "images", tuple(images))]
    return list(map(_file, taken))


def _with_suffix(files: Sequence[str], suffixes: Set[str]) -> list[str]:
    return [file for file in files if PurePosixPath(file_name(file)).suffix.lower() in suffixes]


def _listed(name: str, refuse: RefuseName | None, note: Progress) -> Iterator[Source]:
    folder = name.rpartition("/")[0] if is_url(name) else str(Path(name).parent)
    for number, line in _read_list(name):
        place = f"{display(name)}, line {number}"
        try:
            if isinstance(line, bytes):
                raise VideoError("neither UTF-8 nor without a NUL character")
            absolute = CAMERA.fullmatch(line) or "://" in line
            target = line if absolute else join(folder, line)
            found = _find(target, note)
            if file_name(target).endswith(LIST_SUFFIX) and found == [_file(target)]:
                raise VideoError(f"{display(target)}: a list names no other list; give both")
        except OutOfMemoryError:
            raise
        except C3DExportError as error:
            located = type(error)(f"{place}: {error}")
            if refuse is None:
                raise located from error
            refuse(place, located)
        else:
            yield from (replace(source, listed=place) for source in found)


def _read_list(name: str) -> list[tuple[int, str | bytes]]:
    """Return the lines of a list that name something, with their numbers from 1; bytes for one that is no text.

    Raises:
        VideoError: it names nothing, is too large, or most of its lines are no text.
    """
    with open_input(name, "list of videos", VideoError) as stream:
        content = stream.read(MAX_LIST_BYTES + 1)
    if len(content) > MAX_LIST_BYTES:
        raise VideoError(f"{display(name)}: not a list of videos: more than {MAX_LIST_BYTES:,} bytes")
    lines = [
        (number, _to_text(line.strip())) for number, line in enumerate(content.removeprefix(BOM_UTF8).splitlines(), 1)
    ]
    named = [(number, line) for number, line in lines if line and line[:1] not in ("#", b"#")]
    if not named:
        raise VideoError(f"{display(name)}: names no videos: the list is empty")
    if len(named) > MAX_SOURCES:  # before each of them is looked for
        raise VideoError(f"{display(name)}: more than {MAX_SOURCES:,} videos; name fewer at once")
    if 2 * sum(isinstance(line, bytes) for _, line in named) > len(named):
        raise VideoError(f"{display(name)}: not a list of videos: most of its lines are no text in UTF-8")
    return named


def _to_text(line: bytes) -> str | bytes:
    try:
        return line if b"\0" in line else line.decode().strip()
    except UnicodeDecodeError:
        return line


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
