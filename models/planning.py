"""Which network to build: from the options alone, or from a checkpoint and the options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.config import CLIP_SHAPE, DEFAULT_CLASSES, FEATURE_DIM, C3DConfig
from models.errors import CheckpointError, UsageError, naming
from models.geometry import Stated, infer_config, name_size, resize_config
from models.options import BuildOptions
from models.preprocessing.profiles import UNKNOWN
from models.preprocessing.recipe import COLOURS, Preprocessing

if TYPE_CHECKING:
    from models.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class Plan:
    """The network to build for a checkpoint.

    Attributes:
        config: its structure.
        pool5_source: who chose its pool5 convention: `option`, `file`, `layout`, `shapes` (no other fits), `default`,
            or `manifest`.
        notes: what was assumed of its structure.
    """

    config: C3DConfig
    pool5_source: str
    notes: tuple[str, ...] = ()


def plan(checkpoint: Checkpoint, options: BuildOptions) -> Plan:
    """Return the network that a checkpoint and the options describe.

    Raises:
        CheckpointError: its shapes do not state the clip's size, or not the one that the options name.
        UsageError: options that do not go together.
    """
    variant = options.variant or checkpoint.variant
    stated = Stated(variant, options.pool5 or checkpoint.pool5, options.input_size or checkpoint.input_size)
    with naming(checkpoint.path):
        inferred = infer_config({name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}, stated)
        config = inferred.config
        if options.new_head and not config.takes_new_head:
            raise CheckpointError(_NO_FC6)
    notes = inferred.notes
    if options.new_head and not config.num_classes and config.feature_dim and not config.fc7_width:
        notes = (*notes, "the checkpoint has no fc7: the new fc8 reads fc6")
    classes = config.num_classes or (DEFAULT_CLASSES if options.new_head else 0)
    config = replace(
        config,
        num_classes=classes if options.num_classes is None else options.num_classes,
        batch_norm=options.batch_norm or config.batch_norm,
    )
    stated_by = "file" if checkpoint.stated_pool5 else "layout" if checkpoint.pool5 else "default"
    source = "option" if options.pool5 else "shapes" if inferred.pool5_from_shapes else stated_by
    return Plan(_checked(config, options), source, (*notes, *_overridden(checkpoint, options)))


_NO_FC6 = (
    "it ends at conv5b: fc6 and fc7 are missing, and --new-head initialises fc8 only. Without --new-head, --outputs "
    "pool5 exports its features"
)


def _overridden(checkpoint: Checkpoint, options: BuildOptions) -> tuple[str, ...]:
    own = checkpoint.variant
    if own is None or options.variant in (None, own):
        return ()
    return (f"--variant {options.variant} overrides the checkpoint's, {own}: the outputs will differ",)


def random_config(options: BuildOptions) -> C3DConfig:
    """Return the structure that the options describe without a checkpoint.

    Raises:
        UsageError: there is no such network.
    """
    if options.new_head:
        raise UsageError("--new-head needs --weights: without a checkpoint every layer is newly initialised")
    variant = options.variant or "c3d"
    width = options.feature_dim
    config = C3DConfig(
        num_classes=DEFAULT_CLASSES if options.num_classes is None else options.num_classes,
        batch_norm=options.batch_norm,
        pool5=options.pool5 or "symmetric",
        base_channels=options.base_channels,
        feature_dim=(0 if variant == "global-pool" else FEATURE_DIM) if width is None else width,
        fc7_dim=options.fc7_dim,
        variant=variant,
        linear_batch_norm=options.batch_norm and variant == "efficient-3dcnns",
    )
    if (size := options.input_size) is not None:
        channels = size[0] if len(size) == len(CLIP_SHAPE) else config.channels
        config = replace(resize_config(config, size[-3:]), channels=channels)
    return _checked(config, options)


def _checked(config: C3DConfig, options: BuildOptions) -> C3DConfig:
    if options.pool5 is not None and config.variant != "c3d":
        raise UsageError(f"--pool5 is a convention of the variant c3d; {config.variant} has one pool5")
    if fault := config.fault():
        raise UsageError(f"{name_size(options.input_size)}: {fault}" if options.input_size else fault)
    return config


def fit_preprocessing(config: C3DConfig, checkpoint: Checkpoint | None = None) -> Preprocessing | None:
    """Return the profile for the network's frames; None for frames that are not in colour, for which there is none.

    Args:
        config: the network.
        checkpoint: whose profile it is; None for a network with random weights.
    """
    if config.channels != COLOURS:
        return None
    if checkpoint is None:
        return UNKNOWN.scaled(config.height, config.width)
    return checkpoint.preprocessing.scaled(config.height, config.width, profile_frame_size(checkpoint))


def profile_frame_size(checkpoint: Checkpoint | None = None) -> tuple[int, int]:
    """Return the (height, width) of the frames that a profile is for: a checkpoint's, or one chosen by name."""
    # a file that states its profile states it for the size of its own clips
    own = (
        checkpoint.input_size
        if checkpoint is not None and checkpoint.raw.conventions.preprocessing is not None
        else None
    )
    *_, height, width = own or CLIP_SHAPE
    return height, width
