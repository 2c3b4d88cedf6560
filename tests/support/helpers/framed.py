"""A small network of clips with a profile, to be exported with its preprocessing inside."""

import torch
from torch import Tensor, nn

from models.built_model import BuiltModel
from models.preprocessing.recipe import Preprocessing
from models.specs import OutputSpec, TensorSpec

CLIP_SIZE = (2, 112, 112)


class Small(nn.Module):
    """A convolution and a linear layer; it returns scores and features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, (2, 9, 9), stride=(1, 8, 8))
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4 * 13 * 13, 5)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.flatten(self.relu(self.conv(clip)), 1)
        return self.fc(features), features


def small(preprocessing: Preprocessing | None) -> BuiltModel:
    """Return the network, with seeded weights."""
    torch.manual_seed(0)
    return BuiltModel(
        Small().eval().requires_grad_(requires_grad=False),
        TensorSpec("clip", "float32", ("batch", 3, *CLIP_SIZE)),
        (OutputSpec("scores", (5,)), OutputSpec("features", (676,), "features")),
        preprocessing=preprocessing,
    )
