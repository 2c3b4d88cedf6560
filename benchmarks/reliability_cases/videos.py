"""Damaged and hostile videos: changed bytes of every container, sizes that headers claim, playlists."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.small_video_model import PROFILE, make_small_video_model
from helpers.videos import moving, write_video

from exporter.errors import C3DExportError
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling, Seconds
from reliability_cases.base import Row, Run
from reliability_cases.forked import COMMAND_SECONDS, import_commands, run_cases, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEEDS: dict[str, tuple[str, str]] = {
    "h264.mp4": ("libx264", "yuv420p"),
    "mpeg4.mp4": ("mpeg4", "yuv420p"),
    "mjpeg.avi": ("mjpeg", "yuvj420p"),
    "ffv1.avi": ("ffv1", "bgr0"),
    "mpeg4.avi": ("mpeg4", "yuv420p"),
    "ffv1.mkv": ("ffv1", "yuv444p"),
    "vp8.webm": ("libvpx", "yuv420p"),
    "vp9.webm": ("libvpx-vp9", "yuv420p"),
    "mpeg2.ts": ("mpeg2video", "yuv420p"),
    "h264.ts": ("libx264", "yuv420p"),
    "flv1.flv": ("flv", "yuv420p"),
    "gif.gif": ("gif", "rgb8"),
    "qtrle.mov": ("qtrle", "rgb24"),
    "raw.nut": ("rawvideo", "rgb24"),
}
"""{file: (codec, pixel format)}."""
SAMPLINGS = (
    Sampling(16),
    Sampling(16, step=Seconds(Fraction(1, 10)), window=Seconds(Fraction(1, 2))),
    Sampling(4, clips=3),
)
SHORT, LONG = 1_000, 6_000
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SECRET = b"content-of-another-file"


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "videos"
    folder.mkdir()
    seeds = write_seeds(folder)
    yield _fuzz(run, seeds)
    model = make_small_video_model(folder / "model").onnx
    import_commands()
    yield _references(folder, model)


def write_seeds(folder: Path) -> list[Path]:
    """Write a video of 18 frames in every container that this FFmpeg encodes."""
    from av.error import FFmpegError

    found: list[Path] = []
    for name, (codec, pixels) in SEEDS.items():
        path = folder / name
        try:
            write_video(path, moving(18), codec, pixels)
        except (FFmpegError, ValueError):  # an FFmpeg without this encoder
            path.unlink(missing_ok=True)
        else:
            found.append(path)
    return found


def _fuzz(run: Run, seeds: list[Path]) -> Row:
    row = Row(
        "a damaged video is decoded or refused: no signal, hang, other exception, or memory beyond a bound",
        f"{', '.join(path.name for path in seeds)}: bits, bytes, sizes in headers, pieces moved, the end cut off",
    )
    contents = [(path.suffix, path.read_bytes()) for path in seeds]

    def work(number: int) -> tuple[str, str]:
        suffix, content = contents[number % len(contents)]
        path = seeds[0].with_name(f"changed-{os.getpid()}{suffix}")
        path.write_bytes(mutate(content, random.Random(number)))
        return read(path, SAMPLINGS[number // len(contents) % len(SAMPLINGS)])

    return run_cases(row, run.choose(SHORT, LONG), work)


def read(path: Path, sampling: Sampling) -> tuple[str, str]:
    """Decode a video to its end; return the outcome."""
    try:
        with open_video(path, _corner) as video:
            clips = sum(1 for _ in video.clips(sampling))
    except C3DExportError:
        return "refused", ""
    return ("decoded" if clips else "shorter than a clip"), ""


def _corner(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[:4, :4].copy()


def mutate(content: bytes, generator: random.Random) -> bytes:
    """Change a file in one to eight places; half of them lie in its first 512 bytes."""
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4, 8))):
        if len(changed) < 16:
            break
        at = generator.randrange(min(512, len(changed)) if generator.random() < 0.5 else len(changed))
        size = generator.randrange(1, 64)
        number, order = generator.choice(EXTREMES), generator.choice("<>")
        changes: tuple[Callable[[], Any], ...] = (
            lambda at=at: changed.__setitem__(at, changed[at] ^ 1 << generator.randrange(8)),
            lambda at=at, size=size: changed.__setitem__(slice(at, at + size), generator.randbytes(size)),
            lambda at=at, n=number, o=order: changed.__setitem__(slice(at, at + 4), struct.pack(f"{o}I", n)),
            lambda at=at, n=number, o=order: changed.__setitem__(slice(at, at + 2), struct.pack(f"{o}H", n & 0xFFFF)),
            lambda at=at, size=size: changed.__setitem__(slice(at, at), changed[at : at + size] * 4),
            lambda at=at, size=size: changed.__delitem__(slice(at, at + size)),
            lambda at=at: changed.__delitem__(slice(max(at, 16), None)),
        )
        generator.choices(changes, (6, 2, 4, 3, 1, 1, 1))[0]()
    return bytes(changed)


def playlists(secret: Path, port: int) -> dict[str, bytes]:
    """Return {file name: content} of files that refer to a video beside them, to `secret`, and to a server."""
    targets = (f"http://127.0.0.1:{port}/x.ts", f"file:{secret}", str(secret), secret.name, f"tcp://127.0.0.1:{port}")
    found: dict[str, bytes] = {}
    for number, target in enumerate(targets):
        raw = target.encode()
        texts = {
            "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n" + raw + b"\n#EXT-X-ENDLIST\n",
            "map.m3u8": b'#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MAP:URI="' + raw + b'"\n#EXTINF:9,\nx.ts\n',
            "key.m3u8": b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="' + raw + b'"\n#EXTINF:9,\n' + raw + b"\n",
            "master.m3u8": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + raw + b"\n",
            "ffconcat": b"ffconcat version 1.0\nfile '" + raw + b"'\n",
            "mpd": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentation'
            b'Duration="PT9S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
            b"<BaseURL>" + raw + b"</BaseURL></Representation></AdaptationSet></Period></MPD>",
            "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video %d RTP/AVP 96\n" % port
            + b"a=rtpmap:96 H264/90000\n",
            "asx": b'<ASX version="3"><Entry><Ref href="' + raw + b'"/></Entry></ASX>',
            "strm": raw + b"\n",
            "svg": b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><image '
            b'xlink:href="' + raw + b'"/></svg>',
            "avs": b'AviSource("' + raw + b'")\n',
            "vpy": b"import os; os.system('touch canary')\n",
            "imf.xml": b'<?xml version="1.0"?><AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"><AssetList>'
            b"<Asset><Id>urn:uuid:0</Id><ChunkList><Chunk><Path>"
            + raw
            + b"</Path></Chunk></ChunkList></Asset></AssetList></AssetMap>",
        }
        for suffix, text in texts.items():
            found[f"p{number}.{suffix}"] = text
            found[f"p{number}.{suffix}.mp4"] = text  # FFmpeg looks at the content
    reference = mov_reference(f"file:{secret}".encode())
    return found | {"reference.mov": reference}


def mov_reference(target: bytes) -> bytes:
    """Return a QuickTime movie whose media are in another file (`dref` with an alias)."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    url = box(b"url ", bytes(4) + target + b"\0")
    dref = box(b"dref", bytes(4) + struct.pack(">I", 1) + url)
    entry = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HHIIIH", 16, 16, 72 << 16, 72 << 16, 0, 1)
    stsd = box(b"stsd", bytes(4) + struct.pack(">I", 1) + box(b"raw ", entry + bytes(32) + struct.pack(">Hh", 24, -1)))
    tables = (
        stsd
        + box(b"stts", bytes(4) + struct.pack(">III", 1, 1, 1))
        + box(b"stsc", bytes(4) + struct.pack(">IIII", 1, 1, 1, 1))
        + box(b"stsz", bytes(4) + struct.pack(">II", 768, 1))
        + box(b"stco", bytes(4) + struct.pack(">II", 1, 0))
    )
    media = box(b"minf", box(b"vmhd", bytes(12)) + box(b"dinf", dref) + box(b"stbl", tables))
    mdhd = box(b"mdhd", bytes(12) + struct.pack(">IIHH", 25, 1, 0, 0))
    hdlr = box(b"hdlr", bytes(8) + b"vide" + bytes(13))
    tkhd = box(
        b"tkhd", b"\0\0\0\7" + bytes(8) + struct.pack(">I", 1) + bytes(60) + struct.pack(">II", 16 << 16, 16 << 16)
    )
    mvhd = box(b"mvhd", bytes(12) + struct.pack(">II", 25, 1) + bytes(80))
    return box(b"ftyp", b"qt  " + bytes(4)) + box(
        b"moov", mvhd + box(b"trak", tkhd + box(b"mdia", mdhd + hdlr + media))
    )


PSEUDO = (
    "concat:{0}|{0}",
    "subfile,,start,0,end,0,,:{0}",
    "data:video/mp4;base64,AAAA",
    "pipe:0",
    "file:{0}",
    "crypto:{0}",
    "cache:{0}",
    "async:{0}",
    "hls+file:{0}",
    "fd:0",
    "md5:{0}",
    "lavfi:testsrc",
    "tee:{0}",
    "unix:{0}",
    "tcp://127.0.0.1:{1}",
    "udp://127.0.0.1:{1}",
    "rtmp://127.0.0.1:{1}/x",
    "gopher://127.0.0.1:{1}/x",
)
"""Names that FFmpeg's protocols take; {0} is a video, {1} the port of a server."""


def _references(folder: Path, model: Path) -> Row:
    """Run `predict` on files that refer to others and on names that are no files; nothing else may be opened."""
    row = Row(
        "no video and no name of one makes FFmpeg open another file or a connection",
        "HLS, DASH, ffconcat, SDP, ASX, MOV references, also called .mp4; concat:, subfile:, data:, pipe:, tcp: …",
    )
    place = folder / "references"
    place.mkdir()
    secret = write_video(place / "secret.ts", moving(18), "mpeg2video", "yuv420p")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        names = list(playlists(secret, port))
        for name, content in playlists(secret, port).items():
            (place / name).write_bytes(content)
        names += [pattern.format(secret, port) for pattern in PSEUDO]

        def work(number: int) -> tuple[str, str]:
            return _refer(place, model, names[number], server)

        return run_cases(row, len(names), work, seconds=COMMAND_SECONDS)


def _refer(place: Path, model: Path, name: str, server: socket.socket) -> tuple[str, str]:
    own = place / str(os.getpid())
    own.mkdir(exist_ok=True)
    video = name if (place / name).name != name or not (place / name).exists() else f"../{name}"
    done = run_command(["c3d-export", "predict", str(model), "--preprocess", PROFILE, "--json", "--", video], own)
    faults = done.faults
    if done.code == 3 and "0 lines of error" in faults:
        faults.remove("0 lines of error")  # it is a row of the result
    if done.code not in (2, 3, 4):
        faults.append(f"exit {done.code}")
    try:
        json.loads(done.stdout)
    except ValueError:
        faults.append("stdout is no JSON")
    try:
        server.accept()[0].close()
        faults.append("it connected")
    except BlockingIOError:
        pass
    if (own / "canary").exists():
        faults.append("it ran")
    return f"exit {done.code}", f"{name}: {'; '.join(faults)}: {done.stdout[-200:]!r}" if faults else ""
