"""Values that are chosen from others: the index of an extremum, the branches of Where, elements moved about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from exporter.parity.decisions.nodes import Array, Bounds, Mask, Node, Run, run_node


@dataclass(frozen=True, eq=False)
class Ranked(Node):
    """The indices of the largest or smallest elements along an axis: ArgMax, ArgMin, the second output of TopK.

    An index is permitted at a rank where its element's range overlaps the range of that rank's element. Elements that
    are equal and exact are no near tie: their order is the operator's.

    Attributes:
        value: the value's name.
        source: what is ranked.
        axis: the axis of `source`.
        largest: whether the largest come first.
        ordered: whether the indices are in the order of the elements.
        keeps_axis: whether the value has the axis.
    """

    value: str
    source: Node
    axis: int
    largest: bool
    ordered: bool = True
    keeps_axis: bool = True

    @property
    def sources(self) -> tuple[Node, ...]:
        """See `Node`."""
        return (self.source,)

    @property
    def decides(self) -> bool:
        """See `Node`."""
        return not self.exact

    def bounds(self, run: Run) -> Bounds:
        """See `Node`; an index that may flip can become any."""
        low, high, indices = self._ranges(run)
        ranks = indices.shape[-1]
        sorted_low, sorted_high = _descending(low), _descending(high)
        overlaps = sorted_high[..., 1:] >= sorted_low[..., :-1]
        overlaps &= (sorted_high[..., 1:] > sorted_low[..., 1:]) | (sorted_high[..., :-1] > sorted_low[..., :-1])
        edge = np.zeros((*low.shape[:-1], 1), bool)
        uncertain = np.concatenate([overlaps, edge], -1) | np.concatenate([edge, overlaps], -1)
        uncertain = uncertain[..., :ranks]
        inexact = np.broadcast_to((low != high).any(-1, keepdims=True), indices.shape)
        last = low.shape[-1] - 1
        found = (np.where(uncertain, 0, indices), np.where(uncertain, last, indices), uncertain, inexact)
        return Bounds(*(self._back(array, run) for array in found))

    def accepts(self, run: Run, positions: NDArray[np.intp], candidates: Array) -> Mask:
        """See `Node`."""
        low, high, indices = self._ranges(run)
        ranks = indices.shape[-1]
        places = self._forth(np.arange(indices.size).reshape(run.float64[self.value].shape)).reshape(-1)
        order = np.empty(indices.size, np.intp)
        order[places] = np.arange(indices.size)
        places = order[positions]
        groups, rank = places // ranks, places % ranks
        low, high = low.reshape(-1, low.shape[-1]), high.reshape(-1, high.shape[-1])
        with np.errstate(invalid="ignore"):  # what is no index, NaN included, differs from its cast
            labels = candidates.astype(np.int64)
        valid = (labels == candidates) & (labels >= 0) & (labels < low.shape[-1])
        labels = np.where(valid, labels, 0)
        wanted = indices.reshape(-1, ranks)[groups, rank]
        label_low, label_high = low[groups, labels], high[groups, labels]
        first, last = (rank, rank) if self.ordered else (np.full_like(rank, ranks - 1), np.zeros_like(rank))
        reaches = label_high >= _descending(low)[groups, first]
        reaches &= label_low <= _descending(high)[groups, last]
        exact = (label_high == label_low) & (high[groups, wanted] == low[groups, wanted])
        unique = ~_repeated(places, groups, labels)
        return valid & unique & ((labels == wanted) | (reaches & ~exact))

    def _ranges(self, run: Run) -> tuple[Array, Array, Array]:
        """Return the source's low and high with the axis last, the best first, and the reference's indices."""
        bounds = run.bounds(self.source)
        low, high = np.moveaxis(bounds.low, self.axis, -1), np.moveaxis(bounds.high, self.axis, -1)
        if not self.largest:
            low, high = -high.astype(np.float64), -low.astype(np.float64)
        return low, high, self._forth(run.float64[self.value])

    def _forth(self, array: Array) -> Array:
        """Return an array of the value's shape with the axis last."""
        return np.moveaxis(array, self.axis, -1) if self.keeps_axis else array[..., None]

    def _back(self, array: Array, run: Run) -> Array:
        shape = run.float64[self.value].shape
        return np.moveaxis(array, -1, self.axis) if self.keeps_axis else array.reshape(shape)


def _descending(values: Array) -> Array:
    return -np.sort(-values, -1)


def _repeated(places: Array, groups: Array, labels: Array) -> Mask:
    """Return whether an index occurs at another rank of the same group."""
    found = np.unique(np.stack([groups, labels, places], -1), axis=0)
    pairs, counts = np.unique(found[:, :2], axis=0, return_counts=True)
    several = {tuple(pair) for pair in pairs[counts > 1].tolist()}
    return np.array([pair in several for pair in zip(groups.tolist(), labels.tolist(), strict=True)], bool)


@dataclass(frozen=True, eq=False)
class Choice(Node):
    """Where: one of two values, by a condition that may be a decision."""

    value: str
    condition: Node
    chosen: Node
    other: Node

    @property
    def sources(self) -> tuple[Node, ...]:
        """See `Node`."""
        return (self.condition, self.chosen, self.other)

    def bounds(self, run: Run) -> Bounds:
        """See `Node`."""
        condition, a, b = (run.bounds(source) for source in self.sources)
        always, possible = condition.low.astype(bool), condition.high.astype(bool)
        low = np.where(always, a.low, np.where(possible, np.minimum(a.low, b.low), b.low))
        high = np.where(always, a.high, np.where(possible, np.maximum(a.high, b.high), b.high))
        inner = np.where(always, a.uncertain, np.where(possible, a.uncertain | b.uncertain, b.uncertain))
        inexact = np.broadcast_to(condition.inexact | a.inexact | b.inexact, inner.shape)
        return Bounds(low, high, np.broadcast_to(condition.uncertain, inner.shape) | inner, inexact)

    def accepts(self, run: Run, positions: NDArray[np.intp], candidates: Array) -> Mask:
        """See `Node`."""
        shape = run.float64[self.value].shape
        at = [_broadcast_positions(run.bounds(source).low.shape, shape)[positions] for source in self.sources]
        condition = run.bounds(self.condition)
        always, possible = (array.reshape(-1)[at[0]].astype(bool) for array in condition[:2])
        from_chosen = self.chosen.accepts(run, at[1], candidates)
        from_other = self.other.accepts(run, at[2], candidates)
        return (possible & from_chosen) | (~always & from_other)


def _broadcast_positions(shape: tuple[int, ...], wanted: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the position in an array of `shape` of every element of it broadcast to `wanted`."""
    size = int(np.prod(shape))
    return np.broadcast_to(np.arange(size).reshape(shape), wanted).reshape(-1)


@dataclass(frozen=True, eq=False)
class Moved(Node):
    """Elements of other values in another arrangement: Reshape, Transpose, Slice, Concat, Gather by constants.

    Attributes:
        value: the value's name.
        node: the operator.
        data: {input whose elements are moved: what it is computed from}.
        constants: {other input: its array}.
        opset: of the model.
    """

    value: str
    node: onnx.NodeProto
    data: Mapping[str, Node]
    constants: Mapping[str, Array]
    opset: int

    @property
    def sources(self) -> tuple[Node, ...]:
        """See `Node`."""
        return tuple(self.data.values())

    def bounds(self, run: Run) -> Bounds:
        """See `Node`."""
        origins = self._origins(run)
        found = [run.bounds(source) for source in self.sources]
        columns = [np.concatenate([bounds[part].reshape(-1) for bounds in found]) for part in range(4)]
        return Bounds(*(column[origins] for column in columns))

    def accepts(self, run: Run, positions: NDArray[np.intp], candidates: Array) -> Mask:
        """See `Node`."""
        origins = self._origins(run).reshape(-1)[positions]
        accepted, start = np.zeros(positions.shape, bool), 0
        for source in self.sources:
            size = run.bounds(source).low.size
            own = (origins >= start) & (origins < start + size)
            accepted[own] = source.accepts(run, origins[own] - start, candidates[own])
            start += size
        return accepted

    def _origins(self, run: Run) -> NDArray[np.intp]:
        """Return where each element comes from: its position in the sources, one after the other."""
        arrays: dict[str, Array] = dict(self.constants)
        start = 0
        for name, source in self.data.items():
            shape = run.bounds(source).low.shape
            size = int(np.prod(shape))
            arrays[name] = np.arange(start, start + size).reshape(shape)
            start += size
        return run_node(self.node, arrays, self.opset, self.value)


@dataclass(frozen=True, eq=False)
class Recast(Node):
    """A discrete value in another dtype."""

    value: str
    node: onnx.NodeProto
    source: Node
    opset: int

    @property
    def sources(self) -> tuple[Node, ...]:
        """See `Node`."""
        return (self.source,)

    def bounds(self, run: Run) -> Bounds:
        """See `Node`."""
        bounds = run.bounds(self.source)
        (name,) = self.node.input
        low, high = (run_node(self.node, {name: array}, self.opset) for array in bounds[:2])
        return bounds._replace(low=low, high=high)

    def accepts(self, run: Run, positions: NDArray[np.intp], candidates: Array) -> Mask:
        """See `Node`; a candidate that is no value of the source's dtype is refused."""
        with np.errstate(all="ignore"):
            given = candidates.astype(run.bounds(self.source).low.dtype)
        return (given == candidates) & self.source.accepts(run, positions, given)
