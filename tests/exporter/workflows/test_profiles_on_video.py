"""From a video file to a network's outputs with each profile, against its origin's steps and the network in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.framed import CLIP_SIZE, small
from helpers.profile_origins import ORIGINS, Clip, Frames
from helpers.videos import moving, write_video

from exporter.inference.pipeline import run_videos
from exporter.inference.types import ClipOptions, ClipOutputs, InferenceOptions
from exporter.requests import ExportRequest
from exporter.video.sources import expand_sources
from exporter.workflows.export import export
from exporter.workflows.video_inputs import plan_sampling
from exporter.workflows.video_model import open_model
from models.preprocessing.profiles import UNKNOWN
from models.preprocessing.recipe import Preprocessing

COUNT, HEIGHT, WIDTH = 40, 90, 124
FRAMES = moving(COUNT, HEIGHT, WIDTH)
STARTS: dict[str, tuple[Sequence[int], int]] = {
    "caffe-sports1m": ((0, 16, 32), 1),
    "c3d-keras": ((0, 16, 32), 1),
    "jfzhang95": (range(39), 1),
    "davidea": (range(0, 40, 2), 1),
    "mmaction2": ((0, 4, 8, 13, 17, 21, 25, 30, 34, 38), 1),  # SampleFrames of 10 clips, test mode: 38 / 9 apart
    "ekosman": ((0, 16, 32), 1),
    "hx173149": (range(0, 40, 2), 1),
    "gluoncv": ((18,), 2),  # the middle: (40 - 3) // 2
}
"""{profile: the clips' first frames, and the step between a clip's two frames}, as the origins take them; those that
take one clip by hand or at random go over the video without an overlap."""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network without a profile, and a lossless video beside it."""
    folder = tmp_path_factory.mktemp("profiles")
    export(ExportRequest(("onnx",), small(UNKNOWN), output_dir=folder, name="small", verify=False))
    write_video(folder / "video.mkv", FRAMES)
    return folder / "small.onnx"


@pytest.mark.parametrize(("profile", "origin"), [row[:2] for row in ORIGINS], ids=[row[0].name for row in ORIGINS])
def test_a_video_gets_the_outputs_of_its_origins_frames(
    artifact: Path, profile: Preprocessing, origin: Callable[[Frames], Clip]
) -> None:
    starts, step = STARTS[profile.name]
    with open_model(artifact, InferenceOptions(preprocess=profile.name)) as model:
        sampling = plan_sampling(CLIP_SIZE[0], model.preprocessing, ClipOptions())
        sources = expand_sources([artifact.with_name("video.mkv")])
        found = [item for item in run_videos(model, sources, sampling) if isinstance(item, ClipOutputs)]
    assert [(clip.first, clip.last) for clip in found] == [(start, start + step) for start in starts]
    network = small(UNKNOWN).network.double()
    for clip in found:
        values = origin(FRAMES[[clip.first, clip.last]]).transpose(3, 0, 1, 2)
        expected = network(torch.from_numpy(np.ascontiguousarray(values))[None])[0][0].numpy()
        assert np.abs(clip.outputs["scores"] - expected).max() <= 1e-5 * np.abs(expected).max()
