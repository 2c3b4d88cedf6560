"""From a built network to the module that every format writes: BatchNorm folded away, the wanted outputs in order."""

import copy
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.c3d import C3D
from models.config import BATCH_NORMS, OUTPUTS, Output


def fold_batch_norm(network: C3D) -> C3D:
    """Return a network without BatchNorm that computes the same function; other tensors are shared, not copied.

    Given y = gamma * (W x + b - mean) / sqrt(var + eps) + beta, the folded convolution has
    W' = W * gamma / sqrt(var + eps) and b' = (b - mean) * gamma / sqrt(var + eps) + beta. Folding is computed in
    float64, so that it costs one rounding of each weight. Source: `torch.nn.utils.fusion`.
    """
    if not network.config.batch_norm:
        return network
    config = network.config
    with torch.device("meta"):
        folded = C3D(config.num_classes, pool5=config.pool5)
    state = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("fc")}
    for conv_name, norm_name in BATCH_NORMS.items():
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv3d)
        assert isinstance(norm, nn.BatchNorm3d)
        fused = fuse_conv_bn_eval(copy.deepcopy(conv).double(), copy.deepcopy(norm).double()).float()
        assert fused.bias is not None
        state[f"{conv_name}.weight"] = fused.weight.detach()
        state[f"{conv_name}.bias"] = fused.bias.detach()
    folded.load_state_dict(state, assign=True)
    return folded.eval().requires_grad_(requires_grad=False)


def select_outputs(network: C3D, outputs: tuple[Output, ...]) -> nn.Module:
    """Return a module (N, 3, 16, 112, 112) -> the wanted outputs: a tensor if it is one, otherwise a tuple in order.

    What the outputs do not need is dead code in it, which every format drops along with its weights.
    """
    kinds = (_SelectOutputs1, _SelectOutputs2, _SelectOutputs3, _SelectOutputs4)
    return kinds[len(outputs) - 1](fold_batch_norm(network), *(OUTPUTS.index(name) for name in outputs)).eval()


class _SelectOutputs(nn.Module):
    """TorchScript wants every return type written out, so there is one class for each number of outputs."""

    first: Final[int]
    second: Final[int]
    third: Final[int]
    fourth: Final[int]

    def __init__(self, network: C3D, *order: int) -> None:
        super().__init__()
        self.network = network
        self.first, self.second, self.third, self.fourth = (*order, 0, 0, 0)[:4]

    def answers(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return every output, in the order of `models.config.OUTPUTS`."""
        fc6, fc7, logits = self.network.forward_features(clip)
        return logits, fc6, fc7, torch.softmax(logits, dim=1)


class _SelectOutputs1(_SelectOutputs):
    def forward(self, clip: Tensor) -> Tensor:
        return self.answers(clip)[self.first]


class _SelectOutputs2(_SelectOutputs):
    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        every = self.answers(clip)
        return every[self.first], every[self.second]


class _SelectOutputs3(_SelectOutputs):
    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        every = self.answers(clip)
        return every[self.first], every[self.second], every[self.third]


class _SelectOutputs4(_SelectOutputs):
    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        every = self.answers(clip)
        return every[self.first], every[self.second], every[self.third], every[self.fourth]
