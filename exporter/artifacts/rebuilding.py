"""Building again the network that an artifact was exported from, with its preprocessing; where its checkpoint is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import NetworkRecord
from exporter.errors import ArtifactError, BadInputError, UsageError
from models.architectures import parse_settings
from models.built_model import BuiltModel
from models.checkpoints.info import CheckpointInfo
from models.http.addresses import display_source
from models.options import BuildOptions, WeightSelection
from models.preprocessing.profiles import UNKNOWN
from models.preprocessing.recipe import Preprocessing
from models.preprocessing.selection import ChosenProfile, choose_profile, recorded_profile
from models.progress import Progress, no_progress


def rebuild_network(
    artifact: LoadedArtifact, reference: BuildOptions | BuiltModel, progress: Progress = no_progress
) -> tuple[BuiltModel, tuple[str, ...]]:
    """Build the network that an artifact must equal, with the preprocessing that its manifest records.

    Args:
        artifact: with or without a manifest.
        reference: the checkpoint, where the manifest does not say where it is or is to be overruled, and the
            preprocessing likewise; or the network itself.
        progress: called while a checkpoint is downloaded.

    Returns:
        the network, and notes about how it differs from the one the artifact was exported from.

    Raises:
        ArtifactError: there is no manifest and no checkpoint was named, the manifest's checkpoint is missing or is
            another file now, its seed gives other weights here, or this release cannot build the network.
        UsageError: options that describe a network whose manifest does so already.
        CheckpointError: the checkpoint does not load.
    """
    model, notes = _rebuild_clip_network(artifact, reference, progress)
    manifest = artifact.manifest
    if manifest is None or model.without_preprocessing is not None:
        return model, notes
    inside = manifest.with_preprocess
    if not isinstance(reference, BuiltModel):
        model, more = with_recorded_profile(model, manifest, artifact.path.parent, reference, needs_mean=inside)
        model = _with_recorded_facts(model, manifest, reference)
        notes = (*notes, *more)
    elif inside:
        model = replace(model, preprocessing=manifest.preprocessing)
    if not inside:
        return model, notes
    from models.preprocessing.network import with_preprocessing

    return with_preprocessing(model), notes


def _with_recorded_facts(model: BuiltModel, manifest: Manifest, reference: BuildOptions) -> BuiltModel:
    """Return the network with the class names that the options name, otherwise the manifest's, and who chose what."""
    from models.builder import describe_unknown
    from models.class_names import check_class_count, load_class_names

    sources = dict(manifest.network.setting_sources)
    names = manifest.class_names or model.class_names
    if reference.labels is not None:
        names = load_class_names(reference.labels)
        check_class_count(names, parse_settings(model.architecture, model.settings).num_classes, reference.labels)
        sources["labels"] = "option"
    if reference.preprocess is not None:
        sources["preprocess"] = "option"
    model = replace(model, class_names=names, setting_sources=sources)
    return replace(model, notes=(*model.notes, *describe_unknown(model)))


def _rebuild_clip_network(
    artifact: LoadedArtifact, reference: BuildOptions | BuiltModel, progress: Progress
) -> tuple[BuiltModel, tuple[str, ...]]:
    """Return the network as it takes clips, and notes; see `rebuild_network`."""
    from models.builder import build, rebuild, state_sha256

    manifest = artifact.manifest
    if isinstance(reference, BuiltModel):
        same = manifest is None or state_sha256(reference.network) == manifest.network.state_sha256
        return reference, () if same else ("compared with a network whose weights are not those it was exported from",)
    if manifest is None:
        if reference.weights is None:
            raise ArtifactError(
                f"{artifact.path}: has no manifest beside or inside it, so there is nothing to compare it with; name "
                "its checkpoint with --weights, or another model file with --against"
            )
        return build(reference, progress), ()
    network, checkpoint = manifest.network, manifest.checkpoint
    _require_buildable(artifact.path, network)
    _check_overrides(artifact.path.name, network, reference)
    weights = reference.weights or (checkpoint and find_checkpoint(artifact.path, checkpoint))
    options = BuildOptions(
        seed=network.seed,
        weights=weights,
        layout=reference.layout if reference.weights or checkpoint is None else checkpoint.layout,
        selection=_selection(reference, checkpoint),
        new_head=checkpoint is not None and bool(checkpoint.reinitialized),
    )
    try:
        built = rebuild(network.architecture, network.settings, options, progress)
    except UsageError as error:
        raise ArtifactError(f"{artifact.path}: its manifest cannot be used: {error}") from error
    found = built.checkpoint.sha256 if built.checkpoint is not None else None
    recorded = checkpoint.sha256 if checkpoint is not None else None
    if found != recorded:
        named = display_source(weights or "")
        if reference.weights is None:
            raise ArtifactError(
                f"{named}: is not the checkpoint that {artifact.path.name} was exported from "
                f"(SHA-256 {str(found)[:16]}…, not {str(recorded)[:16]}…); name it with --weights"
            )
        note = f"compared with {named}, which is not the file it was exported from"
        return built, (note, *_describe_overrides(built))
    if state_sha256(built.network) != network.state_sha256:
        raise ArtifactError(
            f"{artifact.path}: its network cannot be built again here: seed {network.seed} gives other weights on this "
            "kind of processor or with this torch; verify where it was exported, or export from a checkpoint"
        )
    return built, _describe_overrides(built)


def _require_buildable(path: Path, network: NetworkRecord) -> None:
    if not network.architecture:
        raise ArtifactError(
            f"{path}: was exported from {network.description}, which this tool cannot build; compare it with "
            "another model file (--against FILE), or pass the network to exporter.verify_parity"
        )


def _check_overrides(name: str, network: NetworkRecord, reference: BuildOptions) -> None:
    """Refuse options that describe what the manifest of the artifact `name` records already."""
    structure = (reference.batch_norm, reference.pool5, reference.input_size, reference.variant, reference.new_head)
    if any(structure) or reference.num_classes is not None:
        raise UsageError(
            f"{name} has a manifest that describes its network ({network.description}); --batch-norm, "
            "--pool5, --input-size, --variant, --num-classes and --new-head are for files without one"
        )
    if reference.weights is None and reference.selection != WeightSelection():
        raise UsageError(
            f"{name} has a manifest that records which tensors were taken; --key, --prefix, --ema, "
            "--ignore and --key-map are for another checkpoint, given with --weights"
        )


def _describe_overrides(built: BuiltModel) -> tuple[str, ...]:
    """Return where a manifest states another network than its checkpoint does."""
    checkpoint, pool5 = built.checkpoint, built.settings.get("pool5")
    if checkpoint is None:
        return ()
    notes: list[str] = []
    if checkpoint.pool5 not in (None, pool5):
        notes.append(f"pool5 is {pool5}, as its manifest states; the checkpoint's convention is {checkpoint.pool5}")
    if checkpoint.reinitialized:
        notes.append(f"fc8 is not the checkpoint's: it is initialised from seed {built.seed}, as its manifest states")
    return tuple(notes)


def _selection(reference: BuildOptions, checkpoint: CheckpointInfo | None) -> WeightSelection:
    """Return which tensors of the checkpoint are the network's: as asked for, otherwise as the manifest records it."""
    if reference.weights or checkpoint is None or checkpoint.selection is None:
        return reference.selection
    return checkpoint.selection


def move_manifest(manifest: Manifest, folder: Path, target: Path) -> Manifest:
    """Return a manifest for another folder: the paths of the checkpoint and the mean file, as seen from there.

    It is another manifest: what it was signed with does not hold any more, and is left out.

    Args:
        manifest: of an artifact in `folder`.
        folder: where its paths begin.
        target: the folder that the artifact is copied to.
    """
    checkpoint, profile = manifest.checkpoint, manifest.preprocessing
    if checkpoint is not None and checkpoint.path is not None:
        checkpoint = replace(checkpoint, path=relative_to(folder / checkpoint.path, target))
    if profile is not None and profile.mean_cube is not None and profile.mean_cube.path is not None:
        mean = replace(profile.mean_cube, path=relative_to(folder / profile.mean_cube.path, target))
        profile = replace(profile, mean_cube=mean)
    return replace(manifest, checkpoint=checkpoint, preprocessing=profile, signed=None)


def relative_to(path: Path, folder: Path) -> str:
    """Return `path` relative to `folder`, POSIX: how a manifest records where a checkpoint is."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def find_checkpoint(model: Path, record: CheckpointInfo) -> str | Path:
    """Return the manifest's checkpoint: where it was, beside the artifact, or its address.

    Raises:
        ArtifactError: it is at none of these.
    """
    candidates = [model.parent / name for name in (record.path, record.file) if name]
    for path in candidates:
        if path.is_file():
            return path
    if record.url is not None:
        return f"{record.url}#sha256={record.sha256}"
    tried = " or ".join(map(str, candidates))
    raise ArtifactError(f"{model}: its checkpoint {record.file} is not at {tried}; name it with --weights")


def with_recorded_profile(
    model: BuiltModel, manifest: Manifest, folder: Path, options: BuildOptions, *, needs_mean: bool
) -> tuple[BuiltModel, tuple[str, ...]]:
    """Return the network with the profile that the options name, otherwise the manifest's, and notes about it.

    Args:
        model: the network; its own profile is the checkpoint's, which `--preprocess` may have overridden at export.
        manifest: records the profile, and the mean file.
        folder: the manifest's.
        options: `preprocess` and `mean`.
        needs_mean: whether the artifact subtracts the mean itself, so that another one gives other outputs.

    Raises:
        ArtifactError: the artifact subtracts a mean file that is not found.
        UsageError, BadInputError: see `choose_profile`.
    """
    recorded = manifest.preprocessing
    if recorded is None or model.preprocessing is None:
        return model, ()
    sizes = [int(length) for length in model.input.shape[2:]]
    size = sizes[0], sizes[1], sizes[2]
    if options.preprocess or options.mean:
        chosen = choose_profile(recorded, size, options.preprocess, options.mean)
    else:
        try:
            chosen = recorded_profile(recorded, size, folder)
        except BadInputError as error:
            if needs_mean:
                raise ArtifactError(str(error)) from error
            chosen = ChosenProfile(replace(recorded, mean_cube=None), notes=(f"{error}; clips take the channel means",))
    notes, own = chosen.notes, model.preprocessing
    asked = options.preprocess or options.mean
    if needs_mean and not asked and own.name != UNKNOWN.name and _numbers(own) != _numbers(recorded):
        notes = (
            *notes,
            f"its preprocessing is compared with the profile that its manifest states, {recorded.name}; that of its "
            f"checkpoint's origin is {own.name}, with other values",
        )
    return replace(model, preprocessing=chosen.preprocessing, mean_cube=chosen.mean_cube), notes


def _numbers(profile: Preprocessing) -> Preprocessing:
    """Return a profile without what describes it, and without the mean file, which `recorded_profile` checks."""
    return replace(profile, name="", source="", mean_file="", mean_cube=None)
