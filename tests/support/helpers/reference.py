"""C3D once more, from its definition, in numpy float64: nothing of the code under test.

A 3x3x3 convolution is 27 matrix products, one for each tap, over a padded input; a max pool is the maximum over the
eight (or four) places of its window. Slow and plain on purpose.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CONVOLUTIONS = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
POOLED = {"conv1": (1, 2, 2), "conv2": (2, 2, 2), "conv3b": (2, 2, 2), "conv4b": (2, 2, 2)}


def convolve(x: Array, weight: Array, bias: Array) -> Array:
    """(C,T,H,W) * (O,C,3,3,3) -> (O,T,H,W), padding 1."""
    channels, time, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1)))
    out = np.repeat(bias[:, None], time * height * width, axis=1)
    for t in range(3):
        for h in range(3):
            for w in range(3):
                window = padded[:, t : t + time, h : h + height, w : w + width]
                out += np.ascontiguousarray(weight[:, :, t, h, w]) @ window.reshape(channels, -1)
    return out.reshape(-1, time, height, width)


def max_pool(x: Array, window: tuple[int, int, int], starts: tuple[int, int, int] = (0, 0, 0)) -> Array:
    """Windows side by side, the first at `starts`, until one would lie wholly outside; edges see less, not zeros."""
    axes = [
        [range(max(0, at), min(size, at + step)) for at in range(start, size, step)]
        for size, step, start in zip(x.shape[1:], window, starts, strict=True)
    ]
    out = np.empty((x.shape[0], *(len(axis) for axis in axes)))
    for t, times in enumerate(axes[0]):
        for h, rows in enumerate(axes[1]):
            for w, columns in enumerate(axes[2]):
                block = x[:, times.start : times.stop, rows.start : rows.stop, columns.start : columns.stop]
                out[:, t, h, w] = block.max(axis=(1, 2, 3))
    return out


def trunk(state: Mapping[str, Array], clip: Array) -> Array:
    """What pool5 sees, (512,2,7,7), of one clip (3,16,112,112). `state` may hold BatchNorm's tensors."""
    x = clip
    for name in CONVOLUTIONS:
        x = convolve(x, state[f"{name}.weight"], state[f"{name}.bias"])
        norm = name.replace("conv", "bn")
        if f"{norm}.weight" in state:
            scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + 1e-5)
            shift = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
            x = x * scale[:, None, None, None] + shift[:, None, None, None]
        x = np.maximum(x, 0)
        if name in POOLED:
            x = max_pool(x, POOLED[name])
    return x


def outputs(state: Mapping[str, Array], clip: Array, pool5: str, seen: Array | None = None) -> dict[str, Array]:
    """Every output for one clip (3,T,H,W). `seen` is its `trunk`, where that is known already."""
    conv5b = trunk(state, clip) if seen is None else seen
    x = max_pool(conv5b, (2, 2, 2), (0, -1, -1)) if pool5 == "symmetric" else max_pool(conv5b, (2, 2, 2))
    fc6 = np.maximum(state["fc6.weight"] @ x.reshape(-1) + state["fc6.bias"], 0)
    fc7 = np.maximum(state["fc7.weight"] @ fc6 + state["fc7.bias"], 0)
    logits = state["fc8.weight"] @ fc7 + state["fc8.bias"]
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    return {"conv5b": conv5b, "pool5": x, "fc6": fc6, "fc7": fc7, "logits": logits, "probabilities": probabilities}
