"""The forms that a TorchScript file for CPUs can take, and which of them is the fastest here.

* `plain`: the network as it is, frozen.
* `channels_last`: convolutions in `torch.channels_last_3d`, max pools as maxima of slices. The same size.
* `winograd`: the convolutions as `exporter.passes.winograd.torch_module.WinogradConv`. The transformed weights make
  the file larger.

All of them survive `torch.jit.save`. What `torch.jit.optimize_for_inference` makes does not (torch 2.13 packs weights
into what it cannot store): it is timed on the form that was chosen, and recommended to whoever loads the file where it
is faster.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Literal

from exporter.passes.winograd.forms import Form
from models.errors import Progress, quiet
from models.spec import CLIP_SHAPE

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Run = Callable[[Tensor], object]

ScriptForm = Literal["plain", "channels_last", "winograd"]
FORM_NAMES: tuple[ScriptForm, ...] = ("plain", "channels_last", "winograd")
LOADED = "optimize_for_inference"
"""The name, among those measured, of what can be made of a form once it is loaded."""

TILES: Mapping[str, Form] = {
    "conv1": Form(1, 4),
    "conv2": Form(4, 4),
    "conv3a": Form(4, 4),
    "conv3b": Form(4, 4),
    "conv4a": Form(2, 2),
    "conv4b": Form(2, 2),
    "conv5a": Form(1, 2),
    "conv5b": Form(1, 2),
}
"""{convolution: its tile}. From conv2 on these are the tiles that the ONNX pass takes, and they are the fastest here
too. conv1 has little to multiply; what it gains is that its output, the largest tensor of the network, is pooled in
parts that stay near."""

POOLED: Mapping[str, tuple[str, int]] = {
    "conv1": ("pool1", 1), "conv2": ("pool2", 2), "conv3b": ("pool3", 2), "conv4b": ("pool4", 2),
}  # fmt: skip
"""{convolution: the max pool behind it, its frames}. It then comes before the ReLU, with which it commutes."""

LEAST_GAIN = 1.05
"""How many times as fast as what it replaces a form must measure."""
ROUNDS = (5, 11)
"""Rounds at least and at most."""
ENOUGH = 8.0
"""Seconds of rounds after which no more than the least are run."""
WARM_UP = 2
MOST_CLIPS = 4
SETTLE = 0.03
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
    """

    form: ScriptForm
    optimise: bool
    milliseconds: Mapping[str, float]
    loaded: tuple[float, float]
    clips: int
    sizes: tuple[int, int]


def choose(module: "nn.Module", batch: int, progress: Progress = quiet) -> "tuple[Choice, torch.jit.ScriptModule]":
    """Measure every form of a prepared module here, then the fastest through `optimize_for_inference`.

    Args:
        module: see `formed`.
        batch: clips that will be run at once; at most `MOST_CLIPS` are.
        progress: told at each step.

    Returns:
        the choice, and the module in its form, frozen.
    """
    import torch

    count = min(batch, MOST_CLIPS)
    clips = torch.rand(count, *CLIP_SHAPE, generator=torch.Generator().manual_seed(0)) - 0.5
    progress("torchscript: transforming weights")
    made = {name: formed(module, name) for name in FORM_NAMES}
    scripts = {name: frozen(shaped) for name, shaped in made.items()}
    progress(f"torchscript: measuring {', '.join(FORM_NAMES)}")
    times = measure(scripts, clips)
    form = fastest(times)
    progress(f"torchscript: measuring {form} through {LOADED}")
    optimised = torch.jit.optimize_for_inference(torch.jit.script(made[form]))
    again = measure({form: scripts[form], LOADED: optimised}, clips)
    loaded = again[form], again[LOADED]
    sizes = _held(made["plain"]), _held(made[form])
    return Choice(form, loaded[0] >= LEAST_GAIN * loaded[1], times, loaded, count, sizes), scripts[form]


def fastest(times: Mapping[str, float]) -> ScriptForm:
    """Return the form that takes least: `plain`, unless another one gains `LEAST_GAIN` on it."""
    best = min(FORM_NAMES, key=lambda name: times[name])
    return best if times["plain"] >= LEAST_GAIN * times[best] else "plain"


def formed(module: "nn.Module", name: ScriptForm) -> "nn.Module":
    """Return the prepared module in a form; tensors that the form leaves alone are shared, not copied.

    Args:
        module: as `exporter.formats.prepare.prepare` makes it, float32; it is not changed.
        name: of the form.
    """
    from torch import nn

    from exporter.passes.winograd.torch_module import HalvingPool, WinogradConv

    if name == "plain":
        return module
    made = copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})
    network = made.get_submodule("network")
    convolutions = [(name, layer) for name, layer in network.named_children() if isinstance(layer, nn.Conv3d)]
    for layer_name, conv in convolutions:
        pool, frames = POOLED.get(layer_name, (None, 0))
        if name == "winograd" and layer_name in TILES:
            layer: nn.Module = WinogradConv(conv, TILES[layer_name], frames)
        else:
            layer = _channels_last(conv)
            if pool is not None:
                layer = nn.Sequential(layer, HalvingPool(frames))
        setattr(network, layer_name, layer)
        if pool is not None:
            setattr(network, pool, nn.Identity())
    return made.eval()


def _channels_last(conv: "nn.Conv3d") -> "nn.Conv3d":
    """Lay out a convolution's weight so; torch then lays out its input and output like it."""
    import torch
    from torch import nn

    weight = conv.weight.detach().contiguous(memory_format=torch.channels_last_3d)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    return conv


def frozen(module: "nn.Module") -> "torch.jit.ScriptModule":
    """Script and freeze."""
    import torch

    return torch.jit.freeze(torch.jit.script(module))


def measure(candidates: "Mapping[str, Run]", clips: "Tensor") -> dict[str, float]:
    """Return {candidate: median milliseconds of a run}.

    They run in turns, a round after another, so that a busy neighbour hits all alike.
    """
    import torch

    taken: dict[str, list[float]] = {name: [] for name in candidates}
    names, spent = list(candidates), 0.0
    least, most = ROUNDS
    with torch.inference_mode():
        for turn in range(WARM_UP + most):
            if turn >= WARM_UP + least and spent > ENOUGH:
                break
            shift = turn % len(names)  # nobody always runs behind the same one
            for name in names[shift:] + names[:shift]:
                sleep(SETTLE)
                start = perf_counter()
                candidates[name](clips)
                taken[name].append(perf_counter() - start)
                spent += taken[name][-1]
    return {name: 1e3 * median(times[WARM_UP:]) for name, times in taken.items()}


def _held(module: "nn.Module") -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
