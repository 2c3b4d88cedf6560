"""What is no video, and what a video may not do."""

import gc
import io
import os
import re
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.server import Site, serve_plainly
from helpers.videos import moving, noise, write_sound, write_video

from exporter.errors import UnavailableError, VideoError
from exporter.video import container
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling
from exporter.video.sources import Source
from exporter.video.types import VideoSummary

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"


def opening(path: Path, name: str = "a") -> str:
    """Return the line with which opening a video and reading it fails."""
    with pytest.raises(VideoError) as raised, open_video(Source(str(path), name)) as video:
        list(video.clips(Sampling(2)))
    assert raised.value.exit_code == 3
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "a: the file is empty"),
        (
            b"not a video, but a text\n" * 40,
            "a: not a video that can be decoded: Invalid data found when processing input",
        ),
        (b"\0" * 5000, "a: not a video that can be decoded: Invalid data found when processing input"),
        (BIKES.read_bytes()[:20000], "a: not a video that can be decoded: Invalid data found when processing input"),
    ],
    ids=["empty", "text", "zeros", "truncated before its index"],
)
@pytest.mark.parametrize("suffix", ["mp4", "avi", ""])
def test_files_that_are_no_videos(content: bytes, line: str, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    assert opening(tmp_path / f"a.{suffix}") == line


@pytest.mark.parametrize("suffix", ["gif", "h264", "m4v"])
def test_a_suffix_does_not_have_ffmpeg_search_the_whole_of_a_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a format whose beginning FFmpeg searches for."""
    path = tmp_path / f"a.{suffix}"
    path.touch()
    os.truncate(path, 1 << 25)
    read: list[int] = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(-1 if size is None else size)
            read.append(len(found))
            return found

    monkeypatch.setattr(container, "open_input", lambda *_: Counting(path))  # pyright: ignore
    assert opening(path).startswith("a: not a video")
    assert sum(read) < 1 << 22


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        ("gif", "gif", "rgb8"),
        ("h264", "libx264", "yuv420p"),
        ("m4v", "mpeg4", "yuv420p"),
        ("mjpeg", "mjpeg", "yuvj420p"),
        ("mpg", "mpeg1video", "yuv420p"),
    ],
)
def test_a_video_is_recognised_by_its_content(suffix: str, codec: str, pix_fmt: str, tmp_path: Path) -> None:
    written = write_video(tmp_path / f"a.{suffix}", moving(8), codec, pix_fmt)
    for path in (written, Path(shutil.copy(written, tmp_path / "a.dat"))):
        with open_video(path) as video:
            assert len(list(video.clips(Sampling(2)))) == 4


def test_sound_alone(tmp_path: Path) -> None:
    assert opening(write_sound(tmp_path / "a.mp3")) == "a: has no video stream"


def test_a_video_without_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as made:
        stream = made.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "bgr0"
        made.start_encoding()
    assert opening(tmp_path / "a.avi") == "a: no frame can be decoded"


def test_missing_files_folders_and_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert opening(tmp_path / "none.mp4") == f"no such video: {tmp_path / 'none.mp4'}"
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        assert opening(path) == f"not a file: {path}; give the video itself"
    assert r"a\x00b" in opening(Path("a\0b"))


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mkv", noise(1))

    def refuse(*_: object) -> None:  # root may read everything, so chmod proves nothing
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert opening(path) == f"cannot read {path}: Permission denied"


@pytest.mark.parametrize("reads", [0, 1, 2, 9])
def test_a_disk_that_fails_while_a_video_is_read(reads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.avi", noise(80, 96, 128), "rawvideo", "bgr24")
    opened = container.open_input(str(path))

    class Failing:
        """A file that can be read a few times."""

        def __init__(self) -> None:
            self._reads = 0

        def read(self, size: int) -> bytes:
            self._reads += 1
            if self._reads > reads:
                raise OSError(5, "Input/output error")
            return opened.read(size)

        def seek(self, offset: int, whence: int = 0) -> int:
            return opened.seek(offset, whence)

        def tell(self) -> int:
            return opened.tell()

        def close(self) -> None:
            opened.close()

        def __enter__(self) -> "Failing":
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

    monkeypatch.setattr(container, "open_input", lambda *_: Failing())
    assert opening(path) == "a: cannot be read: Input/output error"


def test_a_video_that_is_closed_is_freed_at_once(tmp_path: Path) -> None:
    """Its decoder holds frames: of a folder of images in 8K, or many videos, those of each would add up."""
    path = write_video(tmp_path / "a.mkv", noise(3))
    gc.disable()
    try:
        with container.FileFrames(Source(str(path), "a"), VideoSummary()) as video:
            assert next(video.read()).width == 48
        closed = weakref.ref(video)
        del video
        assert closed() is None
    finally:
        gc.enable()


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile {}\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 96\na=rtpmap:96 H264/90000\n"


@pytest.mark.parametrize("text", [PLAYLIST, CONCAT], ids=["hls", "concat"])
@pytest.mark.parametrize("suffix", ["m3u8", "mp4", "ffconcat"])
def test_a_video_opens_no_other_file_and_no_connection(text: str, suffix: str, tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.ts", noise(3), "mpeg2video", "yuv420p")
    opened: list[str] = []
    sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
    with serve_plainly(site := Site(files={})) as address:
        for target in ("secret.ts", str(secret), f"file:{secret}", f"{address}/video.ts", f"concat:{secret}"):
            path = tmp_path / f"a.{suffix}"
            path.write_text(text.format(target))
            opened.clear()
            refusals = "a: (refers to other files|not a video that can be decoded|no frame can be decoded)"
            assert re.match(refusals, opening(path))
            assert not [name for name in opened if "secret" in name]
    assert not site.asked


def test_a_session_description_opens_no_connection(tmp_path: Path) -> None:
    (tmp_path / "a.sdp").write_text(SDP.format(15004))
    assert opening(tmp_path / "a.sdp").startswith("a: not a video that can be decoded")


def test_ffmpegs_own_messages_do_not_reach_the_user(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving(20, 96, 128), "mpeg4", "yuv420p")
    data = bytearray(path.read_bytes())
    for at in range(7000, len(data) - 2000, 97):
        data[at] ^= 0x55
    path.write_bytes(data)
    script = (
        "from exporter.video.reader import open_video\nfrom exporter.video.sampling import Sampling\n"
        f"with open_video({str(path)!r}) as video:\n    print(len(list(video.clips(Sampling(4)))), video.summary.damaged_frames)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    clips, damaged = map(int, done.stdout.split())
    assert clips >= 4
    assert damaged > 0  # which the libraries log
    assert done.stderr == ""


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnavailableError, match=r"pip install 'c3d-export\[video\]'"):
        open_video(BIKES)


def test_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VideoError, match=r"^camera:99: cannot open the camera /dev/video99: "):
        open_video(Source("camera:99", "camera:99", "camera"))
    frames = noise(8)
    write_video(tmp_path / "video0.mkv", frames)
    opened: list[tuple[str, str | None]] = []
    really = av.open

    def fake(file: str, mode: str, **options: str) -> object:
        opened.append((file, options.get("format")))
        return really(file, "r")

    monkeypatch.setattr(container, "CAMERA", str(tmp_path / "video{}.mkv"))
    monkeypatch.setattr(av, "open", fake)
    with open_video(Source("camera:0", "camera:0", "camera")) as camera:
        clips = camera.clips(Sampling(4))
        assert np.array_equal(next(clips).frames, frames[:4])
        assert np.array_equal(next(clips).frames, frames[4:])
        with pytest.raises(VideoError, match=r"^camera:0: a camera has no end"):
            next(camera.clips(Sampling(4, clips=2)))
    assert opened == [(str(tmp_path / "video0.mkv"), "v4l2")]
