"""Whether the first axis of a model's inputs and outputs may be the batch, by its signature."""

from __future__ import annotations

from exporter.parity.input_plan import make_plans
from exporter.parity.input_roles import InputRoles
from exporter.parity.sequences import is_nested
from exporter.types import InputOptions
from models.specs import Signature


def may_be_batched(signature: Signature, options: InputOptions, roles: InputRoles) -> bool:
    """Return whether feeds of one item are worth a try: not where an input has the same value in every feed.

    Raises:
        UsageError, BadInputError: see `make_plans`.
    """
    if not _has_batch_candidate(signature):
        return False
    whole = next(make_plans(signature, options, roles, batched=False), None)
    return whole is not None and not whole.fixed


def _has_batch_candidate(signature: Signature) -> bool:
    """Return whether the first axis of every input and output may be the batch: one dynamic size, or one number.

    Outputs of exported files name their sizes as they like, so any dynamic size is accepted there; whether the axis is
    a batch is confirmed by running the model.
    """
    shapes = [value.shape for value in signature.inputs]
    first = {shape[0] if shape else None for shape in shapes}
    if len(first) != 1 or None in first or not signature.outputs:
        return False
    (size,) = first
    if size == "0":
        return False
    if isinstance(size, str) and size != "?" and any(size in shape[1:] for shape in shapes):
        return False
    if any(is_nested(value.dtype) for value in (*signature.inputs, *signature.outputs)):
        return False
    sizes = [output.shape[0] if output.shape else None for output in signature.outputs]
    return all(isinstance(other, str) if isinstance(size, str) else other in (size, "?") for other in sizes)
