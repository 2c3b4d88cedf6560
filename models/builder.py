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
from models.checkpoints import Checkpoint, load_into, read_checkpoint
from models.checkpoints.info import CheckpointInfo
from models.config import ARCHITECTURE, CONV_HINTS, DEFAULT_CLASSES, C3DConfig
from models.errors import UsageError, join_limited
from models.options import BuildOptions
from models.preprocessing import UNKNOWN, Preprocessing
from models.progress import Progress, no_progress


def build(options: BuildOptions | None = None, progress: Progress = no_progress) -> BuiltModel:
    """Construct C3D, initialise it from the seed, load the weights if there are any, and put it in eval mode.

    torch's global random state does not change.

    Args:
        options: what to build; None for the published network with random weights.
        progress: called while something is downloaded.

    Raises:
        models.errors.CheckpointError: the checkpoint is bad, of another network, or does not cover the whole network.
        models.errors.UsageError: options that do not go together, or no such layout.
        models.errors.UnavailableError: a library is missing that reads or fetches such a checkpoint.
        ValueError: `num_classes` out of range.
    """
    options = options or BuildOptions()
    if options.weights is None:
        if options.new_head:
            raise UsageError("--new-head needs --weights: without a checkpoint every layer is newly initialised")
        classes = DEFAULT_CLASSES if options.num_classes is None else options.num_classes
        config = C3DConfig(
            classes, options.batch_norm, options.pool5 or "symmetric", options.base_channels, options.feature_dim
        )
        network = _init_model(config, options.seed)
        return _describe(network, options, "option" if options.pool5 else "default", None, UNKNOWN)

    checkpoint = read_checkpoint(options.weights, options.layout, progress)
    classes = checkpoint.num_classes or (DEFAULT_CLASSES if options.new_head else 0)
    config = C3DConfig(
        classes if options.num_classes is None else options.num_classes,
        options.batch_norm or checkpoint.batch_norm,
        options.pool5 or checkpoint.pool5 or "symmetric",
    )
    network, info = _load_model(config, checkpoint, options)
    stated = "file" if checkpoint.raw.pool5 else "layout" if checkpoint.pool5 else "default"
    source = "option" if options.pool5 else stated
    return _describe(network, options, source, info, checkpoint.preprocessing, checkpoint.file.notes)


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
    return build(replace(options, **vars(parse_settings(architecture, settings))), progress)


def skeleton(architecture: str, settings: Mapping[str, Setting]) -> BuiltModel:
    """Return the network of a manifest without weights, on the meta device: its input, outputs and layers.

    Raises:
        UsageError: an unknown architecture, or settings it does not have.
    """
    with torch.device("meta"):
        network = from_config(parse_settings(architecture, settings))
    return _describe(_freeze(network), BuildOptions(), "", None, UNKNOWN)


def state_sha256(network: nn.Module) -> str:
    """Return one SHA-256 over every tensor of the network's state: name, dtype, shape and bytes, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def _init_model(config: C3DConfig, seed: int) -> C3D:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _freeze(from_config(config))


def _load_model(config: C3DConfig, checkpoint: Checkpoint, options: BuildOptions) -> tuple[C3D, CheckpointInfo]:
    # On the meta device nothing is allocated or drawn that the checkpoint would overwrite.
    with torch.device("meta"):
        network = from_config(config)
    loaded = load_into(network, checkpoint, new_head=options.new_head)
    if loaded.reinitialized:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network.fc8 = nn.Linear(config.feature_dim, config.num_classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.num_batches_tracked = torch.zeros((), dtype=torch.long)
    return _freeze(network), loaded


def _freeze(network: C3D) -> C3D:
    return network.eval().requires_grad_(requires_grad=False)


def _describe(
    network: C3D,
    options: BuildOptions,
    pool5_source: str,
    info: CheckpointInfo | None,
    preprocessing: Preprocessing,
    download_notes: tuple[str, ...] = (),
) -> BuiltModel:
    config = network.config
    missing: tuple[str, ...] = () if config.num_classes else ("logits", "probabilities")
    return BuiltModel(
        network=network,
        input=config.input,
        outputs=config.outputs,
        architecture=ARCHITECTURE,
        description=config.describe(),
        settings=config.settings(),
        setting_sources={"pool5": pool5_source},
        default_outputs=config.default_outputs,
        unavailable_outputs=dict.fromkeys(missing, _NO_CLASSIFIER),
        preprocessing=preprocessing,
        seed=options.seed,
        checkpoint=info,
        notes=_notes(config, options, pool5_source, info, download_notes),
        forward_all=all_outputs(network),
        fuse=partial(_fused_outputs, network) if config.batch_norm else None,
        conv_hints=CONV_HINTS,
    )


_NO_CLASSIFIER = (
    "the checkpoint has no fc8; --outputs fc6,fc7 exports its features, and --new-head initialises an fc8 for training"
)


def _fused_outputs(network: C3D) -> nn.Module:
    return all_outputs(fold_batch_norm(network))


def _notes(
    config: C3DConfig,
    options: BuildOptions,
    pool5_source: str,
    info: CheckpointInfo | None,
    download_notes: tuple[str, ...],
) -> tuple[str, ...]:
    if info is None:
        return (f"the weights are random, from seed {options.seed}; --weights loads a checkpoint",)
    notes = [f"{info.file}: {info.layout} layout, {info.loaded} of {info.total} tensors"]
    if info.reinitialized:
        notes.append(f"fc8 is newly initialised from seed {options.seed}: its scores mean nothing before training")
    notes += download_notes
    if not config.num_classes:
        notes.append(
            "the checkpoint has no fc8: the artifact returns features, no class scores; --new-head adds an fc8"
        )
    if info.ignored_keys:
        notes.append(f"ignored, because only training needs them: {join_limited(info.ignored_keys, 3)}")
    if pool5_source == "option" and info.pool5 not in (None, config.pool5):
        notes.append(
            f"--pool5 {config.pool5} overrides the checkpoint's convention, {info.pool5}: the outputs will differ"
        )
    if info.converted:
        notes.append(f"weights were converted from {', '.join(info.converted)} to float32")
    if pool5_source == "default":
        notes.append(
            "the checkpoint does not state its pool5 convention; symmetric is assumed. Weights that come from Caffe "
            "need --pool5 right"
        )
    return tuple(notes)
