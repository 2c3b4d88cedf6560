"""How a model's inputs and outputs correspond to the reference's."""

from pathlib import Path

from exporter.errors import ArtifactError
from exporter.parity.execution import IOMapping
from exporter.types import UNKNOWN_RANK
from models.built_model import BuiltModel
from models.specs import Signature, TensorSpec


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


def map_by_name(path: Path, found: Signature, other: Signature) -> IOMapping:
    """Pair two models' inputs and outputs: those of one name, and the rest by position.

    Raises:
        ArtifactError: they have different numbers of them, or sizes that cannot be the same; the message has both.
    """
    inputs, outputs = _pair(other.inputs, found.inputs), _pair(other.outputs, found.outputs)
    for theirs, ours in (*inputs, *outputs):
        if ours is None or not _compatible(theirs, ours):
            raise ArtifactError(f"{path}: its signature does not fit the other's: {found}; the other has {other}")
    return IOMapping(
        {theirs.name: ours for theirs, ours in inputs if ours is not None},
        {ours.name: theirs.name for theirs, ours in outputs if ours is not None},
    )


def _pair(wanted: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]) -> list[tuple[TensorSpec, TensorSpec | None]]:
    if len(wanted) != len(found):
        return [(value, None) for value in (wanted or found)]
    named = {value.name: value for value in found}
    shared = named.keys() & {value.name for value in wanted}
    rest = iter([value for value in found if value.name not in shared])
    return [(value, named[value.name] if value.name in shared else next(rest)) for value in wanted]


def _compatible(a: TensorSpec, b: TensorSpec) -> bool:
    """Return whether two tensors can hold the same rows: floats or not, and one shape after the batch axis.

    A dynamic size fits any, and so does an unknown rank.
    """
    if ("float" in a.dtype) != ("float" in b.dtype):
        return False
    if not a.shape or not b.shape or UNKNOWN_RANK in (a.shape[-1], b.shape[-1]):
        return True
    sizes = zip(a.shape[1:], b.shape[1:], strict=False)
    return len(a.shape) == len(b.shape) and all(x == y or isinstance(x, str) or isinstance(y, str) for x, y in sizes)
