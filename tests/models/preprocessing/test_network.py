"""A network with its preprocessing inside: the same outputs for frames of any size, scripted and frozen too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.framed import CLIP_SIZE, small
from helpers.profile_origins import ORIGINS, Clip, Frames
from torch import Tensor

from models.errors import UsageError
from models.preprocessing.network import with_preprocessing
from models.preprocessing.profiles import CAFFE, JFZHANG95, UNKNOWN
from models.preprocessing.recipe import Preprocessing
from models.specs import TensorSpec

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


def draw(height: int, width: int, batch: int = 1) -> Frames:
    return np.random.default_rng(height * width).integers(0, 256, (batch, 2, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("profile", "origin", "_tolerance"), ORIGINS, ids=lambda value: getattr(value, "name", ""))
def test_scripted_and_frozen_it_returns_the_networks_outputs_for_the_origins_clip(
    profile: Preprocessing, origin: Callable[[Frames], Clip], _tolerance: float
) -> None:
    model = small(profile)
    script: Any = torch.jit.freeze(torch.jit.script(with_preprocessing(model).forward_all))
    float64 = small(profile).network.double()
    for height, width in ((240, 320), (213, 127), (61, 33)):
        frames = draw(height, width)
        clip = torch.from_numpy(np.ascontiguousarray(origin(frames[0]).transpose(3, 0, 1, 2)))[None]
        for found, expected in zip(script(torch.from_numpy(frames)), float64(clip), strict=True):
            assert float((found - expected).abs().max()) <= 3e-6 * float(expected.abs().max())


def test_its_input_is_frames_and_its_outputs_and_weights_are_the_networks() -> None:
    model = small(JFZHANG95)
    inside = with_preprocessing(model)
    assert str(inside.input) == "frames uint8 (batch, 2, height, width, 3)"
    assert inside.outputs == model.outputs
    assert inside.network is model.network
    assert inside.without_preprocessing is model


def test_a_mean_cube_is_subtracted() -> None:
    cube = np.full((3, *CLIP_SIZE), 7, np.float32)
    frames = torch.from_numpy(draw(128, 171))
    with_cube, with_means = (
        with_preprocessing(replace(small(CAFFE), mean_cube=mean)).forward_all for mean in (cube, None)
    )
    assert with_cube is not None
    assert with_means is not None
    clips = [module.preprocess(frames) for module in (with_cube, with_means)]  # pyright: ignore[reportCallIssue]
    shift = torch.tensor([mean - 7 for mean in CAFFE.mean]).reshape(1, 3, 1, 1, 1)
    torch.testing.assert_close(clips[0] - clips[1], shift.expand_as(clips[0]), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(1, 2, 240, 320, 3),
        torch.zeros(1, 3, 2, 240, 320, dtype=torch.uint8),
        torch.zeros(2, 240, 320, 3, dtype=torch.uint8),
        torch.zeros(1, 2, 0, 320, 3, dtype=torch.uint8),
    ],
    ids=["float", "channels first", "no batch", "no rows"],
)
def test_other_inputs_are_refused_by_the_script_with_what_is_expected(frames: Tensor) -> None:
    script: Any = torch.jit.freeze(torch.jit.script(with_preprocessing(small(CAFFE)).forward_all))
    with pytest.raises(torch.jit.Error, match=r"frames must be uint8 \(N, .*height, width, 3\)|a clip has 2 frames"):
        script(frames)


def test_another_dtype_is_named_as_the_fault() -> None:
    script: Any = torch.jit.freeze(torch.jit.script(with_preprocessing(small(CAFFE)).forward_all))
    with pytest.raises(torch.jit.Error, match="got another dtype"):
        script(torch.zeros(1, 2, 240, 320, 3))


def test_another_number_of_frames_is_refused_with_the_numbers() -> None:
    script: Any = torch.jit.freeze(torch.jit.script(with_preprocessing(small(CAFFE)).forward_all))
    with pytest.raises(torch.jit.Error, match=r"2 frames; got 3"):
        script(torch.zeros(1, 3, 240, 320, 3, dtype=torch.uint8))


def test_unknown_preprocessing_is_refused_and_the_option_named() -> None:
    with pytest.raises(UsageError, match="--preprocess NAME"):
        with_preprocessing(small(UNKNOWN))
    with pytest.raises(UsageError, match="takes no RGB video"):
        with_preprocessing(small(None))
    grey = replace(small(CAFFE), input=TensorSpec("clip", "float32", ("batch", 1, *CLIP_SIZE)))
    with pytest.raises(UsageError, match=r"takes clip float32 \(batch, 1, 2, 112, 112\)"):
        with_preprocessing(grey)
