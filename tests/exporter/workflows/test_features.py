"""From videos to features, against frames by the command line ffmpeg, resizing by OpenCV and plain PyTorch."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import torch
from helpers.colour_videos import write_colours
from helpers.extras import needs_openvino
from helpers.small_video_model import NARROW, PROFILE, SmallVideoModel
from helpers.videos import decode_with_ffmpeg, needs_ffmpeg, write_sound
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor
from torch.nn import functional as F

from exporter.errors import BadInputError, UsageError
from exporter.inference.features.types import FeatureFiles, FeatureRequest, FeaturesResult, VideoFeatures
from exporter.inference.predictions import VideoFailure
from exporter.inference.types import ClipOptions, InferenceOptions
from exporter.requests import ExportRequest
from exporter.types import FormatName
from exporter.workflows.export import export
from exporter.workflows.features import features, open_features, write_features
from models.builder import build

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"
TOLERANCE = 1e-4
"""Of the largest feature: float32 arithmetic on clips whose values reach 165."""
POOLS = {"conv1": (1, 2, 2), "conv2": (2, 2, 2), "conv3b": (2, 2, 2), "conv4b": (2, 2, 2)}


def plain_fc6(state: Mapping[str, Tensor], clips: Tensor) -> Tensor:
    """C3D as its paper draws it, down to the ReLU after fc6, in functions of PyTorch; pool5 has the margin of its ports."""
    values = clips
    for name in ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"):
        values = F.relu(F.conv3d(values, state[f"{name}.weight"].double(), state[f"{name}.bias"].double(), padding=1))
        if name in POOLS:
            values = F.max_pool3d(values, POOLS[name])
    values = F.max_pool3d(values, 2, padding=(0, 1, 1)).flatten(1)
    return F.relu(F.linear(values, state["fc6.weight"].double(), state["fc6.bias"].double()))


def expected_fc6(frames: NDArray[np.uint8], starts: Sequence[int]) -> NDArray[np.float64]:
    """The features of clips of 16 frames, by jfzhang95's steps."""
    windows = np.stack([cv2.resize(frame, (171, 128))[8:120, 30:142, ::-1] for frame in frames])
    clips = np.stack([windows[start : start + 16] for start in starts]).astype(np.float64) - (90, 98, 102)
    state = build(NARROW).network.state_dict()
    return plain_fc6(state, torch.from_numpy(clips.transpose(0, 4, 1, 2, 3).copy())).numpy()


def request(model: Path, *videos: Path | str, step: int = 8, **more: object) -> FeatureRequest:
    inference = InferenceOptions(preprocess=PROFILE)
    return replace(FeatureRequest(model, videos, ("fc6",), inference, ClipOptions(16, step)), **more)


def assert_equal(found: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def read(result: FeaturesResult, name: str) -> NDArray[np.float32]:
    return np.load(Path(result.output) / f"{name}.npy", allow_pickle=False)


@needs_ffmpeg
def test_features_of_a_real_clip_equal_ffmpeg_opencv_and_pytorch(
    small_video_model: SmallVideoModel, tmp_path: Path
) -> None:
    result = write_features(request(small_video_model.onnx, BIKES), FeatureFiles(tmp_path))
    expected = expected_fc6(decode_with_ffmpeg(BIKES, 272, 640), (0, 8, 16))
    assert_equal(read(result, "bikes"), expected)
    assert result.layers == {"fc6": (8,)}
    with (tmp_path / "bikes.csv").open(newline="") as stream:
        assert [int(line["last"]) for line in csv.DictReader(stream)] == [15, 23, 31]


def test_the_iterator_gives_what_the_files_hold(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = request(small_video_model.onnx, *short_videos)
    result = write_features(asked, FeatureFiles(tmp_path))
    yielded = list(features(asked))
    assert [video.source for video in yielded] == [str(path) for path in short_videos]
    for video, name, clips in zip(yielded, "ab", (4, 3), strict=True):
        assert isinstance(video, VideoFeatures)
        np.testing.assert_array_equal(video.features["fc6"], read(result, name))
        assert [row.first for row in video.rows] == [8 * number for number in range(clips)]
        np.testing.assert_array_equal(video.rows[-1].features["fc6"], video.features["fc6"][-1])
    (mean,) = features(replace(asked, videos=asked.videos[:1], aggregate="mean"))
    assert isinstance(mean, VideoFeatures)
    clips_mean = read(result, "a").mean(axis=0, dtype=np.float64)
    assert_equal(mean.features["fc6"][0], clips_mean / np.linalg.norm(clips_mean))


def test_torchscript_gives_the_same_features(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]
) -> None:
    (onnx,) = features(request(small_video_model.onnx, short_videos[1]))
    (torchscript,) = features(request(small_video_model.torchscript, short_videos[1]))
    assert isinstance(onnx, VideoFeatures)
    assert isinstance(torchscript, VideoFeatures)
    assert_equal(torchscript.features["fc6"], onnx.features["fc6"].astype(np.float64))


def test_a_run_that_the_caller_ends_early_loses_nothing(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = request(small_video_model.onnx, *short_videos)
    files = FeatureFiles(tmp_path, "parquet")
    with open_features(asked, files) as run:
        next(iter(run))
        assert [video.name for video in run.result().videos] == ["a"]
    with open_features(asked, files) as run:
        assert (run.total, run.kept, run.result().videos) == (2, 1, ())
    assert pq.read_table(tmp_path / "features.parquet")["clip"].to_pylist() == [0, 1, 2, 3]
    write_features(asked, files)
    assert pq.read_table(tmp_path / "features.parquet").num_rows == 7


def test_decoding_stops_with_the_iterator(small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]) -> None:
    import threading

    run = features(request(small_video_model.onnx, *short_videos))
    next(run)
    run.close()
    assert "decoder" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    "kind", [pytest.param("openvino", marks=needs_openvino), pytest.param("pt2", marks=pytest.mark.heavy)]
)
def test_the_other_formats_return_the_features_that_onnx_returns(
    kind: FormatName, small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    wanted = ExportRequest((kind,), NARROW, ("logits", "fc6"), output_dir=tmp_path, verify=False)
    artifact = export(wanted).artifacts[0].path
    found, expected = (
        write_features(request(model, short_videos[0]), FeatureFiles(tmp_path / name))
        for name, model in (("found", artifact), ("expected", small_video_model.onnx))
    )
    assert_equal(read(found, "a"), read(expected, "a").astype(np.float64))
    advice = rf'{artifact.name} does not return fc7.*\("{kind}",\).*outputs=\("logits", "fc6", "fc7"\)'
    with pytest.raises(UsageError, match=advice):
        write_features(request(artifact, short_videos[0], layers=("fc7",)), FeatureFiles(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_layer_that_the_artifact_lacks(
    kind: str, small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    model: Path = getattr(small_video_model, kind)
    advice = rf'does not return fc7; it returns logits, fc6.*\("{kind}",\).*outputs=\("logits", "fc6", "fc7"\)'
    with pytest.raises(UsageError, match=advice):
        write_features(request(model, *short_videos, layers=("fc7",)), FeatureFiles(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="Its network can return .*fc7"):
        write_features(request(model, *short_videos, layers=("fc8",)), FeatureFiles(tmp_path / "out"))


def test_several_layers_and_maps(short_videos: tuple[Path, Path], tmp_path: Path) -> None:
    export(ExportRequest(("onnx",), NARROW, ("pool5", "fc6"), output_dir=tmp_path, verify=False))
    asked = request(tmp_path / "c3d.onnx", short_videos[0], layers=("fc6", "pool5"))
    write_features(asked, FeatureFiles(tmp_path / "npy"))
    assert np.load(tmp_path / "npy" / "a.pool5.npy").shape == (4, 16, 1, 4, 4)
    write_features(asked, FeatureFiles(tmp_path / "parquet", "parquet"))
    table = pq.read_table(tmp_path / "parquet" / "features.parquet")
    assert table.column_names[-2:] == ["fc6", "pool5"]
    np.testing.assert_array_equal(
        np.array(table["pool5"].to_pylist(), np.float32).reshape(4, 16, 1, 4, 4),
        np.load(tmp_path / "npy" / "a.pool5.npy"),
    )
    write_features(asked, FeatureFiles(tmp_path / "c3d", "c3d"))
    names = sorted(path.name for path in (tmp_path / "c3d" / "a").iterdir())
    assert names[:3] == ["000000.fc6-1", "000000.pool5", "000008.fc6-1"]


def test_frames_of_images_count_from_1_in_facebooks_format(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(24):
        cv2.imwrite(str(folder / f"{number:04d}.png"), np.full((48, 64, 3), number, np.uint8))
    asked = request(small_video_model.onnx, folder, folder / "%04d.png")
    write_features(asked, FeatureFiles(tmp_path / "out", "c3d"))
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").glob("frames*/*"))
    assert len(made) == 4
    assert {Path(path).name for path in made} == {"000001.fc6-1", "000009.fc6-1"}


def test_an_artifact_with_preprocessing_inside_gives_the_same_features(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    inside = replace(NARROW, preprocess=PROFILE)
    export(ExportRequest(("onnx",), inside, ("fc6",), output_dir=tmp_path, verify=False, with_preprocess=True))
    asked = request(tmp_path / "c3d.onnx", *short_videos, inference=InferenceOptions())
    for video, other in zip(features(asked), features(request(small_video_model.onnx, *short_videos)), strict=True):
        assert isinstance(video, VideoFeatures)
        assert isinstance(other, VideoFeatures)
        assert_equal(video.features["fc6"], other.features["fc6"].astype(np.float64))


def test_another_tools_model_that_does_not_state_its_shapes(short_videos: tuple[Path, Path], tmp_path: Path) -> None:
    clip = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 112, 112])
    mean = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "t", "h", "w"])
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["x"], ["y"])], "g", [clip], [mean])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    result = write_features(
        request(tmp_path / "m.onnx", short_videos[0], layers=("y",)), FeatureFiles(tmp_path / "out")
    )
    assert result.layers == {"y": (3, 1, 1, 1)}
    assert read(result, "a").shape == (4, 3, 1, 1, 1)


def test_a_checkpoint_is_exported_with_the_layer_first(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    torch.save(small_video_model.built.network.float().state_dict(), tmp_path / "weights.pth")
    asked = request(tmp_path / "weights.pth", *short_videos)
    result = write_features(asked, FeatureFiles(tmp_path / "out"))
    assert any("pool5" in note for note in result.notes)
    assert not any("--labels" in note for note in result.notes)  # `features` has no such option
    for video, name in zip(features(request(small_video_model.onnx, *short_videos)), "ab", strict=True):
        assert isinstance(video, VideoFeatures)
        assert_equal(read(result, name), video.features["fc6"].astype(np.float64))
    again = write_features(asked, FeatureFiles(tmp_path / "out"))
    assert [video.kept for video in again.videos] == [True, True]


def test_bad_videos_are_failures_and_the_others_are_done(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "truncated.mp4").write_bytes(BIKES.read_bytes()[:5000])
    bad = [
        write_sound(tmp_path / "sound.mp3"),
        tmp_path / "text.mp4",
        tmp_path / "truncated.mp4",
        tmp_path / "gone.mp4",
    ]
    asked = request(small_video_model.onnx, *bad, short_videos[0])
    result = write_features(asked, FeatureFiles(tmp_path / "out"))
    assert {failure.source for failure in result.failures} == {str(path) for path in bad}
    assert (result.exit_code, [video.name for video in result.videos]) == (3, ["a"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".run", "a.csv", "a.npy", "features.json"]
    assert sum(isinstance(video, VideoFailure) for video in features(asked)) == 4
    with pytest.raises(BadInputError, match="nothing"):
        write_features(request(small_video_model.onnx, tmp_path / "nothing" / "*.mp4"), FeatureFiles(tmp_path / "out"))


def test_a_network_that_returns_nan_is_a_failure(short_videos: tuple[Path, Path], tmp_path: Path) -> None:
    model = build(NARROW)
    with torch.no_grad():
        model.network.get_parameter("fc6.bias")[0] = float("nan")
    export(ExportRequest(("onnx",), model, ("fc6",), output_dir=tmp_path, name="nan", verify=False))
    result = write_features(request(tmp_path / "nan.onnx", *short_videos), FeatureFiles(tmp_path / "out"))
    assert (result.exit_code, len(result.failures), result.videos) == (1, 2, ())
    assert not list((tmp_path / "out").glob("*.npy"))


def test_a_short_video_is_repeated_or_skipped(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    video = write_colours(tmp_path / "short.mkv", 5)
    asked = request(small_video_model.onnx, video)
    (repeated,) = write_features(asked, FeatureFiles(tmp_path / "repeat")).videos
    assert (repeated.rows, (tmp_path / "repeat" / "short.csv").read_text().splitlines()[1].split(",")[-1]) == (1, "11")
    skipped = write_features(replace(asked, clips=ClipOptions(16, 8, short="skip")), FeatureFiles(tmp_path / "skip"))
    assert (skipped.videos[0].rows, skipped.videos[0].files, skipped.exit_code) == (0, (), 0)
    (in_memory,) = features(replace(asked, clips=ClipOptions(16, 8, short="skip")))
    assert isinstance(in_memory, VideoFeatures)
    assert in_memory.features["fc6"].shape == (0, 8)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"videos": ()}, "name a video"),
        ({"layers": ()}, "layer"),
        ({"layers": ("fc6", "fc6")}, "layer"),
        ({"aggregate": "median"}, "aggregate 'median'"),
    ],
)
def test_requests_that_make_no_sense(
    small_video_model: SmallVideoModel, more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        write_features(request(small_video_model.onnx, BIKES, **more), FeatureFiles(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
