"""A network that computes in bfloat16 and takes and returns float32, as a module that torch scripts and exports.

Convolutions and linear layers hold bfloat16 weights and convert their input, so that what is between them, activations
and pools, computes in bfloat16 too. A layer that is raised keeps float32 and converts its input to that. Convolutions
are in channels-last order: torch takes more than twice as long for them in the other.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.artifacts.manifest_fields import RAISED_LAYERS, WEIGHT_DTYPE
from exporter.engines.base import RuntimeOptions
from exporter.engines.pytorch import PyTorchRuntime, network_prefix
from exporter.errors import UsageError
from exporter.formats.base import WriteRequest
from exporter.formats.export_module import select_outputs
from exporter.formats.held_out import HeldOut
from exporter.formats.torchscript_variants import make_variant
from exporter.passes.raise_layers import NONE_RAISED, Raised, raise_layers
from exporter.system import BFLOAT16_INSTRUCTIONS, cpu_features
from models.built_model import BuiltModel


class CastConv3d(nn.Conv3d):
    """A convolution that converts its input to the dtype of its weight."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gave it
        """(N, C, T, H, W) -> (N, K, T', H', W')."""
        return self._conv_forward(input.to(self.weight.dtype), self.weight, self.bias)


class CastConv2d(nn.Conv2d):
    """A convolution that converts its input to the dtype of its weight."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gave it
        """(N, C, H, W) -> (N, K, H', W')."""
        return self._conv_forward(input.to(self.weight.dtype), self.weight, self.bias)


class CastLinear(nn.Linear):
    """A linear layer that converts its input to the dtype of its weight."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gave it
        """(N, C) -> (N, K)."""
        return F.linear(input.to(self.weight.dtype), self.weight, self.bias)


CASTING: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv3d: CastConv3d,
    nn.Conv2d: CastConv2d,
    nn.Linear: CastLinear,
}
"""{layer: the same layer with a conversion in front}."""


class _Outputs(nn.Module):
    """TorchScript needs every return type written out, so there is one class for each number of outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class _Outputs1(_Outputs):
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).float()


class _Outputs2(_Outputs):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.network(x)
        return a.float(), b.float()


class _Outputs3(_Outputs):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, c = self.network(x)
        return a.float(), b.float(), c.float()


class _Outputs4(_Outputs):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a, b, c, d = self.network(x)
        return a.float(), b.float(), c.float(), d.float()


class _Outputs5(_Outputs):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        a, b, c, d, e = self.network(x)
        return a.float(), b.float(), c.float(), d.float(), e.float()


class _Outputs6(_Outputs):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        a, b, c, d, e, f = self.network(x)
        return a.float(), b.float(), c.float(), d.float(), e.float(), f.float()


_BY_COUNT = (_Outputs1, _Outputs2, _Outputs3, _Outputs4, _Outputs5, _Outputs6)


def to_bfloat16(module: nn.Module, model: BuiltModel, outputs: int, raised: frozenset[str] = frozenset()) -> nn.Module:
    """Return the module with its layers in bfloat16 but for those in `raised`; the module is not changed.

    Args:
        module: a float32 module that `exporter.formats.export_module.select_outputs` returned.
        model: the network it computes.
        outputs: how many it returns.
        raised: names of layers that compute in float32.

    Raises:
        UsageError: it returns more than six outputs.
    """
    if not 0 < outputs <= len(_BY_COUNT):
        raise UsageError(f"--precision bf16: at most {len(_BY_COUNT)} outputs (got {outputs}); name fewer by --outputs")
    made = copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})
    for name, layer in _layers(made, model).items():
        layer.__class__ = CASTING[type(layer)]  # the same attributes under another forward
        if name not in raised:
            for key, value in layer.named_parameters(recurse=False):
                setattr(layer, key, nn.Parameter(value.detach().to(torch.bfloat16), requires_grad=False))
    return _BY_COUNT[outputs - 1](made).eval()


def _layers(module: nn.Module, model: BuiltModel) -> dict[str, nn.Module]:
    """Return {name in the network: layer} of every convolution and linear layer, in the order of definition."""
    prefix = network_prefix(module, model)
    return {name.removeprefix(prefix): layer for name, layer in module.named_modules() if type(layer) in CASTING}


def search(model: BuiltModel, request: WriteRequest) -> Iterator[Raised]:
    """Yield which layers must stay in float32 for the accuracy that is asked for, the fewest first.

    It is measured on the held-out clips in eager torch; without clips no layer is raised.

    Args:
        model: the network.
        request: the precision asked for, the clips, the outputs.
    """
    clip_model = model.without_preprocessing or model
    module = select_outputs(clip_model, request.outputs)
    required = request.precision.required_snr
    if request.clips is None or required is None:
        yield NONE_RAISED
        return
    held_out = HeldOut(clip_model, request.outputs, request.clips.held_out, request.progress)
    described = clip_model.select(request.outputs)

    def measure(raised: frozenset[str]) -> float:
        made = to_bfloat16(module, clip_model, len(described), raised)
        network = BuiltModel(made, clip_model.input, described)
        with PyTorchRuntime(network, "float32", RuntimeOptions()) as runtime:
            return held_out.lowest_snr(runtime)

    yield from raise_layers(list(_layers(module, clip_model)), measure, required, request.progress, request.finished)


def speed_notes(name: str) -> tuple[str, ...]:
    """Return a note where float32 is, or may be, faster on this processor than bfloat16.

    AVX-512's own instructions multiply bfloat16 twice as fast as float32, AMX many times as fast; Winograd's method
    saves more than half of the time in float32. benchmarks/results/winograd.md has the times on an AMD EPYC.

    Args:
        name: the format, for the message.
    """
    features = cpu_features()
    if not features & BFLOAT16_INSTRUCTIONS:
        return (f"{name}: this processor has no bfloat16 instructions, so bf16 is slower here than fp32",)
    if "avx512_bf16" in features and "amx_bf16" not in features:
        return (
            f"{name}: this processor has AVX-512 BF16 but no AMX: --precision fp32 --target cpu may be faster here "
            "than bf16, and is more accurate; c3d-export bench --all measures both",
        )
    return ()


@dataclass(frozen=True)
class Bfloat16:
    """A way to compute in bfloat16.

    Attributes:
        name: what messages call it: `bfloat16`, or `bfloat16 with fc8 in float32`.
        module: takes and returns float32.
        options: what the manifest records of it.
    """

    name: str
    module: nn.Module
    options: dict[str, str | list[str]]


def make_candidates(model: BuiltModel, request: WriteRequest) -> Iterator[Bfloat16]:
    """Yield the network in bfloat16, with the fewest layers in float32 that the accuracy asked for needs, then more."""
    module = select_outputs(model, request.outputs)
    for raised in search(model, request):
        kept = ", ".join(row.layer for row in raised.rows)
        made = to_bfloat16(module, model, len(request.outputs), raised.layers)
        options: dict[str, str | list[str]] = {WEIGHT_DTYPE: "bf16"}
        if kept:
            options[RAISED_LAYERS] = raised.entries("fp32")
        yield Bfloat16(
            f"bfloat16 with {kept} in float32" if kept else "bfloat16",
            make_variant(made, model, "channels_last"),
            options,
        )
