"""The weights of the reference that an artifact's weights in fewer bits are roundings of.

A weight is found by its numbers, not by its name: one of the reference of the same size, each number of which is within
half a unit in the last place, or half a level, of the artifact's. Rounding to the nearest explains exactly that, so the
artifact may be evaluated with the reference's numbers in its place. Layers count with the batch normalisation after
them folded in, too, and those that Winograd's transforms made of either (`exporter.passes.winograd`). What another tool
transformed before it was rounded is not found.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import C3DExportError
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.reader import read_model
from exporter.onnx_io.rounded_weights import RoundedWeight
from exporter.onnx_io.weights import take_weights
from exporter.parity.altered_weights import is_altered, split_rows
from exporter.parity.sources import FileSource, GoldenSource, NetworkSource

if TYPE_CHECKING:
    from torch import nn

    from models.built_model import BuiltModel

Array = NDArray[Any]

HALF = 0.5 + 2.0**-10
"""Half a unit, with room for a weight that was divided by its scale in float32."""
LEVEL_ERROR = 2.0**-22
"""How far levels may be off beside that, relative to themselves: a bias in int32 has millions of them."""
SCALE_ERRORS = 3
"""Half units by which levels of a scale in half precision may be off: the scale was rounded to that, and where the
weight was in it, too, so were the weight and their quotient."""
MIN_FLOAT16 = 1e-7
"""Converters write this number in place of smaller ones."""
DIGITS: Mapping[str, tuple[int, int]] = {"float16": (11, -24), "bfloat16": (8, -133)}
"""{type: its significant bits, the exponent of its smallest number}."""
MIN_LEVEL = 16
"""The largest level of a slice that shares a scale: a scale so coarse that there is none would round anything to 0."""
MIN_SIZE = 2
"""A single number is within half a unit of others by chance."""
STACKED_FRAMES = (0, 2, 1, 3, 4)
"""The order of the axes of a 3-D convolution's weight whose frames are stacked as channels of a 2-D one."""


@dataclass(frozen=True)
class Originals:
    """The floating-point weights of a reference, {size: those of that size}.

    Attributes:
        plain: as they are.
        folded: those that are others with the batch normalisation beside them folded in.
    """

    plain: Mapping[int, Sequence[Array]]
    folded: Mapping[int, Sequence[Array]]


@dataclass(frozen=True)
class WeightMatch:
    """What the reference holds of a weight.

    Attributes:
        numbers: those that it is a rounding of, in its shape and unit; None where none or several are.
        altered: whether it is one of the reference's changed by more than rounding.
    """

    numbers: Array | None
    altered: bool = False


def read_originals(source: GoldenSource) -> Originals:
    """Return the weights of a reference; none of a file that is not ONNX."""
    plain = _by_size(_weights(source))
    folded = {
        size: [values for values in found if not any(np.array_equal(values, other) for other in plain.get(size, ()))]
        for size, found in _by_size(_folded_weights(source)).items()
    }
    return Originals(plain, folded)


def _by_size(weights: Iterator[Array]) -> dict[int, list[Array]]:
    found: dict[int, list[Array]] = {}
    for values in weights:
        if values.dtype.kind == "f" and values.dtype.itemsize > 2:
            found.setdefault(values.size, []).append(values)
    return found


def _weights(source: GoldenSource) -> Iterator[Array]:
    if isinstance(source, NetworkSource):
        yield from _parameters(source.model.network)
    elif isinstance(source, FileSource) and source.format == "onnx":
        yield from (values for _, values in take_weights(load_without_weights(source.path), Path(source.path)))


def _folded_weights(source: GoldenSource) -> Iterator[Array]:
    """Yield the weights that a reference has with its batch normalisation folded; nothing where there is none."""
    if isinstance(source, NetworkSource):
        fused = _fuse(source.model)
        yield from () if fused is None else _parameters(fused)
    elif isinstance(source, FileSource) and source.format == "onnx":
        nodes = load_without_weights(source.path).graph.node
        if any(node.op_type == "BatchNormalization" for node in nodes):
            yield from _fold(source.path)


def _fuse(model: BuiltModel) -> nn.Module | None:
    """Return a network with its batch normalisation folded into its convolutions; None where that cannot be done."""
    from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

    if model.fuse is not None:
        return model.fuse()
    if not any(isinstance(module, _BatchNorm) for module in model.network.modules()):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what this module imports
        from torch.fx.experimental.optimization import fuse
    try:
        return fuse(model.network)
    except Exception:  # noqa: BLE001 - what a network's own code raises where it cannot be traced
        return None


def _parameters(network: nn.Module) -> Iterator[Array]:
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            yield tensor.detach().numpy()


def _fold(path: Path) -> Iterator[Array]:
    from exporter.passes.base import run_passes
    from exporter.passes.pipelines import portable_passes, prepare_passes

    try:
        model = run_passes(read_model(path), [*prepare_passes({}), *portable_passes()]).model
    except C3DExportError:  # a file that no pass reads
        return
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            yield value.const_value.numpy()


def match_weight(weight: RoundedWeight, originals: Originals, *, folded: bool) -> WeightMatch:
    """Return what the reference holds of a weight.

    Args:
        weight: the artifact's.
        originals: the reference's.
        folded: whether the artifact has its batch normalisation folded in: of two that fit, that decides.
    """
    values = weight.values
    if values.size < MIN_SIZE or not (weight.is_float or weight.scale is not None):
        return WeightMatch(None)
    groups = [originals.folded, originals.plain] if folded else [originals.plain, originals.folded]
    candidates: list[Array] = []
    for group in groups:
        layouts = [[*_layouts(original, values.shape)] for original in group.get(values.size, ())]
        found = [next((each for each in orders if _is_rounding(weight, each)), None) for orders in layouts]
        fitting = [each for each in found if each is not None]
        if fitting and all(np.array_equal(fitting[0], other) for other in fitting[1:]):
            return WeightMatch(fitting[0] if weight.is_float else _levels(weight, fitting[0]))
        if fitting:
            return WeightMatch(None)
        candidates += [each for orders in layouts for each in orders]
    if is_altered(weight, candidates):
        return WeightMatch(None, altered=True)
    return _match_transformed(weight, groups)


def _match_transformed(weight: RoundedWeight, groups: Sequence[Mapping[int, Sequence[Array]]]) -> WeightMatch:
    """Return what the reference holds of a weight that Winograd's transforms made; one is computed at a time."""
    from exporter.passes.winograd.weights import transformed_weights

    shape, altered = weight.values.shape, False
    rows = _without_first_axis(weight)
    for original in (each for group in groups for found in group.values() for each in found):
        for candidate in transformed_weights(original, shape):
            numbers = candidate.reshape(rows.values.shape)
            if _is_rounding(rows, numbers):
                return WeightMatch(candidate if weight.is_float else _levels(weight, candidate))
            altered = altered or is_altered(rows, [numbers])
    return WeightMatch(None, altered)


def _without_first_axis(weight: RoundedWeight) -> RoundedWeight:
    """Return a weight (1, N, …) as (N, …), so that it is compared in parts; others as they are."""
    values = weight.values
    if values.ndim < 2 or len(values) != 1 or weight.block:
        return weight

    def strip(numbers: Any) -> Any:
        return numbers[0] if np.ndim(numbers) == values.ndim else numbers

    fields = {name: strip(getattr(weight, name)) for name in ("scale", "zero_point", "scale_error")}
    return replace(weight, values=values[0], **fields)


def _layouts(original: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield a weight in the orders of its axes that an exporter may choose, in a shape."""
    yield original.reshape(shape)
    if original.ndim == 2:
        yield original.T.reshape(shape)
    if original.ndim == len(STACKED_FRAMES):
        yield original.transpose(STACKED_FRAMES).reshape(shape)


def _is_rounding(weight: RoundedWeight, original: Array) -> bool:
    if not weight.is_float and weight.free_scale and not _uses_levels(weight, original):
        return False
    return all(_rounds(part, numbers) for part, numbers in split_rows(weight, original))


def _uses_levels(weight: RoundedWeight, original: Array) -> bool:
    """Return whether the scale of each slice is that of its numbers: it has a large level, or holds zeros only."""
    assert weight.scale is not None
    zeros = 0 if weight.zero_point is None else weight.zero_point.astype(np.int32)
    sizes = (np.abs(weight.values.astype(np.int32) - zeros), np.abs(original))
    if weight.block:
        starts = np.arange(0, weight.values.shape[weight.axis], weight.block)
        levels, numbers = (np.maximum.reduceat(each, starts, weight.axis) for each in sizes)
    else:
        one = (1,) * (weight.values.ndim - weight.scale.ndim) + weight.scale.shape
        shared = tuple(axis for axis, size in enumerate(one) if size == 1)
        levels, numbers = (each.max(shared) for each in sizes)
    return bool(((levels >= MIN_LEVEL) | (numbers == 0)).all())


def _rounds(weight: RoundedWeight, original: Array) -> bool:
    """Return whether some rows of a weight are roundings of the reference's."""
    values = weight.values.astype(np.float64)
    if not weight.is_float:
        allowed = HALF + LEVEL_ERROR * np.abs(values)
        if np.any(weight.scale_error):
            allowed = allowed + SCALE_ERRORS * weight.scale_error * np.abs(values - _zeros(weight))
        return bool((np.abs(_levels(weight, original) - values) <= allowed).all())
    digits, smallest = DIGITS[weight.values.dtype.name]
    units = np.ldexp(1.0, np.maximum(np.frexp(values)[1] - digits, smallest))
    room = np.where(np.abs(values) <= MIN_FLOAT16, MIN_FLOAT16, 0.0)
    return bool((np.abs(original - values) <= np.maximum(HALF * units, room)).all())


def _levels(weight: RoundedWeight, original: Array) -> Array:
    """Return the reference's numbers in the unit of a weight's levels, in float64."""
    return original / weight.scale + _zeros(weight)


def _zeros(weight: RoundedWeight) -> Array | int:
    """Return the levels that stand for 0."""
    return 0 if weight.zero_point is None else weight.zero_point
