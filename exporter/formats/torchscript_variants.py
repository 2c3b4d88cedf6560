"""The variants of a TorchScript module for CPUs, and the order in which to try them here.

* `plain`: the network as it is, frozen.
* `channels_last`: convolutions in `torch.channels_last_3d`, max pools as maxima of slices, ReLUs in place. The same
  size.
* `winograd`: the same, with the convolutions as `exporter.passes.winograd.torch_module.WinogradConv`. The transformed
  weights make the file larger.

All of them survive `torch.jit.save`. What `torch.jit.optimize_for_inference` makes does not (torch 2.13 packs weights
into what it cannot store): it is measured on the selected variant, and recorded as the way to load the file where it
is faster.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Literal

from exporter.artifacts.manifest_fields import OptionValue
from exporter.errors import UsageError
from exporter.formats.inplace_relu import use_inplace_relus
from exporter.passes.winograd.tile_shape import TileShape
from exporter.timing import RoundOptions, time_interleaved
from exporter.types import FormatName, frames_shape
from models.built_model import BuiltModel
from models.errors import first_line
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    import torch
    from torch import nn

Variant = Literal["plain", "channels_last", "winograd"]
VARIANTS: tuple[Variant, ...] = ("plain", "channels_last", "winograd")
BatchLoop = Literal["python", "map", "none"]
"""How a Winograd convolution goes through a batch: by a loop that `torch.export` unrolls for the batch of its example,
by one that it keeps, or all clips together; see `exporter.passes.winograd.torch_module.ExportableWinogradConv`."""
OPTIMIZE_FOR_INFERENCE = "optimize_for_inference"
"""What a variant can be passed through once it is loaded, among the measured names."""

VARIANT_OPTION = "variant"
"""Manifest option: the variant, one of `VARIANTS`."""
MEASURED_OPTION = "measured"
"""Manifest option: the times that decided: `plain 450 ms, …`."""
MIN_SPEEDUP = 1.05
"""How many times as fast as what it replaces a variant must be measured."""
ROUNDS = RoundOptions(min_rounds=5, max_rounds=11, budget_s=8.0, warm_up=2)
MAX_ITEMS = 4
"""Items of a batch that is measured, at most."""


@dataclass(frozen=True)
class Choice:
    """A variant to try, and the measurements that led to it.

    Attributes:
        variant: what the file holds.
        optimize_for_inference: the file should be loaded through `torch.jit.optimize_for_inference`.
        milliseconds: {variant: median of a run}, measured side by side.
        loaded: milliseconds of the variant as it is, and passed through `optimize_for_inference`.
        items: the batch size that was measured.
        sizes: bytes of the tensors of the plain variant and of this one.
    """

    variant: Variant
    optimize_for_inference: bool
    milliseconds: Mapping[str, float]
    loaded: tuple[float, float]
    items: int
    sizes: tuple[int, int]

    @property
    def name(self) -> str:
        """Return `winograd`, or `winograd through optimize_for_inference`."""
        return f"{self.variant} through {OPTIMIZE_FOR_INFERENCE}" if self.optimize_for_inference else self.variant


def rank_variants(
    module: nn.Module, model: BuiltModel, batch: int, progress: Progress = no_progress
) -> Iterator[tuple[Choice, torch.jit.ScriptModule]]:
    """Measure the variants of a module here, and yield them with their frozen scripts, the fastest first.

    A variant that `optimize_for_inference` makes faster still is yielded that way, then as it is. `plain` is the last.

    Args:
        module: a float32 module that `exporter.formats.export_module.select_outputs` returned.
        model: the network it computes.
        batch: items that will be run at once; at most `MAX_ITEMS` are measured.
        progress: called at each step.
    """
    items = min(batch, MAX_ITEMS)
    progress("torchscript: transforming weights")
    names: list[Variant] = [name for name in VARIANTS if name != "winograd" or model.conv_hints]
    scripts = {name: compile_variant(make_variant(module, model, name), name) for name in names}
    progress(f"torchscript: measuring {', '.join(names)}")
    times = measure(scripts, random_input(model, items))
    del scripts  # memory: the selected one is made again
    for variant in fastest_first(times):
        made = make_variant(module, model, variant)
        script = compile_variant(made, variant)
        progress(f"torchscript: measuring {variant} through {OPTIMIZE_FOR_INFERENCE}")
        loaded = _measure_loaded(script, compile_variant(made, variant), random_input(model, items))
        sizes = _nbytes(module), _nbytes(made)
        choice = Choice(variant, loaded[0] >= MIN_SPEEDUP * loaded[1], times, loaded, items, sizes)
        yield choice, script
        if choice.optimize_for_inference:
            yield replace(choice, optimize_for_inference=False), script


def _measure_loaded(
    script: torch.jit.ScriptModule, second: torch.jit.ScriptModule, x: torch.Tensor
) -> tuple[float, float]:
    """Measure a script, and a second one of the same module after `optimize_for_inference`, which changes it."""
    import torch

    times = measure({"as it is": script, OPTIMIZE_FOR_INFERENCE: torch.jit.optimize_for_inference(second)}, x)
    return times["as it is"], times[OPTIMIZE_FOR_INFERENCE]


def random_input(model: BuiltModel, items: int) -> torch.Tensor:
    """Return a batch of random values of the network's input shape; of one that takes frames, `EXAMPLE_FRAME_SIZE`."""
    import torch

    random = torch.Generator().manual_seed(0)
    if model.without_preprocessing is not None:
        shape = frames_shape(model.input, items)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
    shape = [int(size) for size in model.input.shape[1:]]
    return torch.rand(items, *shape, generator=random) - 0.5


def fastest_first(times: Mapping[str, float]) -> Iterator[Variant]:
    """Yield the variants that are `MIN_SPEEDUP` times as fast as `plain`, the fastest first, then `plain`."""
    names: list[Variant] = [name for name in VARIANTS if name in times and name != "plain"]
    for name in sorted(names, key=lambda name: times[name]):
        if times["plain"] >= MIN_SPEEDUP * times[name]:
            yield name
    yield "plain"


def make_variant(module: nn.Module, model: BuiltModel, variant: Variant, batch_loop: BatchLoop = "python") -> nn.Module:
    """Return the module in a variant; tensors that the variant leaves alone are shared, not copied.

    Max pools are rewritten only as the network's `conv_hints` say: elsewhere their inputs may be used twice.

    Args:
        module: a float32 module that `select_outputs` returned; it is not changed.
        model: the network it computes.
        variant: which.
        batch_loop: how Winograd convolutions process a batch.
    """
    from torch import nn

    from exporter.formats.export_module import find_layer
    from exporter.passes.winograd.torch_module import ExportableWinogradConv, SliceMaxPool, WinogradConv

    if variant == "plain":
        return module
    made = copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})
    for layer in made.modules():
        if isinstance(layer, nn.Conv3d):
            _use_channels_last(layer)
    for name, hint in model.conv_hints.items():
        parent, last = find_layer(made, name)
        conv = parent.get_submodule(last)
        assert isinstance(conv, nn.Conv3d)
        if variant == "winograd":
            tile = TileShape(*hint.tile)
            loop = WinogradConv if batch_loop == "python" else partial(ExportableWinogradConv, loop=batch_loop == "map")
            setattr(parent, last, loop(conv, tile, hint.pool_frames, two_frames=hint.two_frames))
        elif hint.pool:
            setattr(parent, last, nn.Sequential(conv, SliceMaxPool(hint.pool_frames)))
        if hint.pool:
            setattr(parent, hint.pool, nn.Identity())
    return made.eval()


def _use_channels_last(conv: nn.Conv3d) -> None:
    """Lay out a convolution's weight so; torch then lays out its input and output like it."""
    import torch
    from torch import nn

    weight = conv.weight.detach().contiguous(memory_format=torch.channels_last_3d)
    conv.weight = nn.Parameter(weight, requires_grad=False)


def compile_variant(module: nn.Module, variant: Variant) -> torch.jit.ScriptModule:
    """Compile and freeze a module that `make_variant` returned; other variants than `plain` get in-place ReLUs.

    Raises:
        UsageError: TorchScript cannot compile it; the message has torch's reason.
    """
    script = script_and_freeze(module)
    if variant != "plain":
        use_inplace_relus(script)
    return script


def script_and_freeze(module: nn.Module) -> torch.jit.ScriptModule:
    """Compile and freeze a module.

    Raises:
        UsageError: TorchScript cannot compile it; the message has torch's reason.
    """
    import torch

    try:
        return torch.jit.freeze(torch.jit.script(module))
    except (RuntimeError, OSError) as error:  # OSError: of a class typed in at a prompt there is no source to compile
        raise UsageError(f"TorchScript cannot compile {type(module).__name__}: {first_line(error)}") from error


def measure(scripts: Mapping[str, Callable[[torch.Tensor], object]], x: torch.Tensor) -> dict[str, float]:
    """Return {name: median milliseconds of a run}, measured in interleaved rounds."""
    import torch

    with torch.inference_mode():
        times = time_interleaved({name: partial(script, x) for name, script in scripts.items()}, ROUNDS)
    return {name: 1e3 * median(seconds) for name, seconds in times.items()}


def describe_times(times: Mapping[str, float], items: int) -> str:
    """Return `plain 450 ms, winograd 160 ms for a batch of 1`."""
    return ", ".join(f"{name} {taken:.0f} ms" for name, taken in times.items()) + f" for a batch of {items}"


def describe_choice(
    format_name: FormatName, variant: Variant, times: Mapping[str, float], items: int
) -> tuple[dict[str, OptionValue], tuple[str, ...]]:
    """Return the manifest's options of a variant that was chosen by measured times, and a note for the user."""
    measured = describe_times(times, items)
    note = f"{format_name}: measured on this CPU: {measured}; the file holds {variant}"
    return {VARIANT_OPTION: variant, MEASURED_OPTION: measured}, (note,)


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
