"""`build()`: construct C3D, initialise or load its weights, and describe the result for the exporter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from models.architectures import parse_settings
from models.built_model import BuiltModel, Setting
from models.c3d import C3D, all_outputs, fold_batch_norm, from_config
from models.checkpoints.checkpoint import Checkpoint, read_checkpoint
from models.checkpoints.info import CheckpointInfo
from models.checkpoints.loading import load_into
from models.class_names import ClassNames, check_class_count, load_class_names, suggest_labels
from models.config import ARCHITECTURE, OUTPUTS, C3DConfig
from models.errors import BadInputError, UsageError, count, join_limited
from models.options import BuildOptions, WeightSelection
from models.paths import require_file
from models.planning import Plan, fit_preprocessing, plan, profile_frame_size, random_config
from models.pooling import format_size
from models.preprocessing.files import find_profile
from models.preprocessing.profiles import NOT_KNOWN, PROFILES, UNKNOWN
from models.preprocessing.recipe import Preprocessing
from models.preprocessing.selection import NO_PROFILE, UNKNOWN_PROFILE, ChosenProfile, choose_profile
from models.progress import Progress, no_progress


def build(options: BuildOptions | None = None, progress: Progress = no_progress) -> BuiltModel:
    """Construct C3D, initialise it from the seed, load the weights if there are any, and put it in eval mode.

    torch's global random state does not change.

    Args:
        options: what to build; None for the published network with random weights.
        progress: called while something is downloaded.

    Raises:
        models.errors.CheckpointError: the checkpoint is bad, of another network, or does not cover the whole network.
        models.errors.UsageError: options that do not go together or describe no network, no such layout, or another
            number of class names than of classes.
        models.errors.BadInputError: a file of class names that is bad.
        models.errors.UnavailableError: a library is missing that reads or fetches such a checkpoint.
    """
    options = options or BuildOptions()
    # bad small files are refused before a checkpoint is downloaded or read, or 78 million weights are drawn
    names = None if options.labels is None else load_class_names(options.labels)
    if options.preprocess is not None:
        find_profile(options.preprocess)
    if options.mean is not None:
        require_file(options.mean, "mean file", BadInputError)
    if options.weights is None:
        if options.selection != WeightSelection():
            raise UsageError("--key, --prefix, --ema, --ignore and --key-map need --weights")
        if options.expect_sha256 is not None:
            raise UsageError("--expect-sha256 is the hash of a checkpoint, and needs --weights")
        return _build_random(random_config(options), options, names)
    checkpoint = read_checkpoint(
        options.weights, options.layout, progress, options.selection, sha256=options.expect_sha256
    )
    model = _build_loaded(plan(checkpoint, options), checkpoint, options, names)
    return replace(model, notes=(*model.notes, *describe_unknown(model)))


def rebuild(
    architecture: str, settings: Mapping[str, Setting], options: BuildOptions, progress: Progress = no_progress
) -> BuiltModel:
    """Build a network again from what a manifest records of it.

    Args:
        architecture: `BuiltModel.architecture`.
        settings: `BuiltModel.settings`; they replace what `options` says of the structure.
        options: weights, layout and seed.
        progress: called while something is downloaded.

    Raises:
        UsageError: an unknown architecture, or settings it does not have.
        CheckpointError, UnavailableError: see `build`.
    """
    config = parse_settings(architecture, settings)
    options = replace(options, pool5=config.pool5)
    if options.weights is None:
        return _build_random(config, options)
    checkpoint = read_checkpoint(options.weights, options.layout, progress, options.selection)
    return _build_loaded(Plan(config, "manifest"), checkpoint, options)


def describe_unknown(model: BuiltModel) -> tuple[str, ...]:
    """Return what is not known of a network whose weights come from a checkpoint, and how the user states it."""
    notes: tuple[str, ...] = ()
    if model.checkpoint is None:
        return notes
    if model.preprocessing is not None and model.preprocessing.name == UNKNOWN.name:
        notes += (f"the preprocessing is {NOT_KNOWN}",)
    classes = model.settings.get("num_classes")
    if model.class_names is None and isinstance(classes, int) and classes and not model.checkpoint.reinitialized:
        notes += (f"the class names are not known; {suggest_labels(classes)} sets them",)
    return notes


def skeleton(architecture: str, settings: Mapping[str, Setting]) -> BuiltModel:
    """Return the network of a manifest without weights, on the meta device: its input, outputs and layers.

    Raises:
        UsageError: an unknown architecture, or settings it does not have.
    """
    with torch.device("meta"):
        network = from_config(parse_settings(architecture, settings))
    return _describe(_freeze(network), BuildOptions(), "")


def state_sha256(network: nn.Module) -> str:
    """Return one SHA-256 over every tensor of the network's state: name, dtype, shape and bytes, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def _build_random(config: C3DConfig, options: BuildOptions, names: ClassNames | None = None) -> BuiltModel:
    if names is not None:
        check_class_count(names, config.num_classes, options.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = _freeze(from_config(config))
    chosen = _choose_profile(config, options)
    notes = (f"the weights are random, from seed {options.seed}; --weights loads a checkpoint", *chosen.notes)
    notes += _input_notes(config, chosen.preprocessing, _stated_size(options))
    source = "option" if options.pool5 else "default"
    return _describe(network, options, source, chosen=chosen, notes=notes, class_names=names)


def _build_loaded(
    planned: Plan, checkpoint: Checkpoint, options: BuildOptions, names: ClassNames | None = None
) -> BuiltModel:
    if names is not None:
        check_class_count(names, planned.config.num_classes, options.labels)
    # On the meta device nothing is allocated or drawn that the checkpoint would overwrite.
    config = planned.config
    with torch.device("meta"):
        network = from_config(config)
    loaded = load_into(network, checkpoint, new_head=options.new_head)
    if loaded.reinitialized:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network.fc8 = nn.Linear(*config.linear_sizes["fc8"])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d | nn.BatchNorm1d):
            module.num_batches_tracked = torch.zeros((), dtype=torch.long)
    if names is None and not loaded.reinitialized:
        names = checkpoint.class_names
    chosen = _choose_profile(config, options, checkpoint)
    notes = (*_notes(config, options, planned, loaded, checkpoint.file.notes), *chosen.notes)
    notes += _input_notes(config, chosen.preprocessing, _stated_size(options, checkpoint))
    source = planned.pool5_source
    return _describe(_freeze(network), options, source, loaded, chosen=chosen, notes=notes, class_names=names)


def _choose_profile(config: C3DConfig, options: BuildOptions, checkpoint: Checkpoint | None = None) -> ChosenProfile:
    """Return the profile of the network's clips: the option's, otherwise the checkpoint's.

    Raises:
        UsageError: an option for clips that are not in colour, an unknown profile, or one whose crop does not fit.
        BadInputError: the profile's file, or the mean's, cannot be used.
    """
    own = fit_preprocessing(config, checkpoint)
    if own is None:
        if options.preprocess or options.mean:
            raise UsageError(f"--preprocess and --mean are for clips of 3 channels; these have {config.channels}")
        return NO_PROFILE
    return choose_profile(own, (config.frames, config.height, config.width), options.preprocess, options.mean)


def _freeze(network: C3D) -> C3D:
    return network.eval().requires_grad_(requires_grad=False)


def _describe(
    network: C3D,
    options: BuildOptions,
    pool5_source: str,
    info: CheckpointInfo | None = None,
    *,
    chosen: ChosenProfile = UNKNOWN_PROFILE,
    notes: tuple[str, ...] = (),
    class_names: ClassNames | None = None,
) -> BuiltModel:
    config = network.config
    given = {"preprocess": options.preprocess, "labels": options.labels}
    given["selection"] = None if options.selection == WeightSelection() else "given"
    return BuiltModel(
        network=network,
        input=config.input,
        outputs=config.outputs,
        architecture=ARCHITECTURE,
        description=config.describe(),
        settings=config.settings(),
        setting_sources={"pool5": pool5_source} | {name: "option" for name, value in given.items() if value},
        default_outputs=config.default_outputs,
        unavailable_outputs=_unavailable_outputs(config),
        preprocessing=chosen.preprocessing,
        mean_cube=chosen.mean_cube,
        class_names=class_names,
        seed=options.seed,
        checkpoint=info,
        notes=notes,
        forward_all=all_outputs(network),
        fuse=partial(_fused_outputs, network) if config.batch_norm_sizes else None,
        conv_hints=config.conv_hints,
    )


def _stated_size(options: BuildOptions, checkpoint: Checkpoint | None = None) -> tuple[int, int] | None:
    """Return the (height, width) that the profile is stated for; None for one of a file, which is taken as it is."""
    if options.preprocess is None:
        return profile_frame_size(checkpoint)
    return profile_frame_size() if find_profile(options.preprocess) in PROFILES else None


def _input_notes(config: C3DConfig, profile: Preprocessing | None, stated: tuple[int, int] | None) -> tuple[str, ...]:
    """Return what the clip's size and channels, and the size that its profile is for, mean for what is computed."""
    notes: tuple[str, ...] = ()
    if profile is None:
        notes += (f"there is no profile for clips of {count(config.channels, 'channel')}: parity runs on random clips",)
    elif profile.name != UNKNOWN.name and stated not in (None, config.clip_shape[-2:]):
        size = format_size(config.clip_shape[-2:])
        notes += (
            f"the profile {profile.name} is for frames of {format_size(stated)}; its sizes are scaled for {size}",
        )
    halving = {name: pool for name, pool in config.pools.items() if pool is not None and pool.halves}
    odd = [
        name
        for name, pool in halving.items()
        if any(size % window for size, window in zip(config.pooled_size(name), pool.kernel, strict=True))
    ]
    if config.variant == "c3d" and config.pool5 == "right" and odd:
        text = "an odd number of positions is halved and rounded down, as in PyTorch's ports; Caffe rounds up"
        notes += (f"{join_limited(odd)}: {text}",)
    return notes


def _unavailable_outputs(config: C3DConfig) -> dict[str, str]:
    """Return {output that this network cannot return: why, and what to do}."""
    available = [output.name for output in config.outputs]
    missing = [name for name in OUTPUTS if name not in available]
    features = ",".join(name for name in ("fc6", "fc7", "pool5") if name in available)
    without = {name: f"the checkpoint has no {name}; --outputs {features} exports its features" for name in missing}
    head = f"{_NO_CLASSIFIER}; --outputs {features} exports its features"
    if config.takes_new_head:
        head += ", and --new-head initialises an fc8 for training"
    return without | {name: head for name in ("logits", "probabilities") if name in missing}


_NO_CLASSIFIER = "the checkpoint has no fc8"


def _fused_outputs(network: C3D) -> nn.Module:
    return all_outputs(fold_batch_norm(network))


def _notes(
    config: C3DConfig,
    options: BuildOptions,
    planned: Plan,
    info: CheckpointInfo,
    download_notes: tuple[str, ...],
) -> tuple[str, ...]:
    notes = [f"{info.file}: {info.layout} layout, {info.loaded} of {info.total} tensors"]
    if info.reinitialized:
        notes.append(f"fc8 is newly initialised from seed {options.seed}: its scores mean nothing before training")
    notes += download_notes
    if not config.num_classes:
        text = f"{_NO_CLASSIFIER}: the artifact returns features, no class scores"
        notes.append(text + "; --new-head adds an fc8" * config.takes_new_head)
    notes += planned.notes
    notes += info.notes
    if planned.pool5_source == "option" and info.pool5 not in (None, config.pool5):
        notes.append(
            f"--pool5 {config.pool5} overrides the checkpoint's convention, {info.pool5}: the outputs will differ"
        )
    if info.converted:
        notes.append(f"weights were converted from {', '.join(info.converted)} to float32")
    if planned.pool5_source == "shapes":
        reader = next(iter(config.linear_sizes))
        notes.append(f"clips of {format_size(config.clip_shape)} fit {reader} with pool5 {config.pool5} only")
    if planned.pool5_source == "default" and config.variant == "c3d":
        notes.append(
            "the checkpoint does not state its pool5 convention; symmetric is assumed. Weights that come from Caffe "
            "need --pool5 right"
        )
    return tuple(notes)
