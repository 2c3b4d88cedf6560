"""What `--calibrate`, `--clip`, `predict` and `features` take: lists of videos, folders, patterns, odd files."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from helpers.small_video_model import PROFILE, make_small_video_model
from helpers.videos import moving, write_video

from reliability_cases.base import Row, Run
from reliability_cases.forked import HEADROOM, Done, import_commands, run_cases, run_command

SECONDS = 30.0
"""Processor time of a command: an export, or a list of 20,000 names."""
CLIP = "clip.gif"
KNOWN = ("--preprocess", PROFILE)
LOW = (
    "c3d-export",
    "--format",
    "torchscript",
    "--precision",
    "bf16",
    "--no-verify",
    "-o",
    "out",
    "--weights",
    "c3d.onnx",
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "--calibrate": (*LOW, *KNOWN, "--calibration-samples", "4", "--calibrate", "SOURCE"),
    "--clip": ("verify", "parity", "c3d.onnx", "--inputs", "zeros", *KNOWN, "--clip", "SOURCE"),
    "predict": ("c3d-export", "predict", "c3d.onnx", "SOURCE", *KNOWN),
    "features": ("c3d-export", "features", "c3d.onnx", "SOURCE", *KNOWN, "-o", "features"),
}
ODD_NAMES = (
    "a\nError: no",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.4pm",
    "a\rb",
    "%s%n%d",
    "-o",
    "*[",
    "x" * 200,
    "caf\udce9",
)
"""Names of videos without their suffix; the last one is not UTF-8."""


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "video-sources"
    make_small_video_model(folder)
    write_video(folder / CLIP, moving(40), "gif", "rgb8")
    import_commands()
    cases = [(command, kind) for command in COMMANDS for kind in KINDS]
    if not run.long:
        cases = cases[:: len(cases) // 30]
    row = Row(
        "no list, folder or pattern of videos ends a command by a signal, a hang, a traceback or exit 70",
        f"{', '.join(COMMANDS)}; {len(KINDS)} kinds; {HEADROOM >> 20} MiB and {SECONDS:.0f} s",
    )
    base = max(run_command([word.replace("SOURCE", CLIP) for word in COMMANDS[name]], folder).peak for name in COMMANDS)
    shutil.rmtree(folder / "out", ignore_errors=True)
    shutil.rmtree(folder / "features", ignore_errors=True)
    yield run_cases(
        row, len(cases), lambda number: try_case(folder, *cases[number], base), seconds=SECONDS, own_memory=False
    )


def try_case(folder: Path, command: str, kind: str, base: int = 1 << 40) -> tuple[str, str]:
    """Run a command on a source of a kind."""
    place = folder.with_name(f"{folder.name}-{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    source = KINDS[kind](place)
    done = run_command([word.replace("SOURCE", source) for word in COMMANDS[command]], place)
    faults = _faults(done, command)
    if done.peak > base + HEADROOM:
        faults.append(f"{done.peak - base >> 20} MiB")
    for path in place.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)  # so that the next case can remove it
    return f"exit {done.code}", f"{command}, {kind}: {'; '.join(faults)}: {done.stderr[-200:]!r}" if faults else ""


def _faults(done: Done, command: str) -> list[str]:
    listed = command in ("predict", "features") and done.code == 3  # each video's row says what is wrong with it
    return [fault for fault in done.faults if not (listed and fault == "0 lines of error")]


def _list(content: str | bytes) -> Callable[[Path], str]:
    def make(place: Path) -> str:
        (place / "list.txt").write_bytes(content.encode() if isinstance(content, str) else content)
        return "list.txt"

    return make


def _folder(*makers: Callable[[Path], object]) -> Callable[[Path], str]:
    """Return what makes a folder with a whole video and what the functions put beside it."""

    def make(place: Path) -> str:
        videos = place / "videos"
        videos.mkdir()
        shutil.copyfile(place / CLIP, videos / "a.gif")
        for maker in makers:
            maker(videos)
        return "videos"

    return make


def _link(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(target)


def _file(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def _images(place: Path) -> str:
    (place / "images").mkdir()
    (place / "images" / "1.jpg").write_bytes(b"x")
    (place / "images" / "2.jpg").symlink_to("/dev/zero")
    return "images"


def _socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket has at most 107 bytes
    try:
        socket.socket(socket.AF_UNIX).bind("s.mp4")
    finally:
        os.chdir(here)


def _deep(folder: Path) -> None:
    path = folder
    for _ in range(400):
        path = path / "d"
        path.mkdir()


def _many(folder: Path) -> None:
    for number in range(5_000):
        (folder / f"{number}.mp4").touch()


def _odd_names(folder: Path) -> None:
    for name in ODD_NAMES:
        shutil.copyfile(folder / "a.gif", os.fsencode(folder) + b"/" + os.fsencode(f"{name}.gif"))


def _sparse(name: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (folder / name).touch()
        os.truncate(folder / name, 1 << 30)

    return make


def _arrays(**arrays: object) -> Callable[[Path], str]:
    def make(place: Path) -> str:
        np.savez(place / "clips.npz", allow_pickle=True, **{name: np.asarray(value) for name, value in arrays.items()})
        return "clips.npz"

    return make


def _name(name: str) -> Callable[[Path], str]:
    return lambda _: name


CLIPS = (2, 3, 16, 112, 112)
PLAYLIST = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"
KINDS: dict[str, Callable[[Path], str]] = {
    "a list that names itself": _list("list.txt\n"),
    "a list that names its folder": _list(".\n"),
    "a list of lists": lambda place: (_list("list.txt\n" * 3)(place), _file("b.txt", b"list.txt\n")(place), "b.txt")[2],
    "20,000 names of nothing": _list("nothing.mp4\n" * 20_000),
    "a million names and one": _list("x\n" * 1_000_001),
    "a list of 300 MB": lambda place: (_sparse("list.txt")(place), "list.txt")[1],
    "a line of 5 MB": _list("x" * 5_000_000),
    "a line of 5 MB of digits": _list("9" * 5_000_000 + ".mp4"),
    "an empty list": _list("# none\n\n \n"),
    "a list in UTF-16": _list(f"{CLIP}\n".encode("utf-16")),
    "a list of bytes": _list(np.random.default_rng(0).bytes(10_000)),
    "NUL in a line": _list(f"{CLIP}\0.mp4\nb\0*.mp4\nc\0%05d.jpg\n"),
    "control characters in lines": _list("".join(f"{name.splitlines()[0]}.gif\n" for name in ODD_NAMES[:-1])),
    "other separators of lines": _list(f"{CLIP}\u2028{CLIP}\x0b{CLIP}\x85{CLIP}"),
    "devices in a list": _list("/dev/zero\n/dev/full\n/dev/stdin\n/dev/tty\n/proc/self/mem\n/proc/kmsg\n"),
    "a camera in a list": _list("camera:99\ncamera:9999\n/dev/video99\n"),
    "protocols in a list": _list("file:///etc/passwd\nconcat:a|b\nsubfile:,,:a\ndata:,x\npipe:0\ntcp://127.0.0.1:1\n"),
    "addresses in a list": _list("http://127.0.0.1:1/a.mp4\nhttps://[::1]:1/b.mp4\nhttp://\nhttp://a b/\n"),
    "the folder above, many times": _list("../" * 2_000 + "etc/passwd\n"),
    "patterns in a list": _list("%05d.jpg\n%d%d.jpg\n%099d.png\n*[\n[!\n**/**/**/**/*\n" + "*a" * 60 + "b\n"),
    "a pattern of stars": _name("*" * 3_000 + ".gif"),
    "a pattern of folders": _name("/*/*/*/*/*.no-such-suffix"),
    "an endless pattern": _name("videos/**/**/**/**/x"),
    "a list that is a pipe": lambda place: (os.mkfifo(place / "list.txt"), "list.txt")[1],
    "a list that is a device": lambda place: (_link("list.txt", "/dev/zero")(place), "list.txt")[1],
    "a list that is a link to itself": lambda place: (_link("list.txt", "list.txt")(place), "list.txt")[1],
    "a list that is a folder": lambda place: ((place / "list.txt").mkdir(), "list.txt")[1],
    "a folder with a link to itself": _folder(_link("loop", "."), _link("loop.mp4", "..")),
    "a folder with endless links": _folder(_link("b.mp4", "b.mp4"), _link("c.mp4", "d.gif"), _link("d.gif", "c.mp4")),
    "a folder with a dangling link": _folder(_link("b.mp4", "nothing")),
    "a folder with a pipe": _folder(lambda folder: os.mkfifo(folder / "b.mp4")),
    "a folder with a socket": _folder(_socket),
    "a folder with devices": _folder(_link("b.mp4", "/dev/zero"), _link("c.mp4", "/dev/tty")),
    "a folder with the process's memory": _folder(_link("b.mp4", "/proc/self/mem"), _link("c.mp4", "/proc/kmsg")),
    "a folder 400 deep": _folder(_deep),
    "a folder of 5,000 files": _folder(_many),
    "a folder with odd names": _folder(_odd_names),
    "a folder with a sparse file": _folder(_sparse("b.mp4"), _sparse("c.gif")),
    "a folder that may not be looked into": _folder(lambda folder: folder.chmod(0)),
    "a folder of playlists": _folder(_file("b.mp4", PLAYLIST), _file("c.m3u8", PLAYLIST), _file("d.mp4", CONCAT)),
    "a folder of images that are none": _images,
    "an empty folder": lambda place: ((place / "none").mkdir(), "none")[1],
    "the folder of processes": _name("/proc"),
    "the folder of devices": _name("/dev"),
    "arrays of objects": _arrays(clip=np.array([{"a": 1}], object)),
    "arrays of another shape": _arrays(clip=np.zeros((2, 3, 4), np.float32)),
    "arrays of another name": _arrays(**{"../x": np.zeros(CLIPS, np.float32)}),
    "arrays of NaN": _arrays(clip=np.full(CLIPS, np.nan, np.float32)),
    "arrays of infinities": _arrays(clip=np.full(CLIPS, np.inf, np.float64)),
    "arrays of no rows": _arrays(clip=np.zeros((0, *CLIPS[1:]), np.float32)),
    "equal arrays": _arrays(clip=np.zeros(CLIPS, np.float32)),
    "arrays that claim": lambda place: (_file("clips.npz", b"PK\3\4" + bytes(60))(place), "clips.npz")[1],
}  # fmt: skip
"""{kind: what makes it in a folder, and returns its name}."""
