"""In-place ReLUs: only where nothing reads the input, or a view of it, afterwards."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from exporter.formats.inplace_relu import use_inplace_relus
from exporter.formats.torchscript_variants import script_and_freeze


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, kernel_size=3, padding=1)
        self.second = nn.Conv2d(3, 3, kernel_size=3, padding=1)
        self.relu = nn.ReLU()


class Chain(Convolutions):
    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(functional.relu(self.first(x))))


class PostActivation(Convolutions):
    """ResNet's block: the ReLU's result is used twice, its input once."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.first(x))
        return self.relu(self.second(y) + y)


class PreActivation(Convolutions):
    """ResNet v2's block: the ReLU's input is used again by the sum."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return y + self.second(self.relu(y))


class ViewIsUsed(Convolutions):
    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        rows = y.flatten(2)
        return self.relu(y).flatten(2) * rows


class UsedInBranch(Convolutions):
    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.relu(y)
        if x.size(0) > 1:
            z = z + y
        return z


class InputIsReturned(Convolutions):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.first(x)
        return self.relu(y), y


class OfTheArgument(Convolutions):
    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.relu(x.transpose(2, 3)))


class UsedBefore(Convolutions):
    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.second(y)
        return z + self.relu(y)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("network", "inplace"),
    [
        (Chain, 2),
        (PostActivation, 2),
        (UsedBefore, 1),
        (PreActivation, 0),
        (ViewIsUsed, 0),
        (UsedInBranch, 0),
        (InputIsReturned, 0),
        (OfTheArgument, 0),
    ],
)
def test_a_relu_is_in_place_only_where_its_input_is_not_needed(network: type[Convolutions], inplace: int) -> None:
    torch.manual_seed(0)
    module = network().eval().requires_grad_(requires_grad=False)
    script = script_and_freeze(copy.deepcopy(module))
    use_inplace_relus(script)
    assert str(script.graph).count("aten::relu_(") == inplace
    x = torch.randn(2, 3, 8, 8)
    before = x.clone()
    with torch.inference_mode():
        expected = module(x)
        for _ in range(3):  # the second call of a script runs an optimised graph
            found = script(x)
            for output, wanted in zip(*((v if isinstance(v, tuple) else (v,)) for v in (found, expected)), strict=True):
                torch.testing.assert_close(output, wanted, rtol=0, atol=1e-6)
    assert torch.equal(x, before)
