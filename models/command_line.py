"""Build options as the words of a `c3d-export` command: what a user types to get the same network again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from models.http.addresses import display_source
from models.options import BuildOptions
from models.pooling import format_size


def option_words(
    values: Iterable[tuple[str, Any, Any]] = (),
    repeated: Iterable[tuple[str, Iterable[Any]]] = (),
    flags: Iterable[tuple[str, bool]] = (),
) -> Iterator[str]:
    """Yield the words of options that differ from their defaults.

    Args:
        values: (option, value, default); None is never stated.
        repeated: (option, values), the option stated with each.
        flags: (option, whether it is given).
    """
    for option, value, default in values:
        if value != default and value is not None:
            yield from (option, _text(value))
    for option, given in repeated:
        for value in given:
            yield from (option, _text(value))
    yield from (option for option, given in flags if given)


def build_words(options: BuildOptions) -> Iterator[str]:
    """Yield the options that build a network, `--weights` among them; widths and `expect_sha256` have none here."""
    selection = options.selection
    yield from option_words(
        [
            ("--weights", options.weights, None),
            ("--layout", options.layout, "auto"),
            ("--key", selection.key, None),
            ("--prefix", selection.prefix, None),
            ("--pool5", options.pool5, None),
            ("--variant", options.variant, None),
            ("--input-size", options.input_size and format_size(options.input_size), None),
            ("--num-classes", options.num_classes, None),
            ("--labels", options.labels if isinstance(options.labels, str | Path) else None, None),
            ("--preprocess", options.preprocess, None),
            ("--mean", options.mean, None),
            ("--seed", options.seed, 0),
        ],
        [("--ignore", selection.ignore), ("--key-map", selection.key_map)],
        [("--ema", selection.ema), ("--batch-norm", options.batch_norm), ("--new-head", options.new_head)],
    )


def _text(value: Any) -> str:
    """Return an option's value; of an address without user, password and query, which may be secrets."""
    return f"{value:g}" if isinstance(value, float) else display_source(value) if isinstance(value, str) else str(value)
