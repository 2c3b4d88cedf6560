"""From a built network to the module that every format writes: the selected outputs, in order."""

from torch import nn

from exporter.errors import UsageError
from models.built_model import BuiltModel
from models.select_outputs import select


def select_outputs(model: BuiltModel, names: tuple[str, ...]) -> nn.Module:
    """Return a module that takes the network's input and returns the outputs `names`, in order.

    It returns a tensor if there is one output, otherwise a tuple. Batch normalisation is folded where the network
    knows how. What the outputs do not need is dead code in it, which every format drops along with its weights.

    Raises:
        UsageError: the network has no such output, or more than six are selected of a network that has still more.
    """
    every = [output.name for output in model.outputs]
    indices = tuple(every.index(output.name) for output in model.select(names))
    network = model.fuse() if model.fuse is not None else model.forward_all or model.network
    try:
        return select(network, indices, len(every))
    except ValueError as error:
        raise UsageError(str(error)) from error


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
