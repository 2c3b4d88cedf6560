"""What a model's outputs mean: class scores, probabilities or features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.artifacts.export_again import export_again_command
from exporter.artifacts.loading import LoadedArtifact
from exporter.errors import UsageError, join_limited
from exporter.inference.types import InferenceOptions
from models.architectures import ARCHITECTURES, parse_settings
from models.class_names import check_class_count, load_class_names
from models.specs import OutputKind, OutputSpec, Signature

PROBABILITIES = "probabilities"


def describe_outputs(artifact: LoadedArtifact, signature: Signature) -> tuple[OutputSpec, ...]:
    """Return a model's outputs and what their numbers mean, in its order.

    The network states it where the manifest names one that this release knows. Otherwise an output is of probabilities
    where its name says so or a softmax or sigmoid computes it, of scores where it is a vector, and of features where
    it has positions.
    """
    known = {output.name: output for output in _network_outputs(artifact)}
    normalized: frozenset[str] = frozenset()
    if artifact.format == "onnx" and not known:
        from exporter.onnx_io.load import load_without_weights
        from exporter.onnx_io.normalized_outputs import normalized_outputs

        normalized = normalized_outputs(load_without_weights(artifact.path))
    found: list[OutputSpec] = []
    for value in signature.outputs:
        shape = tuple(size if isinstance(size, int) else 0 for size in value.shape[1:])
        kind: OutputKind = "scores" if len(value.shape) == 2 else "features"
        if value.name in normalized or value.name == PROBABILITIES:
            kind = "probabilities"
        found.append(known.get(value.name) or OutputSpec(value.name, shape, kind))
    return tuple(found)


def select_outputs(
    outputs: Sequence[OutputSpec], names: Sequence[str] | None, artifact: LoadedArtifact
) -> tuple[OutputSpec, ...]:
    """Return the outputs called `names`, in that order; all for None.

    Args:
        outputs: those of the model.
        names: the wanted ones.
        artifact: the model, for the message.

    Raises:
        UsageError: the model has no such output.
    """
    if names is None:
        return tuple(outputs)
    by_name = {output.name: output for output in outputs}
    if missing := [name for name in names if name not in by_name]:
        what = f"{artifact.path.name} does not return {join_limited(missing)}; it returns {join_limited(by_name)}"
        raise UsageError(f"{what}. {_how_to_return(missing, by_name, names, artifact)}")
    return tuple(by_name[name] for name in names)


def _network_outputs(artifact: LoadedArtifact) -> tuple[OutputSpec, ...]:
    """Return what the network of an artifact can return; nothing where this release does not know it."""
    if artifact.manifest is None or artifact.manifest.network.architecture not in ARCHITECTURES:
        return ()
    network = artifact.manifest.network
    return parse_settings(network.architecture, network.settings).outputs


def _how_to_return(
    missing: Sequence[str], returned: Iterable[str], names: Sequence[str], artifact: LoadedArtifact
) -> str:
    """Return what to do to get the outputs that a model lacks."""
    if artifact.manifest is None:
        return "The tool that wrote the file has to make an output of each"
    possible = [output.name for output in _network_outputs(artifact)]
    if possible and not {*missing} <= {*possible}:
        return f"Its network can return {join_limited(possible)}"
    outputs = tuple(dict.fromkeys((*returned, *names)))
    command = export_again_command(artifact, outputs)
    if command is None:
        return f"Other outputs need another export of the network, with outputs={outputs!r}"
    calibrated = artifact.manifest.precision != "fp32" and not artifact.manifest.verified_on_packaged_clip
    videos = "; --calibrate with the videos of before goes with it" if calibrated else ""
    return f"Other outputs need another export{videos}: {command}"


def class_outputs(outputs: Sequence[OutputSpec]) -> tuple[OutputSpec, ...]:
    """Return the outputs that are a number for each class."""
    return tuple(output for output in outputs if output.kind != "features" and len(output.shape) == 1)


def class_count(outputs: Sequence[OutputSpec]) -> int:
    """Return the number of classes; 0 where no output is of classes, or its size is not stated."""
    return next((output.shape[0] for output in class_outputs(outputs)), 0)


def choose_class_names(
    artifact: LoadedArtifact, outputs: Sequence[OutputSpec], options: InferenceOptions
) -> tuple[str, ...] | None:
    """Return the class names: those given, otherwise the manifest's.

    Raises:
        UsageError: their number is not that of the classes.
        BadInputError: the file cannot be read.
    """
    if options.labels is None:
        return artifact.manifest.class_names if artifact.manifest is not None else None
    names = load_class_names(options.labels)
    check_class_count(names, class_count(outputs), options.labels)
    return names
