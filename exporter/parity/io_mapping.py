"""How a model's inputs and outputs correspond to the reference's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import ArtifactError, UsageError
from exporter.parity.arrays import shape_fits
from exporter.types import UNKNOWN_RANK
from models.built_model import BuiltModel
from models.specs import Signature, TensorSpec


@dataclass(frozen=True)
class IOMapping:
    """How a model's inputs and outputs correspond to the reference's.

    Attributes:
        inputs: {name in the input set: the model's input}.
        outputs: {the model's output: the reference's output}.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, str]


def map_by_manifest(path: Path, found: Signature, stated: Signature) -> IOMapping:
    """Check a loaded model against the signature that its manifest states.

    Raises:
        ArtifactError: they differ; the message has both.
    """
    pairs = [*_pair(stated.inputs, found.inputs), *_pair(stated.outputs, found.outputs)]
    if not pairs or not all(
        b is not None
        and a.name == b.name
        and a.dtype == b.dtype
        and len(a.shape) == len(b.shape)
        and all(x == y or (isinstance(x, str) and isinstance(y, str)) for x, y in zip(a.shape, b.shape, strict=True))
        for a, b in pairs
    ):
        raise ArtifactError(f"{path}: its signature differs from its manifest's: {found}; expected {stated}")
    return IOMapping({value.name: value for value in found.inputs}, {value.name: value.name for value in found.outputs})


def map_by_network(path: Path, found: Signature, model: BuiltModel) -> IOMapping:
    """Find a network's input and outputs in a model file without a manifest.

    The input is the file's only one, whatever its name. Outputs are found by name; a single output of another name is
    the network's first where it has that shape.

    Raises:
        ArtifactError: the file is not of this network; the message has both signatures.
    """
    shapes = {output.name: output.shape for output in model.outputs}
    first = model.outputs[0]
    inputs = [value for value in found.inputs if value.shape[1:] == model.input.shape[1:] and "float" in value.dtype]
    named = {value.name: value.name for value in found.outputs if value.name in shapes}
    if not named and len(found.outputs) == 1 and found.outputs[0].shape[1:] in (first.shape, ("?",)):
        named = {found.outputs[0].name: first.name}
    fits = all(value.shape[1:] in (shapes[named[value.name]], ("?",)) for value in found.outputs if value.name in named)
    if len(found.inputs) != 1 or len(inputs) != 1 or not named or not fits:
        expected = model.signature((first.name,))
        raise ArtifactError(f"{path}: its signature differs from the network's: {found}; expected {expected}")
    return IOMapping({model.input.name: inputs[0]}, named)


def map_by_name(path: Path, found: Signature, other: Signature, pairs: Sequence[tuple[str, str]] = ()) -> IOMapping:
    """Pair two models' inputs and outputs: as stated, then those of one name, and the rest by position.

    Args:
        path: the model file.
        found: its signature.
        other: the other model's signature.
        pairs: (the other's name, the model's name) of inputs or outputs that correspond.

    Raises:
        ArtifactError: they have different numbers of them, or sizes that cannot be the same; the message has both.
        UsageError: a pair names no input and no output, or a name occurs in two pairs.
    """
    ports = ((other.inputs, found.inputs), (other.outputs, found.outputs))
    for theirs, ours in pairs:
        if not any(_has(a, theirs) and _has(b, ours) for a, b in ports):
            raise UsageError(
                f"--map {theirs}={ours}: write a name of the file after --against, then one of {path.name}, both "
                f"inputs or both outputs; {path.name} has {found}; the other has {other}"
            )
    for side in (0, 1):
        if repeated := [name for name, count in Counter(pair[side] for pair in pairs).items() if count > 1]:
            raise UsageError(f"--map: {repeated[0]} is paired more than once, so that another would not be compared")
    inputs, outputs = (_pair(*sides, dict(pairs)) for sides in ports)
    for theirs, ours in (*inputs, *outputs):
        if ours is None or not _compatible(theirs, ours):
            hint = "; pair those of other names with --map OTHER=OWN" if any(_can_be_paired(*p) for p in ports) else ""
            raise ArtifactError(f"{path}: its signature does not fit the other's: {found}; the other has {other}{hint}")
    return IOMapping(
        {theirs.name: ours for theirs, ours in inputs if ours is not None},
        {ours.name: theirs.name for theirs, ours in outputs if ours is not None},
    )


def _has(values: tuple[TensorSpec, ...], name: str) -> bool:
    return any(value.name == name for value in values)


def _pair(
    wanted: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...], stated: Mapping[str, str] | None = None
) -> list[tuple[TensorSpec, TensorSpec | None]]:
    if len(wanted) != len(found):
        return [(value, None) for value in (wanted or found)]
    named = {value.name: value for value in found}
    partners = {theirs: ours for theirs, ours in (stated or {}).items() if ours in named and _has(wanted, theirs)}
    for value in wanted:
        if value.name in named and value.name not in partners and value.name not in partners.values():
            partners[value.name] = value.name
    rest = iter([value for value in found if value.name not in partners.values()])
    return [(value, named[partners[value.name]] if value.name in partners else next(rest, None)) for value in wanted]


def _can_be_paired(wanted: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]) -> bool:
    """Return whether there are several inputs or outputs, each of which fits some of the other model's."""
    same = len(wanted) == len(found) > 1
    return same and all(any(_compatible(a, b) for b in found) for a in wanted)


def _compatible(a: TensorSpec, b: TensorSpec) -> bool:
    """Return whether two tensors can hold the same rows: floats or not, and one shape after the batch axis.

    A dynamic size fits any, and so does an unknown rank.
    """
    if ("float" in a.dtype) != ("float" in b.dtype):
        return False
    if not a.shape or not b.shape or UNKNOWN_RANK in (a.shape[-1], b.shape[-1]):
        return True
    return shape_fits(a.shape[1:], b.shape[1:])
