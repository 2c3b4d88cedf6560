"""What a file is as a checkpoint: its origin and conventions, whether it would load, and with which command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch

from models.c3d import from_config
from models.checkpoints.detection import detect_networks
from models.checkpoints.loading import load_into, remap_keys
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.sources import ResolvedSource
from models.checkpoints.unsupported import identify_unsupported
from models.errors import CheckpointError
from models.options import BuildOptions
from models.planning import plan


@dataclass(frozen=True)
class LoadCheck:
    """Whether a checkpoint would load, and a sentence that says so."""

    loads: bool
    text: str


def describe_checkpoint(source: str | Path, file: ResolvedSource, raw: ReadResult) -> dict[str, str]:
    """Return {fact: text} about a checkpoint, in the order to show them; `layout` alone where it is no C3D's.

    Args:
        source: as the user gave it.
        file: where it was found.
        raw: its tensors under their own names.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in raw.tensors.items()}
    networks = detect_networks(shapes)
    if not networks:
        return {"layout": identify_unsupported(shapes) or "none of the known C3D layouts"}
    found = networks[0]
    facts: dict[str, str] = {}
    if len(found) == 1:
        (match,) = found
        layout = match.layout
        pool5, profile = raw.pool5 or layout.pool5, raw.preprocessing or layout.preprocessing
        facts["layout"] = f"{layout.name}: {layout.title}"
        facts["prefix"] = match.prefix or "none"
        facts["pool5"] = pool5 or "not stated by these names"
        facts["preprocessing"] = f"{profile.name}: {profile.describe()} ({profile.source})"
    else:
        facts["layout"] = "one of these; their tensors have the same names and shapes"
        facts |= {
            f"--layout {match.layout.name}": f"{match.layout.title}: {match.layout.disambiguation}" for match in found
        }
    checks = [check_loading(file, raw, match.layout.name) for match in found]
    facts["loads"] = checks[0].text
    if checks[0].loads:
        option = "" if len(found) == 1 else " --layout NAME"
        facts["command"] = f"c3d-export --format onnx --weights {shlex.quote(str(source))}{option}"
    return facts


def check_loading(file: ResolvedSource, raw: ReadResult, layout: str) -> LoadCheck:
    """Load a checkpoint into a network without memory, of the structure that its own names state."""
    try:
        checkpoint = remap_keys(file, raw, layout)
        planned = plan(checkpoint, BuildOptions())
        with torch.device("meta"):
            network = from_config(planned.config)
        loaded = load_into(network, checkpoint)
    except CheckpointError as error:
        return LoadCheck(loads=False, text=f"no: {str(error).removeprefix(f'{file.path}: ')}")
    config = planned.config
    head = f"{config.num_classes} classes" if config.num_classes else "no fc8, so features only"
    norm = ", with BatchNorm" if config.batch_norm else ""
    converted = f", converted from {', '.join(loaded.converted)}" if loaded.converted else ""
    ignored = f", {len(loaded.ignored_keys)} ignored that only training needs" if loaded.ignored_keys else ""
    return LoadCheck(
        loads=True, text=f"yes: {loaded.loaded} of {loaded.total} tensors, {head}{norm}{converted}{ignored}"
    )
