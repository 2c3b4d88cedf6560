"""What one input of a model file consists of: shapes, values, and whether its first axis is the batch.

A file states some of this. What it leaves open is taken from the user's options, else from a short list of defaults,
of which the first one is used that the model runs on (`exporter.parity.discovery`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from exporter.errors import UsageError
from exporter.parity.arrays import read_npy, shape_fits
from exporter.parity.input_checks import require_drawable, require_representable
from exporter.parity.input_roles import DerivedValue, InputRoles
from exporter.parity.input_types import INDEX_RANGE, RANDOM, RANGES, is_float
from exporter.parity.sequences import find_sequences, item_dtype, with_items
from exporter.types import InputOptions, ValueRange
from models.specs import Signature, TensorSpec

FREE_SIZES = (32, 64, 224, 16, 8, 4, 3, 2, 1)
"""Sizes to try for dynamic axes."""
FIRST_SIZES = (4, 2, 1, None)
"""Sizes to try for a free first axis that is not the batch; None takes the size of the other free axes. One item alone
hides what couples items, such as a softmax over the axis, and two hide what grows from step to step."""
INDEX_RANGES = (INDEX_RANGE, ValueRange(1, 9), ValueRange(0, 1), ValueRange(0, 0))
"""Ranges to try for integers that may be indices, also into something small, or divisors."""
MAX_ELEMENTS = 1 << 24
"""Larger inputs are not tried."""
MIN_LABELS, MAX_LABEL_SAMPLES = 32, 4
"""Elements of a discrete output that are compared at least, and the most inputs of each random type for that."""
WIDE_RANGES = {True: ValueRange(-100, 100), False: ValueRange(0, 200)}
"""Values of signed and unsigned integers that are only calculated with."""
NO_ROLES = InputRoles()


@dataclass(frozen=True)
class InputPlan:
    """What one feed consists of.

    Attributes:
        specs: the model's inputs.
        shapes: {input: shape of a whole feed}; its first size is 1 where that axis is the batch.
        values: {input: the numbers that it is drawn from}, for inputs that are not drawn by input type.
        fixed: {input: its value in every feed}.
        batched: the first axis of every input is the batch.
        guessed: sizes or values are defaults that the model may refuse.
        notes: what was chosen and is stated neither by the model nor by the user, in a sentence.
        sequences: {input that is a sequence: the names of its items, which stand in `specs` for it}.
        batch: the batch size of the user's shapes.
        samples: inputs of each random type, so that an output of few labels is compared on enough of them.
        wide: {input: a wider range, which some of its feeds are drawn from}.
    """

    specs: tuple[TensorSpec, ...]
    shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[str, ValueRange] = field(default_factory=dict[str, ValueRange])
    fixed: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    batched: bool = True
    guessed: bool = False
    notes: tuple[str, ...] = ()
    sequences: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    batch: int | None = None
    samples: int = 1
    wide: Mapping[str, ValueRange] = field(default_factory=dict[str, ValueRange])


def make_plans(
    signature: Signature, options: InputOptions, roles: InputRoles = NO_ROLES, *, batched: bool
) -> Iterator[InputPlan]:
    """Yield plans, the one to prefer first; only one where nothing is left open.

    Args:
        signature: the model's inputs and outputs.
        options: what the user gives.
        roles: the inputs whose values follow from the graph; without them, where the model refuses these values.
        batched: take the first axis of every input as the batch, and make feeds of one item.

    Raises:
        UsageError: an option for no input or that does not fit, or an input that cannot be drawn.
        BadInputError: a file of `options.feeds` cannot be read or does not fit.
        LimitError: an input whose stated sizes alone are more than a memory holds.
    """
    known = _read_known(signature, options, batched=batched)
    small = False
    for used, index_range, first, other in known.choices(roles):
        if (shapes := known.fill(first, other)) is not None:
            small = True
            yield known.complete(used, index_range, shapes)
    if not small:
        raise UsageError(
            f"the dynamic sizes of the inputs make more than {MAX_ELEMENTS:,} numbers, whatever is tried; give them "
            "as --shape NAME=1x3x224x224"
        )


@dataclass(frozen=True)
class _Known:
    """What the model and the user state of one feed.

    Attributes:
        plan: as far as it is stated: without shapes and notes, and with the values of the user only.
        stated: {input: shape}, with strings for dynamic sizes; the first size is 1 where that axis is the batch.
        first_sizes: {input: its first size, if that is a number}: the batch size that the graph was exported with.
        drawn: inputs that the user gives no values for.
    """

    plan: InputPlan
    stated: Mapping[str, tuple[int | str, ...]]
    first_sizes: Mapping[str, Sequence[int]]
    drawn: Sequence[TensorSpec]

    @cached_property
    def inner(self) -> set[str]:
        """Free sizes of other axes than the first."""
        return {size for shape in self.stated.values() for size in shape[1:] if isinstance(size, str)}

    @cached_property
    def indices(self) -> list[str]:
        """Inputs of integers that may be indices: of a dtype whose whole range is not drawn."""
        return [value.name for value in self.drawn if value.dtype not in RANGES and not is_float(value.dtype)]

    def choices(self, roles: InputRoles) -> Iterator[tuple[InputRoles, ValueRange, int | None, int]]:
        """Return (roles, range of indices, dynamic first size, other dynamic size) of each plan, the best first."""
        first_free = any(shape and _is_first_only(shape[0], self.inner) for shape in self.stated.values())
        return product(
            (roles, NO_ROLES) if roles.uses or roles.arithmetic else (NO_ROLES,),
            INDEX_RANGES if self.indices else INDEX_RANGES[:1],
            FIRST_SIZES if first_free else FIRST_SIZES[:1],
            FREE_SIZES if self.inner or (first_free and self.plan.batched) else FREE_SIZES[:1],
        )

    def fill(self, first: int | None, other: int) -> dict[str, tuple[int, ...]] | None:
        """Return {input: shape} with these sizes for free axes; None where that makes an input too large."""
        first = other if first is None else first
        shapes = {name: _fill(shape, self.inner, first, other) for name, shape in self.stated.items()}
        large = any(prod(shape) > MAX_ELEMENTS for name, shape in shapes.items() if shape != self.stated[name])
        return None if large else shapes

    def complete(self, roles: InputRoles, index_range: ValueRange, shapes: Mapping[str, tuple[int, ...]]) -> InputPlan:
        """Return the plan with these shapes; values that follow from the graph are those that `roles` derives."""
        whole_shapes = {n: (*self.first_sizes[n], *shape[len(self.first_sizes[n]) :]) for n, shape in shapes.items()}
        derived = roles.derive(self.drawn, whole_shapes, self.plan.fixed)
        arrays = {name: made.value for name, made in derived.items() if not isinstance(made.value, ValueRange)}
        limits = {name: made.value for name, made in derived.items() if isinstance(made.value, ValueRange)}
        wide = {
            value.name: WIDE_RANGES[value.dtype.startswith("int")]
            for value in self.drawn
            if value.name in self.indices and value.name in roles.arithmetic and value.name not in derived
        }
        whole = {v.name: RANGES[v.dtype] for v in self.drawn if v.dtype in RANGES and v.dtype != "bool"}
        ranges = {**whole, **dict.fromkeys(self.indices, index_range), **limits}
        return replace(
            self.plan,
            shapes=shapes,
            values={**ranges, **self.plan.values},
            fixed={**self.plan.fixed, **arrays},
            guessed=bool(self.indices or derived) or shapes != self.stated,
            notes=_describe(self.plan.specs, self.stated, shapes, {**ranges, **derived}, wide),
            wide=wide,
        )


def _read_known(signature: Signature, options: InputOptions, *, batched: bool) -> _Known:
    """Return what a signature and the user state; raises as `make_plans` does."""
    sequences, signature = find_sequences(signature), with_items(signature)
    stated = stated_shapes(signature.inputs, options)
    first_sizes = {name: [size for size in shape[:1] if isinstance(size, int)] for name, shape in stated.items()}
    if batched:
        stated = {name: (1, *shape[1:]) for name, shape in stated.items()}
    specs = {value.name: value for value in signature.inputs}
    values = {name: given for name, given in options.feeds.items() if isinstance(given, ValueRange)}
    drawn = [value for value in signature.inputs if value.name not in options.feeds]
    for value in drawn:
        require_drawable(value, stated[value.name])
    plan = InputPlan(
        specs=signature.inputs,
        shapes={},
        values=values,
        fixed={name: read_npy(given, specs[name]) for name, given in options.feeds.items() if isinstance(given, Path)},
        batched=batched,
        sequences=sequences,
        batch=max((shape[0] for shape in options.shapes.values() if shape), default=None) if batched else None,
        samples=_label_samples(signature),
    )
    return _Known(plan, stated, first_sizes, drawn)


def check_feeds(signature: Signature, options: InputOptions) -> None:
    """Refuse values of `--feed` that are for no input or do not fit, also where nothing will be fed.

    Raises:
        UsageError, BadInputError: see `make_plans`.
    """
    stated_shapes(with_items(signature).inputs, replace(options, shapes={}))


def stated_shapes(inputs: Sequence[TensorSpec], options: InputOptions) -> dict[str, tuple[int | str, ...]]:
    """Return {input: shape} with the sizes that the model, `--shape` and `--feed` state; the others are strings.

    A dynamic size that has a name is the same wherever the name occurs.

    Raises:
        UsageError: an option for no input, a shape that does not fit, or numbers that an input does not hold.
        BadInputError: a file of `options.feeds` cannot be read or does not fit.
    """
    known = {value.name: value for value in inputs}
    for option, names in (("--shape", options.shapes), ("--feed", options.feeds)):
        if unknown := [name for name in names if name not in known]:
            raise UsageError(f"{option} {unknown[0]}: no such input; there are {', '.join(known)}")
    for name, values in options.feeds.items():
        if isinstance(values, ValueRange):
            require_representable(known[name], values)
    given = dict(options.shapes)
    given |= {n: read_npy(path, known[n]).shape for n, path in options.feeds.items() if isinstance(path, Path)}
    sizes: dict[int | str, int] = {}
    for name, shape in given.items():
        spec = known[name]
        other_batch = name in options.shapes and not shape_fits(shape[:1], spec.shape[:1])
        if other_batch or not shape_fits(shape[1:], spec.shape[1:]) or bool(shape) != bool(spec.shape):
            raise UsageError(f"--shape {name}={'x'.join(map(str, shape))} does not fit {spec}")
        sizes |= {symbol: size for symbol, size in zip(spec.shape, shape, strict=False) if isinstance(symbol, str)}
    sizes.pop("?", None)
    stated: dict[str, tuple[int | str, ...]] = {}
    for value in inputs:
        shape = given.get(value.name, value.shape)
        first = value.shape[:1] if value.shape and isinstance(value.shape[0], int) else shape[:1]  # a fixed batch stays
        named = (sizes.get(size, size) for size in (*first, *shape[1:]))
        stated[value.name] = tuple(0 if size == "0" else size for size in named)  # onnxruntime accepts no other
    return stated


def _label_samples(signature: Signature) -> int:
    """Return how many inputs of each random type show `MIN_LABELS` elements of the smallest discrete output."""
    sizes = [
        prod(size for size in output.shape[1:] if isinstance(size, int))
        for output in signature.outputs
        if not is_float(item_dtype(output.dtype)) and all(isinstance(size, int) for size in output.shape[1:])
    ]
    return min(MAX_LABEL_SAMPLES, -(-MIN_LABELS // max(1, len(RANDOM) * min(sizes)))) if sizes else 1


def _is_first_only(size: int | str, inner: set[str]) -> bool:
    """Return whether a first size is dynamic, and not the size of another axis too."""
    return isinstance(size, str) and (size == "?" or size not in inner)


def _fill(shape: tuple[int | str, ...], inner: set[str], first: int, other: int) -> tuple[int, ...]:
    return tuple(
        size if isinstance(size, int) else first if axis == 0 and _is_first_only(size, inner) else other
        for axis, size in enumerate(shape)
    )


def _describe(
    inputs: Sequence[TensorSpec],
    stated: Mapping[str, tuple[int | str, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    values: Mapping[str, ValueRange | DerivedValue],
    wide: Mapping[str, ValueRange],
) -> tuple[str, ...]:
    parts: list[str] = []
    for value in inputs:
        chosen: list[str] = []
        given = values.get(value.name)
        if shapes[value.name] != stated[value.name] and not (isinstance(given, DerivedValue) and given.is_array):
            chosen.append(f"shape {'x'.join(map(str, shapes[value.name]))} (--shape changes it)")
        if isinstance(given, DerivedValue):
            chosen.append(f"{given} (--feed changes it)")
        elif given is not None:
            what = "digits" if value.dtype == "string" else "integers"
            also = f", also {wide[value.name]}" if value.name in wide else ""
            chosen.append(f"{what} {given}{also} (--feed changes them)")
        if chosen:
            parts.append(f"{value}: {', '.join(chosen)}")
    return (f"chosen for {'; '.join(parts)}",) if parts else ()
