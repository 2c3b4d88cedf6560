"""Colours and orientation of decoded frames."""

import itertools
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from helpers.videos import FFMPEG, Frames, decode_with_ffmpeg, moving, needs_ffmpeg, noise, write_video

from exporter.errors import VideoError
from exporter.video.decoder import Decoder
from exporter.video.sources import Source
from exporter.video.types import VideoSummary

UNSPECIFIED, LIMITED, FULL = 0, 1, 2
BT709, NO_MATRIX, BT601, YCGCO, BT2020, BT2020_CONSTANT, ICTCP = 1, 2, 5, 8, 9, 10, 14
WEIGHTS = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722)}
"""Red and blue in luma, of ITU-R BT.601 and BT.709."""


def read_frames(path: Path, *, constant_size: bool = False) -> tuple[Frames, VideoSummary]:
    with Decoder(Source(str(path), path.name), constant_size=constant_size) as decoder:
        return np.stack([frame.to_rgb() for frame in decoder.decode()]), decoder.summary


def convert_to_rgb(
    luma: "Frames", blue: "Frames", red: "Frames", matrix: int, limited: bool
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return R'G'B' of Y'CbCr by the definition in ITU-R BT.601 and BT.709, in float64."""
    y, cb, cr = (plane.astype(np.float64) for plane in (luma, blue, red))
    y, cb, cr = (
        ((y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224)
        if limited
        else (y / 255, (cb - 128) / 255, (cr - 128) / 255)
    )
    kr, kb = WEIGHTS[matrix]
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], axis=-1).clip(0, 1) * 255


@pytest.mark.parametrize(("matrix", "limited"), list(itertools.product((BT601, BT709), (True, False))), ids=str)
def test_matrix_and_range_are_those_that_the_video_states(matrix: int, limited: bool, tmp_path: Path) -> None:
    planes = noise(1, 32, 48)[0].transpose(2, 0, 1)  # Y, Cb, Cr
    luma, blue, red = (16 + planes * (219 / 255) if limited else planes).astype(np.uint8)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, LIMITED if limited else FULL
        frame = av.VideoFrame.from_ndarray(np.stack([luma, blue, red]), format="yuv444p")
        frame.colorspace, frame.color_range = matrix, LIMITED if limited else FULL
        container.mux([*stream.encode(frame), *stream.encode()])
    got = read_frames(path)[0][0]
    assert (
        np.abs(got - convert_to_rgb(luma, blue, red, matrix, limited)).max() <= 2
    )  # libswscale's fixed-point arithmetic


@needs_ffmpeg
@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "gray10le", "yuva420p", "gbrp10le"]
)
@pytest.mark.parametrize("size", [(48, 64), (47, 63), (47, 62), (1, 1)], ids=str)
def test_pixels_are_those_of_the_command_line_ffmpeg(pix_fmt: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", noise(2, *size), "ffv1", pix_fmt)
    assert np.array_equal(read_frames(path)[0], decode_with_ffmpeg(path, *size))


@needs_ffmpeg
@pytest.mark.parametrize("matrix", [BT709, NO_MATRIX, BT601, BT2020])
@pytest.mark.parametrize("colour_range", [UNSPECIFIED, LIMITED, FULL])
@pytest.mark.parametrize("height", [32, 33])
def test_colours_are_those_of_the_command_line_ffmpeg(
    matrix: int, colour_range: int, height: int, tmp_path: Path
) -> None:
    """Odd heights are converted in another way than even ones."""
    colours = {"colorspace": matrix, "color_range": colour_range}
    path = write_video(tmp_path / "a.mkv", noise(1, height), "ffv1", "yuv420p", colours=colours)
    assert np.array_equal(read_frames(path)[0], decode_with_ffmpeg(path, height, 48))


@needs_ffmpeg
@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("mpeg4", "yuv420p", "avi"),
        ("libx264", "yuv420p", "mp4"),
        ("libx264", "yuv420p10le", "mkv"),
        ("libx265", "yuv420p", "mp4"),
        ("libvpx-vp9", "yuv420p", "webm"),
        ("mjpeg", "yuvj420p", "avi"),
        ("mpeg2video", "yuv420p", "ts"),
        ("gif", "rgb8", "gif"),
    ],
)
def test_codecs_decode_as_with_the_command_line_ffmpeg(codec: str, pix_fmt: str, suffix: str, tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_video(tmp_path / f"a.{suffix}", moving(6), codec, pix_fmt, options=options)
    assert np.array_equal(read_frames(path)[0], decode_with_ffmpeg(path, 48, 64))


@needs_ffmpeg
def test_interlaced_fields_are_woven_as_they_are_decoded(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "top": "1"}
    path = write_video(tmp_path / "a.ts", moving(6), "mpeg2video", "yuv420p", options=options)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    assert np.array_equal(read_frames(path)[0], decode_with_ffmpeg(path, 48, 64))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("ffv1", "bgr0", "mkv"),
        ("libx264rgb", "rgb24", "mp4"),
        ("png", "rgb24", "mov"),
        ("rawvideo", "rgb24", "nut"),
        ("ffv1", "bgra", "mkv"),
    ],
)
def test_rgb_comes_out_as_it_went_in(codec: str, pix_fmt: str, suffix: str, tmp_path: Path) -> None:
    frames = noise(3)
    options = {"qp": "0"} if codec == "libx264rgb" else {}
    assert np.array_equal(
        read_frames(write_video(tmp_path / f"a.{suffix}", frames, codec, pix_fmt, options=options))[0], frames
    )


def test_transparent_pixels_keep_their_colour(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 4), dtype=np.uint8)
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "rgba"
        container.mux([*stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")), *stream.encode()])
    assert np.array_equal(read_frames(tmp_path / "a.mov")[0][0], pixels[..., :3])


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_the_display_matrix_turns_and_flips(degrees: int, flips: tuple[bool, bool], tmp_path: Path) -> None:
    frames = noise(1)
    path = write_video(
        tmp_path / "a.mp4", frames, "libx264rgb", "rgb24", options={"qp": "0"}, rotation=(degrees, *flips)
    )
    expected = np.rot90(frames[0], degrees // 90)
    expected = expected[:, ::-1] if flips[0] else expected
    expected = expected[::-1] if flips[1] else expected
    assert np.array_equal(read_frames(path)[0][0], expected)
    with Decoder(Source(str(path), "a")) as decoder:
        assert (decoder.info.height, decoder.info.width) == expected.shape[:2]
    if FFMPEG:
        assert np.array_equal(decode_with_ffmpeg(path, *expected.shape[:2])[0], expected)


@needs_ffmpeg
def test_a_display_matrix_that_only_some_frames_have(tmp_path: Path) -> None:
    """H.264 states it in a message of its own; PyAV gives an upright and an upside-down mirrored frame one angle, 0."""
    assert FFMPEG is not None
    plain = write_video(tmp_path / "a.h264", moving(4), "libx264", "yuv420p", options={"bf": "0"})
    marked = tmp_path / "b.h264"
    orientation = "h264_metadata=display_orientation=insert:flip=vertical"
    command = [FFMPEG, "-v", "error", "-i", str(plain), "-c", "copy", "-bsf:v", orientation, str(marked)]
    subprocess.run(command, check=True)
    with av.open(str(marked)) as container:
        assert {frame.rotation for frame in container.decode(video=0)} == {0}
    upright, got = read_frames(plain)[0], read_frames(marked)[0]
    assert [np.array_equal(shown, frame[::-1]) for shown, frame in zip(got, upright, strict=True)].count(True) == 1
    assert np.array_equal(got, decode_with_ffmpeg(marked, 48, 64))


def test_other_angles_are_reported_and_not_applied(tmp_path: Path) -> None:
    frames = noise(1)
    path = write_video(
        tmp_path / "a.mp4", frames, "libx264rgb", "rgb24", options={"qp": "0"}, rotation=(45, False, False)
    )
    got, summary = read_frames(path)
    assert np.array_equal(got, frames)
    assert summary.notes == ("its metadata asks for a rotation by 45 degrees, which is not applied",)


def read_with_opencv(path: Path) -> Frames:
    capture = cv2.VideoCapture(str(path))
    frames: list[Frames] = []
    while True:
        there, frame = capture.read()
        if not there:
            return np.stack(frames)[..., ::-1]
        frames.append(frame.astype(np.uint8))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix", "rotation"),
    [
        ("libx264", "yuv420p", "mp4", None),
        ("libx264", "yuv420p", "mp4", (90, False, False)),
        ("mpeg4", "yuv420p", "avi", None),  # as UCF-101 is stored, with another FourCC
        ("mjpeg", "yuvj420p", "avi", None),
        ("libvpx-vp9", "yuv420p", "webm", None),
    ],
)
def test_pixels_are_those_that_opencv_reads(
    codec: str, pix_fmt: str, suffix: str, rotation: tuple[int, bool, bool] | None, tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"a.{suffix}", moving(6), codec, pix_fmt, rotation=rotation)
    assert np.array_equal(read_frames(path)[0], read_with_opencv(path))


def sizes_change(path: Path) -> tuple[Frames, Frames]:
    """Write a video of two frames of 32x48 and two of 16x40, and return them."""
    first, second = moving(2, 32, 48), moving(2, 16, 40)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuvj420p"
        number = 0
        for frames in (first, second):
            encoder = av.CodecContext.create("mjpeg", "w")
            assert isinstance(encoder, av.VideoCodecContext)
            encoder.height, encoder.width, encoder.pix_fmt = frames.shape[1], frames.shape[2], "yuvj420p"
            encoder.time_base = stream.time_base = Fraction(1, 25)
            for pixels in frames:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
                for packet in encoder.encode(frame):
                    packet.stream, packet.pts, packet.dts = stream, number, number
                    container.mux(packet)
                    number += 1
    return first, second


def test_a_size_that_changes_within_the_video(tmp_path: Path) -> None:
    _, second = sizes_change(tmp_path / "a.avi")
    with Decoder(Source(str(tmp_path / "a.avi"), "a")) as decoder:
        frames = [frame.to_rgb() for frame in decoder.decode()]
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 2 + [(16, 40, 3)] * 2
    assert np.abs(frames[2].astype(int) - second[0]).mean() < 10  # a lossy codec
    assert decoder.summary.notes == ("the size of the frames changes, from 48x32 to 40x16",)
    constant, summary = read_frames(tmp_path / "a.avi", constant_size=True)
    assert constant.shape == (4, 32, 48, 3)
    assert np.array_equal(constant[:2], frames[:2])
    assert abs(constant[2].mean() - frames[2].mean()) < 2  # scaled, not cropped
    assert summary.notes == decoder.summary.notes


@pytest.mark.parametrize("matrix", [YCGCO, BT2020_CONSTANT, ICTCP])
def test_colours_that_ffmpeg_does_not_convert_are_refused(matrix: int, tmp_path: Path) -> None:
    """FFmpeg 5 took them as BT.601, which gives other colours."""
    path = write_video(tmp_path / "a.mkv", moving(2), "libx264", "yuv420p", colours={"colorspace": matrix})
    with pytest.raises(VideoError, match=rf"^a\.mkv: .*yuv420p, matrix {matrix} of ") as caught:
        read_frames(path)
    assert caught.value.exit_code == 3
