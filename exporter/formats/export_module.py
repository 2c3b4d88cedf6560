"""From a built network to the module that every format writes: the selected outputs, in order."""

from typing import Final

from torch import Tensor, nn

from exporter.errors import UsageError
from models.built_model import BuiltModel


def select_outputs(model: BuiltModel, names: tuple[str, ...]) -> nn.Module:
    """Return a module that takes the network's input and returns the outputs `names`, in order.

    It returns a tensor if there is one output, otherwise a tuple. Batch normalisation is folded where the network
    knows how. What the outputs do not need is dead code in it, which every format drops along with its weights.

    Raises:
        UsageError: the network has no such output, or more than four are selected of a network that has still more.
    """
    every = [output.name for output in model.outputs]
    indices = [every.index(output.name) for output in model.select(names)]
    network = model.fuse() if model.fuse is not None else model.forward_all or model.network
    if indices == list(range(len(every))):
        return network
    if len(indices) > len(_BY_COUNT):
        raise UsageError(f"at most {len(_BY_COUNT)} of {len(every)} outputs can be selected; or select all, in order")
    return _BY_COUNT[len(indices) - 1](network, *indices).eval()


def network_prefix(module: nn.Module, model: BuiltModel) -> str:
    """Return what the names of the network's own modules begin with inside an exported module: ``, or `network.`."""
    kind = type(model.network)
    inside = next((name for name, inner in module.named_modules() if type(inner) is kind), "")
    return f"{inside}." if inside else ""


def find_layer(module: nn.Module, layer: str) -> tuple[nn.Module, str]:
    """Return the parent of a network's layer inside an exported module, and the layer's name there.

    Args:
        module: a module that `select_outputs` returned; it contains the network.
        layer: its name in the network: `conv1`, `layer1.conv`.

    Raises:
        KeyError: there is none.
    """
    for name, _ in module.named_modules():
        if name == layer or name.endswith(f".{layer}"):
            parent, _, last = name.rpartition(".")
            return module.get_submodule(parent), last
    raise KeyError(layer)


class _SelectOutputs(nn.Module):
    """TorchScript needs every return type written out, so there is one class for each number of outputs."""

    first: Final[int]
    second: Final[int]
    third: Final[int]
    fourth: Final[int]

    def __init__(self, network: nn.Module, *indices: int) -> None:
        super().__init__()
        self.network = network
        self.first, self.second, self.third, self.fourth = (*indices, 0, 0, 0)[:4]


class _SelectOutputs1(_SelectOutputs):
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[self.first]


class _SelectOutputs2(_SelectOutputs):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.network(x)
        return outputs[self.first], outputs[self.second]


class _SelectOutputs3(_SelectOutputs):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs = self.network(x)
        return outputs[self.first], outputs[self.second], outputs[self.third]


class _SelectOutputs4(_SelectOutputs):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        outputs = self.network(x)
        return outputs[self.first], outputs[self.second], outputs[self.third], outputs[self.fourth]


_BY_COUNT = (_SelectOutputs1, _SelectOutputs2, _SelectOutputs3, _SelectOutputs4)
