"""What a file is as a checkpoint: the networks in it, their conventions, whether it would load, and the command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from models.checkpoints.checkpoint import BY_POSITION, Checkpoint, remap_keys
from models.checkpoints.detection import select_layouts
from models.checkpoints.extra_tensors import NUM_BATCHES_TRACKED
from models.checkpoints.key_map import parse_key_map
from models.checkpoints.networks import find_networks, name_layers
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.selection import MAX_LISTED, Candidate, choose
from models.checkpoints.sources import ResolvedSource
from models.class_names import ClassNames, describe_class_names, suggest_labels
from models.command_line import build_words
from models.config import C3DConfig
from models.errors import C3DExportError, CheckpointError, count, join_limited, naming, without_path
from models.options import BuildOptions
from models.planning import fit_preprocessing, plan
from models.pooling import Variant
from models.preprocessing.profiles import NOT_KNOWN, UNKNOWN

if TYPE_CHECKING:
    from models.c3d import C3D


@dataclass(frozen=True)
class Description:
    """What a file is as a checkpoint.

    Attributes:
        facts: {fact: text}, in the order to show them; few where it is no C3D's.
        class_names: a name for each class of the network that would be loaded; None where they are not known.
    """

    facts: dict[str, str]
    class_names: ClassNames | None = None


def describe_checkpoint(
    source: str | Path, file: ResolvedSource, raw: ReadResult, options: BuildOptions
) -> Description:
    """Return what is known of a checkpoint.

    Args:
        source: as the user gave it.
        file: where it was found.
        raw: its tensors under their own names.
        options: the layout, and which of its tensors are the network's.

    Raises:
        CheckpointError: it states another number of class names than its fc8 has outputs.
        UsageError: no such layout, or a key map that cannot be read.
    """
    facts = _foreign_objects(raw)
    select_layouts(options.layout)
    key_map = parse_key_map(options.selection.key_map)
    raw = name_layers(raw, options.layout, key_map)
    facts |= {"names": BY_POSITION} if raw.is_by_position else {}
    try:
        with naming(file.path):
            candidates = find_networks(raw, options.layout, key_map)
    except CheckpointError as error:
        return Description(facts | {"layout": "none", "loads": f"no: {without_path(error, file.path)}"})
    try:
        chosen = choose(candidates, options.selection)
    except C3DExportError as error:
        chosen = error
    taken = None if isinstance(chosen, C3DExportError) else chosen
    if len(candidates) > 1:
        facts |= {
            f"network {number}": _describe_candidate(file, raw, one, options)
            + ("" if one == taken else f"; {one.options(candidates)} takes it")
            for number, one in enumerate(candidates[:MAX_LISTED], 1)
        }
        if len(candidates) > MAX_LISTED:
            facts["networks"] = f"{len(candidates)}, of which the first {MAX_LISTED} are described"
    if isinstance(chosen, C3DExportError):
        return Description(facts | {"loads": f"no: {chosen}"})
    described = _describe_chosen(source, file, raw, chosen, options)
    return replace(described, facts=facts | described.facts)


def _describe_chosen(
    source: str | Path, file: ResolvedSource, raw: ReadResult, chosen: Candidate, options: BuildOptions
) -> Description:
    """Return the facts about the network that would be loaded."""
    facts: dict[str, str] = {}
    names: ClassNames | None = None
    found = chosen.matches
    if len(found) == 1:
        layout = found[0].layout
        with naming(file.path):
            checkpoint = remap_keys(file, raw, options.layout, options.selection)
        checkpoint.check_patterns()
        facts["layout"] = f"{layout.name}: {layout.title}"
        facts["key"] = chosen.key or "none"
        facts["prefix"] = chosen.prefix or "none"
        try:
            config = plan(checkpoint, options).config
        except CheckpointError:  # the network is not known, but its origin is
            config = None
        facts["pool5"] = _POOLS.get(config and config.variant) or checkpoint.pool5 or "not stated by these names"
        facts["preprocessing"] = _describe_profile(config or C3DConfig(), checkpoint)
        names = checkpoint.class_names
        facts |= _describe_classes(checkpoint, names)
        if notes := checkpoint.extra.notes():
            facts["left out"] = "; ".join(re.sub(r"^left out[:,]? ", "", note) for note in notes)
    else:
        facts["layout"] = "one of these; their tensors have the same names and shapes"
        facts |= {
            f"--layout {match.layout.name}": f"{match.layout.title}: {match.layout.disambiguation}" for match in found
        }
    facts["loads"], config = _check_loading(file, raw, found[0].layout.name, options)
    if config is not None:
        facts["exports"] = f"{config.describe()}: {', '.join(config.default_outputs)}"
        words = ("c3d-export", "--format", "onnx", *build_words(replace(options, weights=source)))
        facts["command"] = shlex.join(words) + (" --layout NAME" if len(found) > 1 else "")
    return Description(facts, names)


_POOLS: Mapping[Variant | None, str] = MappingProxyType(
    {"global-pool": "a global average", "efficient-3dcnns": "the windows of Efficient-3DCNNs"}
)
"""{variant: its pool5}, of those with one of their own."""


def _describe_profile(config: C3DConfig, checkpoint: Checkpoint) -> str:
    profile = fit_preprocessing(config, checkpoint)
    if profile is None:
        return f"none for clips of {count(config.channels, 'channel')}"
    if profile.name == UNKNOWN.name:
        return NOT_KNOWN
    return f"{profile.name}: {profile.describe(config.height, config.width)} ({profile.source})"


def _describe_classes(checkpoint: Checkpoint, names: ClassNames | None) -> dict[str, str]:
    """Return what is known of the classes; nothing for a file that has no fc8."""
    if not checkpoint.num_classes:
        return {}
    if names is None:
        return {"class names": f"not known; {suggest_labels(checkpoint.num_classes)} sets them"}
    return {"class names": describe_class_names(names)}


def _check_loading(
    file: ResolvedSource, raw: ReadResult, layout: str, options: BuildOptions
) -> tuple[str, C3DConfig | None]:
    """Return whether a checkpoint would load, as a sentence, and the network that it would be.

    It is loaded into a network without memory, of the structure that its own shapes and the options state.
    """
    from models.checkpoints.loading import load_into

    try:
        checkpoint = remap_keys(file, raw, layout, options.selection)
        config = plan(checkpoint, options).config
        loaded = load_into(_empty_network(config), checkpoint)
    except CheckpointError as error:
        return f"no: {without_path(error, file.path)}", None
    converted = f", converted from {', '.join(loaded.converted)}" if loaded.converted else ""
    tensors = f"{loaded.loaded} of {count(loaded.total, 'tensor')}"
    return f"yes: {tensors}, {_describe_head(config)}{converted}", config


def _empty_network(config: C3DConfig) -> C3D:
    import torch

    from models.c3d import from_config

    with torch.device("meta"):
        return from_config(config)


def _describe_head(config: C3DConfig) -> str:
    head = count(config.num_classes, "class") if config.num_classes else "no fc8, so features only"
    return head + (", with BatchNorm" if config.batch_norm else "")


def _describe_candidate(file: ResolvedSource, raw: ReadResult, one: Candidate, options: BuildOptions) -> str:
    """Return where a network of the file is, and how much of C3D it covers; no value is read."""
    selection = replace(options.selection, key=one.key, prefix=one.prefix, ema=False)
    try:
        checkpoint = remap_keys(file, raw, one.matches[0].layout.name, selection)
        config = plan(checkpoint, options).config
        wanted = {name for name in _empty_network(config).state_dict() if not name.endswith(NUM_BATCHES_TRACKED)}
    except CheckpointError as error:
        return f"{one.place}: {without_path(error, file.path)}"
    have = len(wanted & checkpoint.tensors.keys())
    average = ", an average over the training" if one.is_average else ""
    return f"{one.place}: {have} of {count(len(wanted), 'tensor')}, {_describe_head(config)}{average}"


def _foreign_objects(raw: ReadResult) -> dict[str, str]:
    """Return the facts about objects in the file that are not tensors or plain values."""
    facts: dict[str, str] = {}
    if raw.hazards:
        facts["hazards"] = f"contains {join_limited(raw.hazards)}, not executed"
    if raw.not_built:
        facts["not built"] = join_limited(raw.not_built)
    return facts
