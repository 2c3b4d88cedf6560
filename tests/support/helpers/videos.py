"""Videos, written with PyAV, and their frames by another route than the project's."""

import subprocess
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from shutil import which

import av
import numpy as np
import pytest
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
FFMPEG = which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="needs the command line ffmpeg")


def noise(count: int, height: int = 32, width: int = 48, seed: int = 0) -> Frames:
    """Return frames (count, height, width, 3) of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def moving(count: int, height: int = 48, width: int = 64) -> Frames:
    """Return frames (count, height, width, 3) of a pattern that moves and that codecs keep recognisable."""
    y, x = np.mgrid[:height, :width]
    planes = [(np.sin((x + 3 * k) / 9) + np.cos((y - 2 * k) / 7)) * 50 + 120 + 3 * k for k in range(count)]
    return (
        np.stack([np.stack([plane, plane[::-1], plane[:, ::-1]], axis=-1) for plane in planes])
        .clip(0, 255)
        .astype(np.uint8)
    )


def write_video(
    path: Path,
    frames: Frames,
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    *,
    fps: int | Fraction = 25,
    stamps: Sequence[Fraction] | None = None,
    options: Mapping[str, str] | None = None,
    rotation: tuple[int, bool, bool] | None = None,
    colours: Mapping[str, int] | None = None,
    streams: int = 1,
) -> Path:
    """Write frames (count, height, width, 3); the default is lossless RGB. Return `path`.

    Args:
        path: its suffix decides the container.
        frames: uint8, RGB.
        codec: name of FFmpeg's encoder.
        pix_fmt: what is encoded.
        fps: frames per second.
        stamps: time stamps in seconds, where the frame rate varies.
        options: of the encoder.
        rotation: of the display matrix: degrees, flip left and right, flip up and down.
        colours: attributes of the encoder, such as `colorspace`.
        streams: number of video streams; each further one shows the negative of the one before.
    """
    with av.open(str(path), "w") as container:
        made: list[VideoStream] = []
        for _ in range(streams):
            stream = container.add_stream(codec, rate=fps, options=dict(options or {}))
            assert isinstance(stream, VideoStream)
            stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
            for name, value in (colours or {}).items():
                setattr(stream.codec_context, name, value)
            if rotation:
                stream.set_display_rotation(*rotation)
            if stamps:
                stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            made.append(stream)
        for number, pixels in enumerate(frames):
            for stream in made:
                shown = pixels if stream is made[0] else 255 - pixels
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24").reformat(format=pix_fmt)
                if stamps:
                    frame.pts, frame.time_base = round(stamps[number] * 1000), Fraction(1, 1000)
                container.mux(stream.encode(frame))
        for stream in made:
            container.mux(stream.encode())
    return path


def write_sound(path: Path, cover: bool = False) -> Path:
    """Write half a second of silence, with a cover picture if asked for. Return `path`."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("mp3", rate=44100)
        packets: list[Packet[VideoStream]] = []
        if cover:
            picture = container.add_stream("png", rate=25)
            assert isinstance(picture, VideoStream)
            picture.width = picture.height = 32
            picture.pix_fmt = "rgb24"
            picture.disposition = Disposition.attached_pic
            image = av.VideoFrame.from_ndarray(noise(1, 32, 32)[0], format="rgb24")
            packets += [*picture.encode(image), *picture.encode()]
        samples = np.zeros((2, 22050), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate = 44100
        container.mux(packets)
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def decode_with_ffmpeg(path: Path, height: int, width: int) -> Frames:
    """Return the frames (count, height, width, 3) that the command line `ffmpeg` makes of a video."""
    assert FFMPEG is not None
    command = [FFMPEG, "-v", "error", "-threads", "1", "-i", str(path), "-an", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    done = subprocess.run([*command, "-fps_mode", "passthrough", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
