"""The forms that a TorchScript file for CPUs can take, and which of them is the fastest here.

* `plain`: the network as it is, frozen.
* `channels_last`: convolutions in `torch.channels_last_3d`, max pools as maxima of slices. The same size.
* `winograd`: the convolutions as `exporter.passes.winograd.torch_module.WinogradConv`. The transformed weights make
  the file larger.

All of them survive `torch.jit.save`. What `torch.jit.optimize_for_inference` makes does not (torch 2.13 packs weights
into what it cannot store): it is timed on the form that was chosen, and recommended to whoever loads the file where it
is faster.

The fastest form need not hold parity, which only a check of the written file tells: `next_best` is what to take then.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Literal

from exporter.passes.winograd.tile_shape import TileShape
from models.config import CLIP_SHAPE
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Run = Callable[[Tensor], object]

Variant = Literal["plain", "channels_last", "winograd"]
VARIANTS: tuple[Variant, ...] = ("plain", "channels_last", "winograd")
OPTIMIZE_FOR_INFERENCE = "optimize_for_inference"
"""The name, among those measured, of what can be made of a form once it is loaded."""

TILES: Mapping[str, TileShape] = {
    "conv1": TileShape(1, 4),
    "conv2": TileShape(4, 4),
    "conv3a": TileShape(4, 4),
    "conv3b": TileShape(4, 4),
    "conv4a": TileShape(4, 2),
    "conv4b": TileShape(4, 2),
    "conv5a": TileShape(2, 2),
    "conv5b": TileShape(2, 2),
}
"""{convolution: its tile}, the fastest ones here. conv1 has little to multiply; what it gains is that its output, the
largest tensor of the network, is pooled in parts that stay near."""

TWO_FRAME_CONVS = ("conv5a", "conv5b")
"""Convolutions of two frames."""

POOLED: Mapping[str, tuple[str, int]] = {
    "conv1": ("pool1", 1),
    "conv2": ("pool2", 2),
    "conv3b": ("pool3", 2),
    "conv4b": ("pool4", 2),
}
"""{convolution: the max pool behind it, its frames}. It then comes before the ReLU, with which it commutes."""

MIN_SPEEDUP = 1.05
"""How many times as fast as what it replaces a form must measure."""
ROUNDS = (5, 11)
"""Rounds at least and at most."""
TIME_BUDGET_S = 8.0
"""Seconds of rounds after which no more than the least are run."""
WARM_UP = 2
MAX_CLIPS = 4
COOLDOWN_S = 0.03
"""Seconds before each run, in which the threads of the run before it stop spinning."""


@dataclass(frozen=True)
class Choice:
    """What was taken, and why.

    Attributes:
        form: what the file holds.
        optimise: the file should be loaded through `optimize_for_inference`, which is faster still.
        milliseconds: {form: median of a run}, as measured against each other.
        loaded: milliseconds of the chosen form and of what `optimize_for_inference` makes of it, in turns.
        clips: in a run.
        sizes: bytes of the tensors of the plain form and of the chosen one.
        failed: what was taken before and did not hold parity, as `title`.
    """

    form: Variant
    optimise: bool
    milliseconds: Mapping[str, float]
    loaded: tuple[float, float]
    clips: int
    sizes: tuple[int, int]
    failed: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return `winograd`, or `winograd through optimize_for_inference`."""
        return f"{self.form} through {OPTIMIZE_FOR_INFERENCE}" if self.optimise else self.form

    @property
    def is_last(self) -> bool:
        """Tell whether nothing slower is left to try."""
        return self.form == "plain" and not self.optimise


def select_variant(
    module: nn.Module, batch: int, progress: Progress = no_progress
) -> tuple[Choice, torch.jit.ScriptModule]:
    """Measure every form of a prepared module here, then the fastest through `optimize_for_inference`.

    Args:
        module: see `formed`.
        batch: clips that will be run at once; at most `MOST_CLIPS` are.
        progress: told at each step.

    Returns:
        the choice, and the module in its form, frozen.
    """
    count = min(batch, MAX_CLIPS)
    progress("torchscript: transforming weights")
    scripts = {name: script_and_freeze(make_variant(module, name)) for name in VARIANTS}
    progress(f"torchscript: measuring {', '.join(VARIANTS)}")
    times = measure(scripts, _random_input(count))
    del scripts  # memory: the one that is taken is made anew
    return _finish_choice(module, fastest(times), times, count, progress)


def next_fallback(
    module: nn.Module, choice: Choice, progress: Progress = no_progress
) -> tuple[Choice, torch.jit.ScriptModule]:
    """Return what to take where the file of `choice` did not hold parity, as `choose` returns it.

    That is the same form, loaded as it is if it was not; then the next fastest that gains; then `plain`. It must not be
    `Choice.is_last`.
    """
    failed = (*choice.failed, choice.title)
    if choice.optimise:
        return replace(choice, optimise=False, failed=failed), script_and_freeze(make_variant(module, choice.form))
    times = choice.milliseconds
    taken, script = _finish_choice(module, fastest(times, failed), times, choice.clips, progress)
    return replace(taken, failed=failed), script


def _finish_choice(
    module: nn.Module, form: Variant, times: Mapping[str, float], count: int, progress: Progress
) -> tuple[Choice, torch.jit.ScriptModule]:
    """Time a form through `optimize_for_inference`, and return both choice and script."""
    import torch

    progress(f"torchscript: measuring {form} through {OPTIMIZE_FOR_INFERENCE}")
    made = make_variant(module, form)
    script, optimised = script_and_freeze(made), torch.jit.optimize_for_inference(torch.jit.script(made))
    again = measure({form: script, OPTIMIZE_FOR_INFERENCE: optimised}, _random_input(count))
    loaded = again[form], again[OPTIMIZE_FOR_INFERENCE]
    sizes = _nbytes(module), _nbytes(made)
    return Choice(form, loaded[0] >= MIN_SPEEDUP * loaded[1], times, loaded, count, sizes), script


def _random_input(count: int) -> Tensor:
    import torch

    return torch.rand(count, *CLIP_SHAPE, generator=torch.Generator().manual_seed(0)) - 0.5


def fastest(times: Mapping[str, float], failed: Sequence[str] = ()) -> Variant:
    """Return the form not in `failed` that takes least: `plain`, unless another one gains `LEAST_GAIN` on it."""
    left: list[Variant] = [name for name in VARIANTS if name not in failed]
    best = min(left, key=lambda name: times[name])
    return best if times["plain"] >= MIN_SPEEDUP * times[best] else "plain"


def make_variant(module: nn.Module, name: Variant) -> nn.Module:
    """Return the prepared module in a form; tensors that the form leaves alone are shared, not copied.

    Args:
        module: as `exporter.formats.export_module.prepare` makes it, float32; it is not changed.
        name: of the form.
    """
    from torch import nn

    from exporter.passes.winograd.torch_module import SliceMaxPool, WinogradConv

    if name == "plain":
        return module
    made = copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})
    network = made.get_submodule("network")
    convolutions = [(name, layer) for name, layer in network.named_children() if isinstance(layer, nn.Conv3d)]
    for layer_name, conv in convolutions:
        pool, frames = POOLED.get(layer_name, (None, 0))
        if name == "winograd" and layer_name in TILES:
            layer: nn.Module = WinogradConv(conv, TILES[layer_name], frames, pair=layer_name in TWO_FRAME_CONVS)
        else:
            layer = _channels_last(conv)
            if pool is not None:
                layer = nn.Sequential(layer, SliceMaxPool(frames))
        setattr(network, layer_name, layer)
        if pool is not None:
            setattr(network, pool, nn.Identity())
    for layer_name, layer in network.named_children():
        if isinstance(layer, nn.ReLU):  # what it is given, nobody else holds
            setattr(network, layer_name, nn.ReLU(inplace=True))
    return made.eval()


def _channels_last(conv: nn.Conv3d) -> nn.Conv3d:
    """Lay out a convolution's weight so; torch then lays out its input and output like it."""
    import torch
    from torch import nn

    weight = conv.weight.detach().contiguous(memory_format=torch.channels_last_3d)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    return conv


def script_and_freeze(module: nn.Module) -> torch.jit.ScriptModule:
    """Script and freeze."""
    import torch

    return torch.jit.freeze(torch.jit.script(module))


def measure(candidates: Mapping[str, Run], clips: Tensor) -> dict[str, float]:
    """Return {candidate: median milliseconds of a run}.

    They run in turns, a round after another, so that a busy neighbour hits all alike.
    """
    import torch

    taken: dict[str, list[float]] = {name: [] for name in candidates}
    names, spent = list(candidates), 0.0
    least, most = ROUNDS
    with torch.inference_mode():
        for turn in range(WARM_UP + most):
            if turn >= WARM_UP + least and spent > TIME_BUDGET_S:
                break
            shift = turn % len(names)  # nobody always runs behind the same one
            for name in names[shift:] + names[:shift]:
                sleep(COOLDOWN_S)
                start = perf_counter()
                candidates[name](clips)
                taken[name].append(perf_counter() - start)
                spent += taken[name][-1]
    return {name: 1e3 * median(times[WARM_UP:]) for name, times in taken.items()}


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
