"""How a model's inputs and outputs correspond to what it is held against."""

from pathlib import Path

from exporter.errors import ArtifactError
from exporter.parity.execution import IOMapping
from exporter.types import UNKNOWN_RANK
from models.built_model import BuiltModel
from models.specs import Signature, TensorSpec


def map_by_manifest(path: Path, found: Signature, stated: Signature) -> IOMapping:
    """Hold a loaded model against the signature that its manifest states.

    Raises:
        ArtifactError: they differ; the message shows both.
    """
    pairs = [*_paired(stated.inputs, found.inputs), *_paired(stated.outputs, found.outputs)]
    if not pairs or not all(
        b is not None
        and a.name == b.name
        and a.dtype == b.dtype
        and len(a.shape) == len(b.shape)
        and all(x == y or (isinstance(x, str) and isinstance(y, str)) for x, y in zip(a.shape, b.shape, strict=True))
        for a, b in pairs
    ):
        raise ArtifactError(f"{path}: another signature than its manifest's: {found}; expected {stated}")
    return IOMapping({value.name: value for value in found.inputs}, {value.name: value.name for value in found.outputs})


def map_by_network(path: Path, found: Signature, model: BuiltModel) -> IOMapping:
    """Find a network's input and outputs in a model file without a manifest.

    The input is the file's only one, whatever its name. Outputs are found by name; a single output that has the first
    of the network's shapes (class scores, say) is taken for it.

    Raises:
        ArtifactError: the file is not of this network; the message shows both signatures.
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
        raise ArtifactError(f"{path}: another signature than the network's: {found}; expected {expected}")
    return IOMapping({model.input.name: inputs[0]}, named)


def map_by_name(path: Path, found: Signature, other: Signature) -> IOMapping:
    """Pair two models' inputs and outputs: those of one name, and the rest by position.

    Raises:
        ArtifactError: they have different numbers of them, or sizes that cannot be the same; the message shows both.
    """
    inputs, outputs = _paired(other.inputs, found.inputs), _paired(other.outputs, found.outputs)
    for theirs, ours in (*inputs, *outputs):
        if ours is None or not _compatible(theirs, ours):
            raise ArtifactError(f"{path}: its signature does not fit the other's: {found}; the other has {other}")
    return IOMapping(
        {theirs.name: ours for theirs, ours in inputs if ours is not None},
        {ours.name: theirs.name for theirs, ours in outputs if ours is not None},
    )


def _paired(
    wanted: tuple[TensorSpec, ...], given: tuple[TensorSpec, ...]
) -> list[tuple[TensorSpec, TensorSpec | None]]:
    if len(wanted) != len(given):
        return [(value, None) for value in (wanted or given)]
    named = {value.name: value for value in given}
    shared = named.keys() & {value.name for value in wanted}
    rest = iter([value for value in given if value.name not in shared])
    return [(value, named[value.name] if value.name in shared else next(rest)) for value in wanted]


def _compatible(a: TensorSpec, b: TensorSpec) -> bool:
    """Tell whether two tensors can hold the same rows: floats or not, and one shape behind the batch.

    A free size fits any, and so does a rank that is not stated.
    """
    if ("float" in a.dtype) != ("float" in b.dtype):
        return False
    if not a.shape or not b.shape or UNKNOWN_RANK in (a.shape[-1], b.shape[-1]):
        return True
    sizes = zip(a.shape[1:], b.shape[1:], strict=False)
    return len(a.shape) == len(b.shape) and all(x == y or isinstance(x, str) or isinstance(y, str) for x, y in sizes)
