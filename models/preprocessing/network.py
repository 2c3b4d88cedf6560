"""A network with its preprocessing inside: it takes decoded frames of any size instead of clips."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.errors import UsageError
from models.preprocessing.module import PreprocessingModule
from models.preprocessing.profiles import UNKNOWN
from models.preprocessing.recipe import COLOURS
from models.specs import frames_input

if TYPE_CHECKING:
    from models.built_model import BuiltModel


class PreprocessedNetwork(nn.Module):
    """The preprocessing that makes clips, followed by a module of clips.

    Args:
        preprocess: the preprocessing.
        network: takes a clip (N, 3, T, h, w) and returns a tensor or a tuple of tensors.
    """

    def __init__(self, preprocess: PreprocessingModule, network: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.network = network

    # without an annotation of what it returns, which TorchScript takes from the network
    def forward(self, frames: Tensor):
        """Return what the network returns for frames (N, T, H, W, 3), uint8, RGB, of any height and width.

        Raises:
            ValueError: not such frames.
        """
        return self.network(self.preprocess(frames))


def with_preprocessing(model: BuiltModel) -> BuiltModel:
    """Return a model that takes `frames` uint8 (N, T, height, width, 3) and returns what `model` returns.

    Its `network` is the same; `forward_all` and `fuse` have the preprocessing in front.

    Raises:
        UsageError: the model takes no video, or how its frames are preprocessed is not known.
    """
    profile = model.preprocessing
    if profile is None:
        raise UsageError(f"--with-preprocess: {model.title} takes no RGB video, so there is nothing to preprocess")
    if profile.name == UNKNOWN.name:
        raise UsageError(
            "--with-preprocess: how frames are preprocessed for these weights is not known; say it with "
            "--preprocess NAME|FILE"
        )
    sizes = model.input.shape[1:]
    if len(sizes) != 4 or sizes[0] != COLOURS or not all(isinstance(size, int) for size in sizes):
        raise UsageError(f"--with-preprocess: {model.title} takes {model.input}, and profiles make (N, 3, T, h, w)")
    _, length, height, width = map(int, sizes)
    mean = None if model.mean_cube is None else torch.from_numpy(model.mean_cube)
    preprocess = PreprocessingModule(profile, (length, height, width), mean).eval()
    fuse = model.fuse

    def wrap(network: nn.Module) -> nn.Module:
        return PreprocessedNetwork(preprocess, network).eval().requires_grad_(requires_grad=False)

    return replace(
        model,
        input=frames_input(model.input),
        forward_all=wrap(model.forward_all or model.network),
        fuse=None if fuse is None else lambda: wrap(fuse()),
        without_preprocessing=model,
    )


def preprocessing_module(model: BuiltModel) -> PreprocessingModule:
    """Return the preprocessing that a model from `with_preprocessing` has inside."""
    assert isinstance(model.forward_all, PreprocessedNetwork)
    return model.forward_all.preprocess
