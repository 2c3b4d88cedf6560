"""From a video to its clips."""

import gc
import threading
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.run import python
from helpers.server import Site, serve_plainly
from helpers.videos import Frames, moving, noise, write_video
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import VideoError
from exporter.video import reader
from exporter.video.reader import FrameBuffer, open_video, read_first_clip
from exporter.video.sampling import Sampling, Seconds, Short
from exporter.video.types import Clip

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"


@pytest.fixture(scope="module")
def bikes() -> Frames:
    with av.open(str(BIKES)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.uint8)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Frames]:
    frames = noise(50, 4, 6)
    return write_video(tmp_path_factory.mktemp("videos") / "a.mkv", frames), frames


def counting(taken: list[int]) -> Callable[[Frames], Frames]:
    def transform(frame: Frames) -> Frames:
        taken.append(1)
        return frame

    return transform


def test_overlapping_clips_are_views_of_frames_that_were_transformed_once(bikes: Frames) -> None:
    taken: list[int] = []
    with open_video(BIKES, counting(taken)) as video:
        clips = list(video.clips(Sampling(16, step=4)))
    assert [(clip.index, clip.first, clip.last) for clip in clips] == [(k, 4 * k, 4 * k + 15) for k in range(5)]
    for clip in clips:
        assert np.array_equal(clip.frames, bikes[clip.first : clip.last + 1])
        assert not clip.frames.flags.writeable
    assert np.shares_memory(clips[0].frames, clips[1].frames)
    assert len(taken) == 32
    assert (clips[1].start, clips[1].end) == (4 / 25, 20 / 25)
    assert (video.info.width, video.info.height, video.info.fps, video.info.frames) == (640, 272, 25, 32)
    assert (video.summary.frames, video.summary.clips, video.summary.corrupt_packets) == (32, 5, 0)


def test_only_frames_that_a_clip_contains_are_converted(lossless: tuple[Path, Frames]) -> None:
    path, frames = lossless  # with a frame step of 3, a fifth clip begins at frame 48 and stays incomplete
    for sampling, number in ((Sampling(2, step=10), 10), (Sampling(4, frame_step=3), 17), (Sampling(4, clips=3), 12)):
        taken: list[int] = []
        with open_video(path, counting(taken)) as video:
            clips = list(video.clips(sampling))
        assert clips
        assert len(taken) == number
        assert all(np.array_equal(clip.frames[0], frames[clip.first]) for clip in clips)


@given(
    clip=st.integers(1, 9),
    frame_step=st.integers(1, 3),
    step=st.none() | st.integers(1, 12) | st.integers(1, 50).map(lambda hundredths: Seconds(Fraction(hundredths, 100))),
    window=st.none() | st.integers(1, 20),
    chunk=st.integers(1, 2000),
)
def test_clips_hold_the_frames_that_they_name(
    clip: int,
    frame_step: int,
    step: int | Seconds | None,
    window: int | None,
    chunk: int,
    lossless: tuple[Path, Frames],
) -> None:
    path, frames = lossless
    sampling = Sampling(clip, frame_step, window=window, step=step)
    offsets, span = sampling.offsets, sampling.span
    assert offsets is not None
    assert span is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "CHUNK_BYTES", chunk)  # a few frames of 72 bytes
        with open_video(path) as video:
            clips = list(video.clips(sampling))
    for made in clips:
        assert np.array_equal(made.frames, frames[[made.first + offset for offset in offsets]])
        assert made.start == made.first / 25
        assert made.end == (made.last + 1) / 25
    if not isinstance(step, Seconds):
        stride = step or window or clip * frame_step
        assert [made.first for made in clips] == [*range(0, 50 - span + 1, stride)]


@pytest.mark.parametrize(("short", "repeated"), [("repeat", [0, 1, 2, 0, 1]), ("pad", [0, 1, 2, 2, 2]), ("skip", None)])
def test_a_video_shorter_than_one_clip(short: Short, repeated: list[int] | None, tmp_path: Path) -> None:
    frames = noise(3)
    path = write_video(tmp_path / "a.mkv", frames)
    with open_video(path) as video:
        clips = list(video.clips(Sampling(5, short=short)))
    if repeated is None:
        assert clips == []
        assert video.summary.notes == ("shorter than one clip (3 frames): skipped",)
        with pytest.raises(VideoError, match=r"a\.mkv: 3 frames, but a clip needs 5$"):
            read_first_clip(path, None, Sampling(5, short=short))
    else:
        assert np.array_equal(clips[0].frames, frames[repeated])
        assert [(clip.first, clip.last, clip.repeated) for clip in clips] == [(0, 2, 2)]
        done = {"repeat": "its frames are repeated", "pad": "its last frame is held"}[short]
        assert video.summary.notes == (f"shorter than one clip (3 frames): {done}",)


def test_variable_frame_rate_in_seconds(tmp_path: Path) -> None:
    frames = noise(5)
    stamps = [Fraction(k, 10) for k in (0, 1, 2, 6, 8)]
    path = write_video(tmp_path / "a.mkv", frames, stamps=stamps)
    with open_video(path) as video:
        sampling = Sampling(4, window=Seconds(Fraction("0.4")), step=Seconds(Fraction("0.4")))
        clips = list(video.clips(sampling))
    assert np.array_equal(clips[0].frames, frames[[0, 1, 2, 2]])  # shown at 0, 0.1, 0.2, 0.3 s
    assert np.array_equal(clips[1].frames, frames[[2, 2, 3, 3]])  # at 0.4 to 0.7 s
    assert (clips[1].first, clips[1].last, clips[1].start, clips[1].end) == (2, 3, 0.2, 0.8)


def test_memory_does_not_depend_on_the_length_of_a_video(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = write_video(tmp_path / "a.avi", np.zeros((count, 64, 64, 3), np.uint8), "rawvideo", "bgr24")
        tracemalloc.start()
        with open_video(path, np.copy) as video, pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "CHUNK_BYTES", 1 << 18)
            for _ in video.clips(Sampling(16, step=1)):
                pass
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    short, long = peak(60), peak(600)
    frame = 64 * 64 * 3
    assert long < 1.5 * short  # ten times the frames
    assert long < 2 * 32 * frame + (
        1 << 20
    )  # the old chunk and the new one, of twice 15 frames each, and FFmpeg's buffer


FREED = """
import gc, os, sys
from pathlib import Path
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

gc.disable()
with open_video(sys.argv[1], lambda frame: frame[:4, :4]) as video:
    clips = video.clips(Sampling(1))
    first = [next(clips) for _ in range(5)]
    before = resident()
    print(len(list(clips)), resident() - before)
"""


def test_decoded_frames_are_freed_at_once(tmp_path: Path) -> None:
    frames = np.zeros((60, 720, 1280, 3), np.uint8)
    path = write_video(tmp_path / "a.avi", frames, "rawvideo", "bgr24")
    done = python(FREED, path, cwd=tmp_path)
    number, grown = map(int, done.stdout.split())
    assert number == 55
    assert grown < 25 * frames[0].nbytes  # 55 if they were kept; how many are decoded ahead depends on the load


def test_clips_outlive_the_video_and_other_threads_may_take_them(lossless: tuple[Path, Frames]) -> None:
    path, frames = lossless
    clips: list[Clip] = []

    def read() -> None:
        with open_video(path) as video:
            clips.extend(video.clips(Sampling(8, step=2)))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    gc.collect()
    assert len(clips) == 22
    assert all(np.array_equal(clip.frames, frames[clip.first : clip.first + 8]) for clip in clips)


def test_a_video_may_be_left_before_its_end(lossless: tuple[Path, Frames]) -> None:
    path, frames = lossless
    assert np.array_equal(read_first_clip(path, None, Sampling(4)).frames, frames[:4])
    with open_video(path) as video:
        next(video.clips(Sampling(4)))
        with pytest.raises(RuntimeError, match="open it again"):
            next(video.clips(Sampling(4)))


def test_evenly_over_a_video_that_ends_early(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", noise(20), "png", "rgb24")
    data = bytearray(path.read_bytes())
    head = data.rindex(b"\x89PNG")
    data[head : head + 8] = bytes(8)  # the container still counts this frame
    path.write_bytes(data)
    with open_video(path) as video:
        clips = list(video.clips(Sampling(4, clips=3, short="pad")))
    assert [(clip.first, clip.last, clip.repeated) for clip in clips] == [(0, 3, 0), (8, 11, 0), (16, 18, 1)]
    assert "ends within a clip (19 frames): its last frame is held" in video.summary.notes


def test_a_video_behind_a_url(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(20), "libx264", "yuv420p")
    with open_video(path) as video:
        expected = next(video.clips(Sampling(20))).frames
    site = Site(content=path.read_bytes(), ranges=True)
    with serve_plainly(site) as address, open_video(f"{address}/a.mp4") as video:
        assert np.array_equal(next(video.clips(Sampling(20))).frames, expected)
    with serve_plainly(Site(files={})) as address, pytest.raises(VideoError, match=r"none\.mp4: .*no such file"):
        open_video(f"{address}/none.mp4")


def test_a_buffer_advances_to_a_new_chunk_only_when_one_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_BYTES", 0)  # so the first chunk holds one clip
    frames, made = noise(100, 2, 2), FrameBuffer(4)
    chunks: list[object] = []
    for number, frame in enumerate(frames):
        made.add(number, frame)
        if number < 3:
            continue
        made.drop_before(number - 3)
        view = made.view([*range(number - 3, number + 1)])
        assert np.array_equal(view, frames[number - 3 : number + 1])
        if not chunks or view.base is not chunks[-1]:
            chunks.append(view.base)
    assert len(chunks) == 1 + (100 - 4) // 4  # each further one holds eight, of which the first four are still needed


def test_frames_at_unequal_distances_are_copied() -> None:
    frames, made = noise(6, 2, 2), FrameBuffer(3)
    for number, frame in enumerate(frames):
        made.add(number, frame)
    for numbers in ([0, 1, 3], [2, 2, 2], [1, 2, 1], [5]):
        view = made.view(numbers)
        assert np.array_equal(view, frames[numbers])
        assert not view.flags.writeable
