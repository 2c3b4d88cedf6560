"""Videos with changed bytes, and files that refer to others, whatever their name."""

import random
import socket
from pathlib import Path

import pytest
from helpers.videos import moving, write_video

from exporter.errors import VideoError
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling

SEEDS = {
    "h264.mp4": ("libx264", "yuv420p"),
    "mpeg4.avi": ("mpeg4", "yuv420p"),
    "vp9.webm": ("libvpx-vp9", "yuv420p"),
    "mpeg2.ts": ("mpeg2video", "yuv420p"),
    "gif.gif": ("gif", "rgb8"),
}
CASES = 20


@pytest.mark.parametrize("name", SEEDS)
def test_a_damaged_video_is_decoded_or_refused(name: str, tmp_path: Path) -> None:
    content = write_video(tmp_path / name, moving(17), *SEEDS[name]).read_bytes()
    generator = random.Random(name)
    for _ in range(CASES):
        changed = bytearray(content)
        for _ in range(generator.choice((1, 2, 8))):
            at = generator.randrange(min(512, len(changed)) if generator.random() < 0.5 else len(changed))
            changed[at : at + 4] = generator.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff", generator.randbytes(4))
            )
        if generator.random() < 0.2:
            del changed[generator.randrange(16, len(changed)) :]
        (tmp_path / name).write_bytes(changed)
        try:
            with open_video(tmp_path / name, lambda pixels: pixels[:4, :4].copy()) as video:
                assert all(clip.frames.shape[0] == 16 for clip in video.clips(Sampling(16)))
        except VideoError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "list.avi"])
@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/x.ts", "file:{file}", "secret.ts", "tcp://127.0.0.1:{port}"]
)
def test_a_playlist_opens_nothing(name: str, target: str, tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.ts", moving(17), "mpeg2video", "yuv420p")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        line = target.format(port=server.getsockname()[1], file=secret)
        for content in (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{line}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{line}\n",
            f"ffconcat version 1.0\nfile '{line}'\n",
        ):
            (tmp_path / name).write_text(content)
            with pytest.raises(VideoError), open_video(tmp_path / name):
                pass
        with pytest.raises(BlockingIOError):
            server.accept()
