"""Checkpoints of the real shapes at almost no cost: every tensor is one number, expanded."""

import math
from typing import Any

import torch
from torch import Tensor

SHAPES: dict[str, tuple[int, ...]] = {
    "conv1": (64, 3, 3, 3, 3),
    "conv2": (128, 64, 3, 3, 3),
    "conv3a": (256, 128, 3, 3, 3),
    "conv3b": (256, 256, 3, 3, 3),
    "conv4a": (512, 256, 3, 3, 3),
    "conv4b": (512, 512, 3, 3, 3),
    "conv5a": (512, 512, 3, 3, 3),
    "conv5b": (512, 512, 3, 3, 3),
    "fc6": (4096, 8192),
    "fc7": (4096, 4096),
    "fc8": (487, 4096),
}
"""As docs/how-to/checkpoints.md gives them: weights; biases are their first axis."""


def narrow_state(num_classes: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """A C3D of 2 base channels and 4 features with random weights: real values in 10,000 numbers."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in SHAPES.items():
        outputs, inputs = shape[0] // 32, 3 if name == "conv1" else shape[1] // 32
        outputs = {"fc6": 4, "fc7": 4, "fc8": num_classes}.get(name, outputs)
        inputs = {"fc7": 4, "fc8": 4}.get(name, inputs)
        size = (outputs, inputs, *shape[2:])
        state[f"{name}.weight"] = torch.randn(size, generator=generator) / math.prod(size[1:]) ** 0.5
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) / 10
    return state


def jfzhang95_training(state: dict[str, Tensor], epochs: int = 11) -> dict[str, Any]:
    """What that origin's training script saves: fc8 learns ten times as fast, by SGD, a tenth as fast after 10 epochs."""
    parameters = {name: torch.nn.Parameter(torch.zeros(1)) for name in state}
    head = [value for name, value in parameters.items() if name.startswith("fc8")]
    others = [value for name, value in parameters.items() if not name.startswith("fc8")]
    groups = [{"params": others, "lr": 1e-3}, {"params": head, "lr": 1e-2}]
    optimizer = torch.optim.SGD(groups, lr=1e-3, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.1)
    for value in parameters.values():
        value.grad = torch.ones(1)
    for _ in range(epochs):
        optimizer.step()
        schedule.step()
    return {"epoch": epochs, "state_dict": state, "opt_dict": optimizer.state_dict()}


def constant_state(num_classes: int = 487, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """{name: tensor}, each filled with a number of its own that float16 holds exactly."""
    state: dict[str, Tensor] = {}
    for number, (name, shape) in enumerate({**SHAPES, "fc8": (num_classes, 4096)}.items(), start=1):
        state[f"{name}.weight"] = torch.tensor(number / 64, dtype=dtype).expand(shape)
        state[f"{name}.bias"] = torch.tensor(-number / 64, dtype=dtype).expand(shape[:1])
    return state
