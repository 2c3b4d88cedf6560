"""Frames with time stamps: damage, missing key frames, variable frame rates, counting."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.videos import FFMPEG, decode_with_ffmpeg, moving, needs_ffmpeg, noise, write_sound, write_video

from exporter.errors import VideoError
from exporter.video import container
from exporter.video.decoder import Decoder
from exporter.video.sources import Source


def source(path: Path) -> Source:
    return Source(str(path), path.name)


def decode(path: Path) -> tuple[list[tuple[Fraction, Fraction]], list[bytes], Decoder]:
    with Decoder(source(path)) as decoder:
        frames = [(frame.start, frame.end, frame.to_rgb().tobytes()) for frame in decoder.decode()]
    return [frame[:2] for frame in frames], [frame[2] for frame in frames], decoder


def test_times_of_a_constant_frame_rate(tmp_path: Path) -> None:
    times, _, decoder = decode(
        write_video(tmp_path / "a.mp4", noise(4), "libx264rgb", "rgb24", fps=Fraction(30000, 1001))
    )
    assert times == [(Fraction(k * 1001, 30000), Fraction((k + 1) * 1001, 30000)) for k in range(4)]
    assert decoder.info.fps == pytest.approx(29.97, abs=0.01)
    assert decoder.info.frames == 4
    assert decoder.info.duration == pytest.approx(4 * 1001 / 30000)


def test_times_of_a_variable_frame_rate_count_from_the_first_frame(tmp_path: Path) -> None:
    stamps = [Fraction(k, 100) for k in (30, 34, 50, 51, 90)]
    times, _, decoder = decode(write_video(tmp_path / "a.mkv", noise(5), stamps=stamps))
    starts = [stamp - stamps[0] for stamp in stamps]
    assert [time[0] for time in times] == starts
    assert [time[1] for time in times[:-1]] == starts[1:]
    assert times[-1][1] > starts[-1]
    assert decoder.summary.notes == ()


def test_times_of_h264_with_b_frames_in_avi(tmp_path: Path) -> None:
    """AVI states no time stamps; FFmpeg's guesses go back."""
    path = write_video(tmp_path / "a.avi", moving(20), "libx264", "yuv420p", options={"bf": "3", "g": "12"})
    times, pixels, decoder = decode(path)
    assert times == [(Fraction(k, 25), Fraction(k + 1, 25)) for k in range(20)]
    assert len(set(pixels)) == 20
    assert decoder.summary.notes == ()


def test_times_of_h264_in_avi_after_a_corrupt_packet(tmp_path: Path) -> None:
    """The frame that is lost takes its time with it."""
    path = write_video(tmp_path / "a.avi", moving(12), "libx264", "yuv420p", options={"bf": "0", "g": "1"})
    _, good, _ = decode(path)
    data, packet = bytearray(path.read_bytes()), read_packets(path)[5]
    assert packet.pos is not None
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    times, pixels, decoder = decode(path)
    left = [k for k in range(12) if k != 5]
    assert [start for start, _ in times] == [Fraction(k, 25) for k in left]
    assert pixels == [good[k] for k in left]
    assert decoder.summary.corrupt_packets == 1


def test_frames_without_time_stamps_get_those_of_the_frame_rate(tmp_path: Path) -> None:
    (tmp_path / "a.mjpeg").write_bytes(
        b"".join(
            bytes(packet) for packet in read_packets(write_video(tmp_path / "b.avi", noise(3), "mjpeg", "yuvj420p"))
        )
    )
    times, _, _ = decode(tmp_path / "a.mjpeg")
    assert times == [(Fraction(k, 25), Fraction(k + 1, 25)) for k in range(3)]


def read_packets(path: Path) -> list[av.Packet[av.VideoStream]]:
    with av.open(str(path)) as opened:
        return [packet for packet in opened.demux(opened.streams.video[0]) if packet.size]


def damage(path: Path, seed: int, places: int) -> Path:
    """Change bytes in the middle of a file, and return it."""
    rng, data = random.Random(seed), bytearray(path.read_bytes())
    for _ in range(places):
        data[rng.randrange(len(data) // 8, len(data) * 7 // 8)] ^= rng.randrange(1, 256)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "avi"), ("libvpx-vp9", "webm"), ("libx265", "mp4")]
)
def test_damaged_videos_decode_to_the_same_frames_every_time(codec: str, suffix: str, tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"threads": "1"}
    path = write_video(tmp_path / f"a.{suffix}", moving(30, 96, 128), codec, "yuv420p", options=options)
    damage(path, 3, 12)
    first, again = decode(path), decode(path)
    assert first[:2] == again[:2]
    assert first[2].summary == again[2].summary


def test_corrupt_packets_are_skipped_counted_and_reported(tmp_path: Path) -> None:
    good = noise(6)
    path = write_video(tmp_path / "a.mov", good, "png", "rgb24")
    data = bytearray(path.read_bytes())
    heads = [found.start() for found in re.finditer(b"\x89PNG", data)]
    assert len(heads) == 6
    for broken in (1, 4):
        data[heads[broken] : heads[broken] + 8] = bytes(8)
    path.write_bytes(data)
    _, pixels, decoder = decode(path)
    assert pixels == [good[k].tobytes() for k in (0, 2, 3, 5)]
    assert decoder.summary.corrupt_packets == 2
    assert decoder.summary.notes == ("2 corrupt packets skipped", "4 frames decoded, 6 stated by the container")


def test_concealed_errors_are_reported(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving(20, 96, 128), "mpeg4", "yuv420p")
    _, _, decoder = decode(damage(path, 1, 30))
    assert decoder.summary.damaged_frames > 0
    number = decoder.summary.damaged_frames
    assert f"errors in {number} frame{'s' * (number != 1)}, which FFmpeg concealed" in decoder.summary.notes


@needs_ffmpeg
def test_a_video_without_its_first_key_frame(tmp_path: Path) -> None:
    options = {"g": "5", "bf": "0", "threads": "1"}
    whole = write_video(tmp_path / "a.ts", moving(15), "libx264", "yuv420p", options=options)
    data, cut = whole.read_bytes(), tmp_path / "cut.ts"
    positions = [packet.pos for packet in read_packets(whole)]
    assert positions[2] is not None
    cut.write_bytes(data[: 3 * 188] + data[positions[2] // 188 * 188 :])  # the tables, then from the third frame on
    _, pixels, _ = decode(cut)
    assert 10 <= len(pixels) <= 13
    assert b"".join(pixels[-10:]) == decode_with_ffmpeg(whole, 48, 64)[-10:].tobytes()


def test_a_truncated_video_gives_the_frames_that_are_there(tmp_path: Path) -> None:
    frames = noise(10)
    options = {"movflags": "faststart"}
    with av.open(str(tmp_path / "a.mov"), "w", options=options) as made:
        stream = made.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "rgb24"
        for pixels in frames:
            made.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        made.mux(stream.encode())
    data = (tmp_path / "a.mov").read_bytes()
    (tmp_path / "a.mov").write_bytes(data[: len(data) * 6 // 10])
    _, pixels, decoder = decode(tmp_path / "a.mov")
    assert 3 <= len(pixels) <= 6
    assert pixels == [frame.tobytes() for frame in frames[: len(pixels)]]
    assert f"{len(pixels)} frames decoded, 10 stated by the container" in decoder.summary.notes


def test_what_an_edit_list_leaves_out_is_not_missing(tmp_path: Path) -> None:
    """As phones and `ffmpeg -ss … -c copy` shorten a video: the container states the number of all its frames."""
    path = write_video(tmp_path / "a.mp4", moving(60), "libx264", "yuv420p", options={"g": "10", "bf": "2"})
    _, whole, _ = decode(path)
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12  # after version and number of entries: duration in ms, first tick of the media
    (first,) = struct.unpack_from(">i", data, entry + 4)
    with av.open(str(path)) as made:
        tick = made.streams.video[0].time_base
    assert tick is not None
    struct.pack_into(">Ii", data, entry, 800, first + round(Fraction(24, 25) / tick))
    path.write_bytes(data)
    times, pixels, decoder = decode(path)
    assert pixels == whole[24:44]
    assert times[-1] == (Fraction(19, 25), Fraction(20, 25))
    assert decoder.info.frames == 60
    assert decoder.summary.notes == ()


@pytest.mark.parametrize(("share", "notes"), [(1.0, ()), (0.5, ("its frames end at ",))])
def test_a_truncated_file_that_states_no_number_of_frames(share: float, notes: tuple[str, ...], tmp_path: Path) -> None:
    """Matroska states a duration only, and FFmpeg ends such a file without an error."""
    path = write_video(tmp_path / "a.mkv", noise(30), fps=10)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    _, pixels, decoder = decode(path)
    assert len(pixels) == 30 if share == 1 else 10 <= len(pixels) <= 16
    assert len(decoder.summary.notes) == len(notes)
    for note, expected in zip(decoder.summary.notes, notes, strict=True):
        assert note == f"{expected}{len(pixels) / 10:.1f} s, 3.0 s stated by the container"


def test_the_default_stream_of_several(tmp_path: Path) -> None:
    frames = noise(2)
    path = write_video(tmp_path / "a.mkv", frames, streams=2)
    _, pixels, decoder = decode(path)
    assert pixels == [frame.tobytes() for frame in frames]
    assert decoder.summary.notes == ("has 2 video streams; number 0 is read",)


def test_a_stream_that_appears_later_is_passed_over(tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.ts", moving(6), "mpeg2video", "yuv420p")
    two = write_video(tmp_path / "two.ts", moving(6), "mpeg2video", "yuv420p", streams=2)
    _, alone, _ = decode(one)
    (tmp_path / "both.ts").write_bytes(one.read_bytes() + two.read_bytes())
    for _ in range(5):
        _, pixels, _ = decode(tmp_path / "both.ts")
        assert pixels == [*alone, *alone]


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"^a\.mp3: has no video stream, only a cover picture$"):
        Decoder(source(write_sound(tmp_path / "a.mp3", cover=True)))


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("gif", "gif"), ("webm", "libvpx")]
)
def test_the_number_of_frames(suffix: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a.{suffix}", moving(17), codec, "rgb8" if codec == "gif" else "yuv420p")
    with Decoder(source(path)) as decoder:
        assert decoder.count_frames() == 17
        assert len(list(decoder.decode())) == 17  # counting did not disturb it


@needs_ffmpeg
def test_frames_that_an_edit_list_leaves_out_are_not_counted(tmp_path: Path) -> None:
    """As of a video that was cut without encoding it again: its packets begin at the key frame before the cut."""
    whole = write_video(tmp_path / "a.mp4", moving(20), "libx264", "yuv420p", options={"g": "20", "bf": "0"})
    cut = tmp_path / "cut.mp4"
    assert FFMPEG is not None
    subprocess.run([FFMPEG, "-v", "error", "-ss", "0.2", "-i", str(whole), "-c", "copy", str(cut)], check=True)
    assert len(read_packets(cut)) == 20
    with Decoder(source(cut)) as decoder:
        assert decoder.count_frames() == len(list(decoder.decode())) == 15


def test_an_mp4_is_counted_without_decoding_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", moving(9), "libx264", "yuv420p")
    with Decoder(source(path)) as decoder:
        monkeypatch.setattr(container.FileFrames, "read", None)
        assert decoder.count_frames() == 9


def test_one_pixel(tmp_path: Path) -> None:
    frames = noise(2, 1, 1)
    _, pixels, decoder = decode(write_video(tmp_path / "a.mkv", frames))
    assert (decoder.info.width, decoder.info.height) == (1, 1)
    assert pixels == [frame.tobytes() for frame in frames]


def test_8k(tmp_path: Path) -> None:
    frames = np.zeros((1, 4320, 7680, 3), np.uint8)
    frames[0, :, ::7] = 200
    _, pixels, decoder = decode(write_video(tmp_path / "a.mov", frames, "png", "rgb24", options={"pred": "none"}))
    assert (decoder.info.width, decoder.info.height) == (7680, 4320)
    assert pixels[0] == frames[0].tobytes()
    assert len(pixels[0]) == 7680 * 4320 * 3 < 3 * container.MAX_PIXELS


def test_a_huge_size_in_an_image_is_refused(tmp_path: Path) -> None:
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = 4, 4, "rgb24", Fraction(1, 25)
    image = bytearray(bytes(encoder.encode(av.VideoFrame.from_ndarray(noise(1, 4, 4)[0], format="rgb24"))[0]))
    image[16:24] = struct.pack(">II", 40000, 40000)  # width and height in the chunk IHDR, and its checksum
    image[29:33] = struct.pack(">I", zlib.crc32(image[12:29]))
    (tmp_path / "a.png").write_bytes(image)
    with pytest.raises(VideoError, match=r"^a\.png: (frames of 40000x40000 are larger|no frame can be decoded)"):
        Decoder(source(tmp_path / "a.png"))


def test_a_frame_that_becomes_huge_is_a_corrupt_packet(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", noise(3), "mjpeg", "yuvj420p")
    data = bytearray(path.read_bytes())
    frame_header = data.rindex(b"\xff\xc0")  # SOF0 of the last frame: length, precision, height, width
    data[frame_header + 5 : frame_header + 9] = struct.pack(">HH", 40000, 40000)
    path.write_bytes(data)
    _, pixels, decoder = decode(path)
    assert len(pixels) == 2
    assert decoder.summary.corrupt_packets == 1
