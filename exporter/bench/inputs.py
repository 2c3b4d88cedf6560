"""What every target is fed: the first artifact's inputs, at each batch size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bench.types import DEFAULT_BATCHES
from exporter.errors import ArtifactError, UsageError
from models.config import INPUT_NAME
from models.specs import Signature, TensorSpec

Shapes = Mapping[str, tuple[int, ...]]
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class Feeds:
    """The inputs: what the first artifact states, and the sizes that the user gives where it leaves them dynamic."""

    inputs: tuple[TensorSpec, ...]
    given: Shapes

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size there is, None where the batch is dynamic."""
        first = self.inputs[0].shape
        free = any(value.shape and isinstance(value.shape[0], str) for value in self.inputs)
        return None if free or not first or not isinstance(first[0], int) else first[0]

    @property
    def unit(self) -> str:
        """What one input is called."""
        return "clips" if self.inputs[0].name == INPUT_NAME else "inputs"

    def sizes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Return {input name: sizes} of one batch; a free first size is the batch."""
        return {
            value.name: tuple(
                size if isinstance(size, int) else batch if axis == 0 else self.given[value.name][axis]
                for axis, size in enumerate(value.shape)
            )
            for value in self.inputs
        }

    def messages(self, batch: int, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the inputs as a worker takes them, under a target's own names."""
        sizes = self.sizes(batch)
        return [
            {"name": name, "dtype": value.dtype, "shape": sizes[value.name]}
            for name, value in zip(names, self.inputs, strict=True)
        ]

    def describe(self, seed: int) -> str:
        """Return a description of the inputs."""
        return f"{', '.join(map(str, self.inputs))}; standard normal, seed {seed}"

    def batches(self, wanted: Sequence[int] | None) -> tuple[int, ...]:
        """Return the batch sizes to measure, ascending, so that the peak of memory grows with them.

        Raises:
            UsageError: another size than the model's only one is wanted.
        """
        fixed = self.fixed_batch
        if fixed is not None and wanted is not None and set(wanted) != {fixed}:
            raise UsageError(f"--batch {','.join(map(str, wanted))}: the model's batch is fixed: --batch {fixed}")
        return tuple(sorted(set(wanted or DEFAULT_BATCHES))) if fixed is None else (fixed,)


def make_feeds(path: Path, signature: Signature | None, shapes: Shapes) -> Feeds:
    """Return what to feed a model; a TorchScript file without a manifest takes what `shapes` says, in its order.

    Raises:
        UsageError: sizes are missing, or given for an input that is not there or whose file says something else.
        ArtifactError: an input whose dtype cannot be drawn.
    """
    if signature is None:
        if not shapes:
            raise UsageError(f"{path}: does not say what it takes; --shape input=1x3x224x224 does, once for each input")
        return Feeds(tuple(TensorSpec(name, "float32", ("batch", *sizes[1:])) for name, sizes in shapes.items()), {})
    known = {value.name: value for value in signature.inputs}
    if not known:
        raise ArtifactError(f"{path}: takes no inputs")
    for name, sizes in shapes.items():
        if name not in known:
            raise UsageError(f"--shape {name}: {path} has no such input; it takes {', '.join(known)}")
        stated = known[name].shape
        if len(stated) != len(sizes) or any(isinstance(a, int) and a != b for a, b in zip(stated, sizes, strict=True)):
            raise UsageError(f"--shape {name}={'x'.join(map(str, sizes))}: {path} takes {known[name]}")
    for value in signature.inputs:
        if value.dtype not in DTYPES:
            raise ArtifactError(f"{path}: input {value.name} is {value.dtype}, of which nothing can be drawn")
        if value.name not in shapes and any(isinstance(size, str) for size in value.shape[1:]):
            raise UsageError(f"{path}: {value} has dynamic axes; give its shape with --shape {value.name}=1x…")
    return Feeds(signature.inputs, shapes)


def matching_names(path: Path, first: Feeds, signature: Signature | None) -> tuple[str, ...]:
    """Return another artifact's input names in the first one's order: by name where all agree, else by position.

    Raises:
        ArtifactError: it cannot take the same inputs.
    """
    if signature is None:
        return tuple(value.name for value in first.inputs)
    theirs = {value.name: value for value in signature.inputs}
    ours = tuple(value.name for value in first.inputs)
    order = [theirs[name] for name in ours] if set(ours) == set(theirs) else list(signature.inputs)
    if len(order) != len(first.inputs) or not all(_fits(a, b) for a, b in zip(first.inputs, order, strict=True)):
        raise ArtifactError(
            f"{path}: takes other inputs than the first artifact: {signature}; the first takes "
            f"{', '.join(map(str, first.inputs))}"
        )
    return tuple(value.name for value in order)


def _fits(ours: TensorSpec, theirs: TensorSpec) -> bool:
    return (
        ours.dtype == theirs.dtype
        and len(ours.shape) == len(theirs.shape)
        and all(
            isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(ours.shape, theirs.shape, strict=True)
        )
    )
