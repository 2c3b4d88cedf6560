"""A network of two convolutions, which torch compiles and traces in a tenth of a second."""

import torch

from models.built_model import BuiltModel
from models.specs import ConvHint, OutputSpec, TensorSpec


class PreActivation(torch.nn.Module):
    """A residual block whose ReLU's input is used again, by the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv3d(3, 8, kernel_size=3, padding=1)
        self.conv2 = torch.nn.Conv3d(8, 8, kernel_size=3, padding=1)
        self.relu = torch.nn.ReLU()

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """(N, 3, 4, 8, 8) -> (N, 8, 4, 8, 8)."""
        x = self.conv1(volume)
        return x + self.conv2(self.relu(x))


def residual_network() -> BuiltModel:
    """Return the block, whose convolutions Winograd's method can compute."""
    torch.manual_seed(0)
    return BuiltModel(
        network=PreActivation().eval().requires_grad_(requires_grad=False),
        input=TensorSpec("volume", "float32", ("batch", 3, 4, 8, 8)),
        outputs=(OutputSpec("features", (8, 4, 8, 8), "features"),),
        conv_hints={"conv1": ConvHint((2, 4)), "conv2": ConvHint((2, 4))},
    )
