"""Faults in the values of a weight (too large, too few bits, damaged) and in biases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.fault_injection.faults.base import (
    FaultSite,
    FaultType,
    FindSites,
    Generator,
    change_layers,
    change_weights,
)
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Change = Callable[[Floats], NDArray[Any]]
    Pick = Callable[[Floats, Generator], int]

INT8_LEVELS = 127


def _find_largest(weight: Floats, _: Generator) -> int:
    return int(np.abs(weight).argmax())


def _pick_any(weight: Floats, random: Generator) -> int:
    return int(random.integers(weight.size))


def _change_one(pick: Pick, change: Callable[[np.float32], Any]) -> FindSites:
    """Change one value of each weight."""

    def apply(weight: Floats, random: Generator) -> Floats:
        values, index = weight.reshape(-1), pick(weight, random)
        values[index] = change(values[index])
        return weight

    return change_weights(apply)


def _flip_bit(bit: int) -> FindSites:
    """Flip a bit of each weight's largest value; bits 0 to 22 are the mantissa, 23 to 30 the exponent."""
    return _change_one(_find_largest, lambda value: (value.view(np.uint32) ^ np.uint32(1 << bit)).view(np.float32))


def _scale_first_channel(weight: Floats, _: Generator) -> Floats:
    weight[0] *= np.float32(1.01)
    return weight


def _round_to_bfloat16(weight: Floats, _: Generator) -> Floats:
    return (weight.view(np.uint32) + 0x8000 & 0xFFFF0000).astype(np.uint32).view(np.float32)


def _round_to_int8(weight: Floats, axes: tuple[int, ...] | None) -> Floats:
    step = np.abs(weight).max(axis=axes, keepdims=True) / INT8_LEVELS
    return np.round(weight / np.where(step > 0, step, 1)) * step


def _clear_output_channel(weight: Floats, random: Generator) -> Floats:
    weight[random.integers(len(weight))] = 0
    return weight


def _clear_input_channel(weight: Floats, random: Generator) -> Floats:
    weight[:, random.integers(weight.shape[1])] = 0
    return weight


def _clear_last_tenth(weight: Floats, _: Generator) -> Floats:
    weight.reshape(-1)[-max(1, weight.size // 10) :] = 0
    return weight


def _prune(weight: Floats, _: Generator) -> Floats:
    some = np.abs(weight[:8])  # a quantile of all values would take seconds
    weight[np.abs(weight) < np.quantile(some, 0.1)] = 0
    return weight


WEIGHTS = (
    FaultType("weights scaled by 1 %", "a factor folded in twice", change_weights(lambda w, _: w * np.float32(1.01))),
    FaultType(
        "weights scaled by 0.1 %",
        "a normalisation folded with wrong statistics",
        change_weights(lambda w, _: w * np.float32(1.001)),
    ),
    FaultType("weights negated", "a subtraction exported as an addition", change_weights(lambda w, _: -w)),
    FaultType("one channel scaled by 1 %", "per-channel scales off by one", change_weights(_scale_first_channel)),
    FaultType("largest weight off by 1 %", "a damaged file", _change_one(_find_largest, lambda w: w * 1.01)),
    FaultType("a random weight off by 1 %", "a damaged file", _change_one(_pick_any, lambda w: w * 1.01)),
    FaultType("largest weight negated", "a flipped sign bit", _flip_bit(31)),
    FaultType("an exponent bit flipped", "a flipped bit on disk", _flip_bit(23)),
    FaultType("a middle mantissa bit flipped", "a flipped bit on disk", _flip_bit(15)),
    FaultType("the lowest mantissa bit flipped", "a flipped bit too small to matter", _flip_bit(0)),
    FaultType("a NaN among the weights", "diverged training", _change_one(_pick_any, lambda _: np.nan)),
    FaultType("an infinity among the weights", "an overflow in a conversion", _change_one(_pick_any, lambda _: np.inf)),
    FaultType("an output channel zeroed", "pruning, or a lost block", change_weights(_clear_output_channel)),
    FaultType("an input channel zeroed", "pruning, or a lost block", change_weights(_clear_input_channel)),
    FaultType("the last tenth of a tensor zeroed", "a truncated file", change_weights(_clear_last_tenth)),
    FaultType("the smallest tenth of the weights zeroed", "pruning by magnitude", change_weights(_prune)),
    FaultType("weights rounded to bfloat16", "a half-precision checkpoint", change_weights(_round_to_bfloat16)),
    FaultType(
        "weights rounded to float16", "a half-precision checkpoint", change_weights(lambda w, _: w.astype(np.float16))
    ),
    FaultType(
        "weights rounded to 8 bits",
        "quantisation with a scale per tensor",
        change_weights(lambda w, _: _round_to_int8(w, None)),
    ),
    FaultType(
        "weights rounded to 8 bits, by channel",
        "quantisation with a scale per channel",
        change_weights(lambda w, _: _round_to_int8(w, tuple(range(1, w.ndim)))),
    ),
    FaultType(
        "weights with swapped bytes",
        "a reader that ignores the file's byte order",
        change_weights(lambda w, _: w.byteswap()),
    ),
)
"""Faults in the weight of every layer."""


def _change_bias(change: Change) -> FindSites:
    def inject(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
        faulty.set(str(layer.bias), change(np.array(faulty.original.weights[str(layer.bias)])))

    return change_layers(inject, lambda _, layer: layer.bias is not None, with_bias=True)


def _swap_biases(graph: OriginalGraph) -> Iterable[FaultSite]:
    for one, other in combinations([layer for layer in graph.layers if layer.bias], 2):
        first, second = str(one.bias), str(other.bias)
        if first == second or graph.weights[first].shape != graph.weights[second].shape:
            continue

        def inject(faulty: FaultyGraph, _: Generator, first: str = first, second: str = second) -> None:
            weights = faulty.original.weights
            faulty.set(first, weights[second])
            faulty.set(second, weights[first])

        yield FaultSite(f"{one.name} and {other.name}", one.value, inject)


def _scale_largest(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    bias.reshape(-1)[np.abs(bias).argmax()] *= np.float32(1.01)
    return bias


BIASES = (
    FaultType("bias dropped", "a layer exported without its bias", _change_bias(lambda b: b * 0)),
    FaultType("bias added twice", "a bias in the layer and after it", _change_bias(lambda b: b * 2)),
    FaultType("bias negated", "a mean subtracted instead of a bias added", _change_bias(lambda b: -b)),
    FaultType("bias shifted by one channel", "an index that starts at 1", _change_bias(lambda b: np.roll(b, 1))),
    FaultType("largest bias off by 1 %", "a damaged file", _change_bias(_scale_largest)),
    FaultType("bias rounded to float16", "a half-precision checkpoint", _change_bias(lambda b: b.astype(np.float16))),
    FaultType("two layers' biases swapped", "a key mapping with two keys confused", _swap_biases),
)
"""Faults in the bias of every layer."""
