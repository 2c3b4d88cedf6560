"""Whether outputs that fail would agree if they were paired otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from exporter.engines.base import Tensors
from exporter.parity.input_set import InputBatch

Batches = Sequence[tuple[InputBatch, Tensors]]

MAX_OUTPUTS = 12
"""With more outputs no other pairing is looked for: each pair is a comparison."""


def find_pairing(
    batches: Batches, references: Sequence[str], agrees: Callable[[InputBatch, str, NDArray[Any]], bool]
) -> dict[str, str] | None:
    """Return {reference's output: the output, by its present pair, that agrees with it on every batch}.

    None where there is none, or it is the present pairing.

    Args:
        batches: each batch with {the reference's output that an output is paired with: its values}.
        references: the reference's outputs.
        agrees: (batch, reference's output, values) -> whether the values pass as that output.
    """
    outputs = list(batches[0][1]) if batches else []
    if not 1 < len(outputs) <= MAX_OUTPUTS:
        return None
    fits = {
        reference: [output for output in outputs if _fits(batches, reference, output, agrees)]
        for reference in references
        if reference in outputs
    }
    found = _match(fits)
    return None if found is None or all(a == b for a, b in found.items()) else found


def _fits(
    batches: Batches, reference: str, output: str, agrees: Callable[[InputBatch, str, NDArray[Any]], bool]
) -> bool:
    return all(agrees(batch, reference, values[output]) for batch, values in batches)


def _match(fits: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """Return a pairing in which every reference has an output of its own (augmenting paths); None without one."""
    owner: dict[str, str] = {}

    def assign(reference: str, visited: set[str]) -> bool:
        for output in fits[reference]:
            if output not in visited:
                visited.add(output)
                if output not in owner or assign(owner[output], visited):
                    owner[output] = reference
                    return True
        return False

    if not all(assign(reference, set()) for reference in fits):
        return None
    return {reference: output for output, reference in owner.items()}
