"""Faults in the numbers of a weight: too large, too few bits, damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.fault_injection.faults.base import FaultType, change_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Generator = np.random.Generator

INT8_LEVELS = 127
TAIL = 10
"""The last tenth of a tensor is what a cut-off file lacks."""


def _first_channel(weight: Floats) -> Floats:
    weight[0] *= np.float32(1.01)
    return weight


def _largest(weight: Floats, change: float) -> Floats:
    weight.reshape(-1)[np.abs(weight).argmax()] *= change
    return weight


def _random(weight: Floats, change: float, generator: Generator) -> Floats:
    weight.reshape(-1)[generator.integers(weight.size)] *= change
    return weight


def _put(weight: Floats, value: float, generator: Generator) -> Floats:
    weight.reshape(-1)[generator.integers(weight.size)] = value
    return weight


def _bfloat16(weight: Floats) -> Floats:
    return (weight.view(np.uint32) + 0x8000 & 0xFFFF0000).astype(np.uint32).view(np.float32)


def _int8(weight: Floats, axes: tuple[int, ...] | None) -> Floats:
    step = np.abs(weight).max(axis=axes, keepdims=True) / INT8_LEVELS
    return np.round(weight / np.where(step > 0, step, 1)) * step


def _flip_bit(weight: Floats, bit: int) -> Floats:
    flat = weight.reshape(-1).view(np.uint32)
    flat[np.abs(weight).argmax()] ^= np.uint32(1 << bit)
    return weight


def _zero_out(weight: Floats, generator: Generator) -> Floats:
    weight[generator.integers(len(weight))] = 0
    return weight


def _zero_in(weight: Floats, generator: Generator) -> Floats:
    weight[:, generator.integers(weight.shape[1])] = 0
    return weight


def _cut_off(weight: Floats) -> Floats:
    flat = weight.reshape(-1)
    flat[-max(1, flat.size // TAIL) :] = 0
    return weight


def _pruned(weight: Floats) -> Floats:
    weight[np.abs(weight) < np.quantile(np.abs(weight[:8]), 0.1)] = 0
    return weight


def _other_order(weight: Floats) -> NDArray[Any]:
    return weight.byteswap()


WEIGHTS = (
    FaultType("weights scaled by 1 %", "a factor folded in twice", change_weights(lambda w, _: w * np.float32(1.01))),
    FaultType(
        "weights scaled by 0.1 %",
        "a normalisation folded with other statistics",
        change_weights(lambda w, _: w * np.float32(1.001)),
    ),
    FaultType("weights with the other sign", "a subtraction exported as an addition", change_weights(lambda w, _: -w)),
    FaultType(
        "one channel scaled by 1 %", "per-channel scales off by one", change_weights(lambda w, _: _first_channel(w))
    ),
    FaultType("largest weight off by 1 %", "a damaged file", change_weights(lambda w, _: _largest(w, 1.01))),
    FaultType("a random weight off by 1 %", "a damaged file", change_weights(lambda w, g: _random(w, 1.01, g))),
    FaultType("largest weight with the other sign", "a flipped sign bit", change_weights(lambda w, _: _largest(w, -1))),
    FaultType("an exponent bit flipped", "a flipped bit on disk", change_weights(lambda w, _: _flip_bit(w, 23))),
    FaultType("a middle mantissa bit flipped", "a flipped bit on disk", change_weights(lambda w, _: _flip_bit(w, 15))),
    FaultType(
        "the lowest mantissa bit flipped",
        "a flipped bit that is too small to matter",
        change_weights(lambda w, _: _flip_bit(w, 0)),
    ),
    FaultType("a NaN among the weights", "a diverged training", change_weights(lambda w, g: _put(w, np.nan, g))),
    FaultType(
        "an infinity among the weights", "an overflow in a conversion", change_weights(lambda w, g: _put(w, np.inf, g))
    ),
    FaultType("an output channel zeroed", "pruning, or a lost block", change_weights(_zero_out)),
    FaultType("an input channel zeroed", "pruning, or a lost block", change_weights(_zero_in)),
    FaultType("the last tenth of a tensor zero", "a file that was cut off", change_weights(lambda w, _: _cut_off(w))),
    FaultType(
        "the smallest tenth of the weights zero", "pruning by magnitude", change_weights(lambda w, _: _pruned(w))
    ),
    FaultType(
        "weights rounded to bfloat16", "a checkpoint of half precision", change_weights(lambda w, _: _bfloat16(w))
    ),
    FaultType(
        "weights rounded to float16",
        "a checkpoint of half precision",
        change_weights(lambda w, _: w.astype(np.float16)),
    ),
    FaultType(
        "weights rounded to 8 bits", "quantised, a scale per tensor", change_weights(lambda w, _: _int8(w, None))
    ),
    FaultType(
        "weights rounded to 8 bits, by channel",
        "quantised, a scale per channel",
        change_weights(lambda w, _: _int8(w, tuple(range(1, w.ndim)))),
    ),
    FaultType(
        "weights in the other byte order",
        "a reader that forgot the file's byte order",
        change_weights(lambda w, _: _other_order(w)),
    ),
)
"""In every layer's weight."""
