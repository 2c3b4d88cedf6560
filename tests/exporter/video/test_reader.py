"""From a video to its clips."""

from pathlib import Path

import av
import numpy as np
import pytest

from exporter.errors import VideoError
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"


@pytest.fixture(scope="module")
def bikes() -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with av.open(str(BIKES)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.uint8)


def test_overlapping_clips_are_views_of_frames_that_were_transformed_once(bikes: "np.ndarray") -> None:
    taken: list[int] = []

    def transform(frame: "np.ndarray") -> "np.ndarray":
        taken.append(1)
        return frame[::8, ::8].astype(np.float32)

    with open_video(BIKES, transform) as video:
        clips = list(video.clips(Sampling(16, step=4)))
    assert [(clip.index, clip.first, clip.last) for clip in clips] == [(k, 4 * k, 4 * k + 15) for k in range(5)]
    for clip in clips:
        assert np.array_equal(clip.frames, bikes[clip.first : clip.last + 1, ::8, ::8])
        assert not clip.frames.flags.writeable
    assert np.shares_memory(clips[0].frames, clips[1].frames)
    assert len(taken) == 32
    assert (clips[1].start, clips[1].end) == (4 / 25, 20 / 25)
    assert (video.info.width, video.info.height, video.info.fps, video.info.frames) == (640, 272, 25, 32)
    assert (video.summary.frames, video.summary.clips, video.summary.corrupt_packets) == (32, 5, 0)


def test_a_missing_video() -> None:
    with pytest.raises(VideoError, match="^no such video: none.mp4$"):
        open_video("none.mp4")
