"""Some of a module's outputs, in another order, as a module that can be scripted."""

from typing import Final

from torch import Tensor, nn


def select(network: nn.Module, indices: tuple[int, ...], count: int) -> nn.Module:
    """Return a module that returns the outputs `indices` of `network`, in that order.

    It returns a tensor if there is one, otherwise a tuple; `network` itself where all are selected in their order.

    Args:
        network: it returns a tuple of `count` tensors, or a tensor if `count` is 1.
        indices: those to return.
        count: the number of the network's outputs.

    Raises:
        ValueError: more than `MAX_SELECTED` of still more.
    """
    if indices == tuple(range(count)):
        return network
    if not 0 < len(indices) <= MAX_SELECTED:
        raise ValueError(f"at most {MAX_SELECTED} of {count} outputs can be selected; or select all, in order")
    return _BY_COUNT[len(indices) - 1](network, *indices).eval()


class _Select(nn.Module):
    """TorchScript needs every return type written out, so there is one class for each number of outputs."""

    first: Final[int]
    second: Final[int]
    third: Final[int]
    fourth: Final[int]
    fifth: Final[int]
    sixth: Final[int]

    def __init__(self, network: nn.Module, *indices: int) -> None:
        super().__init__()
        self.network = network
        every = (*indices, *(0,) * MAX_SELECTED)
        self.first, self.second, self.third, self.fourth, self.fifth, self.sixth = every[:MAX_SELECTED]


class _Select1(_Select):
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[self.first]


class _Select2(_Select):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.network(x)
        return outputs[self.first], outputs[self.second]


class _Select3(_Select):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs = self.network(x)
        return outputs[self.first], outputs[self.second], outputs[self.third]


class _Select4(_Select):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        outputs = self.network(x)
        return outputs[self.first], outputs[self.second], outputs[self.third], outputs[self.fourth]


class _Select5(_Select):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        outputs = self.network(x)
        return outputs[self.first], outputs[self.second], outputs[self.third], outputs[self.fourth], outputs[self.fifth]


class _Select6(_Select):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        outputs = self.network(x)
        first, second, third = outputs[self.first], outputs[self.second], outputs[self.third]
        return first, second, third, outputs[self.fourth], outputs[self.fifth], outputs[self.sixth]


_BY_COUNT = (_Select1, _Select2, _Select3, _Select4, _Select5, _Select6)
MAX_SELECTED = len(_BY_COUNT)
