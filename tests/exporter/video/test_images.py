"""Image files as the frames of a video."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.videos import moving, noise
from PIL import Image, ImageOps

from exporter.errors import VideoError
from exporter.video.decoder import Decoder
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling, Seconds
from exporter.video.sources import expand_sources


def write_images(folder: Path, count: int, suffix: str = "png") -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    frames = noise(count)
    for number, pixels in enumerate(frames):
        Image.fromarray(pixels).save(folder / f"{number}.{suffix}")
    return frames


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif"])
def test_a_folder_of_images(suffix: str, tmp_path: Path) -> None:
    frames = write_images(tmp_path, 12, suffix)
    with open_video(expand_sources([tmp_path])[0]) as video:
        clips = list(video.clips(Sampling(4, step=3)))
    assert [clip.first for clip in clips] == [0, 3, 6]
    for clip in clips:
        assert np.array_equal(clip.frames, frames[clip.first : clip.last + 1])
    assert (video.info.frames, video.info.fps, video.info.duration) == (12, 25, 12 / 25)
    assert (clips[1].start, clips[1].end) == (3 / 25, 7 / 25)
    assert video.summary.notes == ()


def test_clips_evenly_and_in_seconds(tmp_path: Path) -> None:
    write_images(tmp_path, 10)
    source = expand_sources([tmp_path])[0]
    with open_video(source) as video:
        assert [clip.first for clip in video.clips(Sampling(4, clips=3))] == [0, 3, 6]
    with open_video(source) as video:
        window = Sampling(4, window=Seconds(Fraction("0.16")), step=Seconds(Fraction("0.12")))
        assert [clip.first for clip in video.clips(window)] == [0, 3, 6]


def test_jpeg_decodes_as_ffmpeg_does(tmp_path: Path) -> None:
    write_images(tmp_path, 1, "jpg")
    with av.open(str(tmp_path / "0.jpg")) as container:
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with open_video(expand_sources([tmp_path])[0]) as video:
        assert np.array_equal(next(video.clips(Sampling(1))).frames[0], expected)


@pytest.mark.parametrize(("suffix", "largest"), [("png", 0), ("tif", 0), ("jpg", 8), ("webp", 12)])
def test_all_orientations_in_exif_are_those_of_pillow(suffix: str, largest: int, tmp_path: Path) -> None:
    """In one folder, so that no image's orientation is taken for another's. JPEG and WebP subsample the colours."""
    image = Image.fromarray(moving(1)[0])
    for orientation in range(1, 9):
        exif = image.getexif()
        exif[0x112] = orientation
        image.save(tmp_path / f"{orientation}.{suffix}", exif=exif, quality=100)
    with Decoder(expand_sources([tmp_path])[0]) as decoder:
        decoded = [frame.to_rgb() for frame in decoder.decode()]
    assert len(decoded) == 8
    for orientation, pixels in enumerate(decoded, 1):
        with Image.open(tmp_path / f"{orientation}.{suffix}") as opened:
            expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        assert pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).max() <= largest, orientation


def test_images_that_cannot_be_decoded_are_skipped_counted_and_named(tmp_path: Path) -> None:
    frames = write_images(tmp_path, 6)
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "3.png").write_text("not an image")
    with open_video(expand_sources([tmp_path])[0]) as video:
        clips = list(video.clips(Sampling(2)))
    assert np.array_equal(np.concatenate([clip.frames for clip in clips]), frames[[1, 2, 4, 5]])
    assert (video.summary.frames, video.summary.corrupt_packets) == (4, 2)
    broken = f"{tmp_path / '0.png'}, {tmp_path / '3.png'}"
    assert video.summary.notes == (f"images that cannot be decoded: {broken}",)


def test_no_image_can_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("not an image")
    with pytest.raises(VideoError) as raised:
        open_video(expand_sources([tmp_path])[0])
    assert str(raised.value) == f"{tmp_path}: no image can be decoded"


def test_a_tga_image_is_refused_whatever_ffmpeg_takes_it_for(tmp_path: Path) -> None:
    Image.fromarray(moving(1)[0]).save(tmp_path / "frame.TGA")
    with pytest.raises(VideoError, match="TGA image"):
        open_video(expand_sources([tmp_path / "frame.TGA"])[0])
