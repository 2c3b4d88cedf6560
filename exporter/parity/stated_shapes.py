"""The sizes that a model and the user state, and what of the user's does not fit the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exporter.errors import UsageError
from exporter.parity.arrays import read_npy, shape_fits
from exporter.parity.input_checks import require_representable
from exporter.parity.sequences import with_items
from exporter.types import InputOptions, ValueRange
from models.specs import Signature, TensorSpec


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
