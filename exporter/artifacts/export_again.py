"""The command that exports an artifact's network again, in the same way, with other outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from exporter.artifacts.export_command import export_command
from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import WEIGHT_DTYPE
from exporter.artifacts.recorded_options import find_build_options
from exporter.errors import ArtifactError
from exporter.requests import ExportRequest
from exporter.types import (
    DEFAULT_OPSET,
    MIN_SNR,
    TARGETS,
    WEIGHT_DTYPES,
    OptimizeOptions,
    PrecisionOptions,
    Target,
    WeightDtype,
)
from models.options import BuildOptions

UNKNOWN_WEIGHTS = Path("CHECKPOINT")
"""Stands for a checkpoint that is not where the manifest says."""


def export_again_command(artifact: LoadedArtifact, outputs: Sequence[str]) -> str | None:
    """Return the command that writes an artifact anew with these outputs; None where no command does.

    It states what the manifest records: where it is written, its weights, what it computes in and for. The videos that
    it was calibrated on are not recorded.

    Args:
        artifact: the artifact.
        outputs: the names of the outputs.
    """
    manifest = artifact.manifest
    if manifest is None:
        return None
    try:
        options = find_build_options(artifact, BuildOptions())
    except ArtifactError:  # its checkpoint is not there
        options = find_build_options(artifact, BuildOptions(weights=UNKNOWN_WEIGHTS))
    if options is None:
        return None
    suffix = artifact.path.name.removeprefix(manifest.name)
    named_so = artifact.path.name.startswith(manifest.name) and suffix.startswith(".")
    request = ExportRequest(
        (manifest.format,),
        options,
        outputs=tuple(outputs),
        batch=manifest.signature.batch,
        opset=manifest.opset or DEFAULT_OPSET,
        optimize=_find_optimization(manifest),
        precision=_find_precision(manifest),
        external_data=manifest.external_data,
        with_preprocess=manifest.with_preprocess,
        output_dir=Path(os.path.relpath(artifact.path.parent)),
        name=manifest.name if named_so and manifest.name != ExportRequest((), options).artifact_name else None,
    )
    return export_command(request)


def _find_optimization(manifest: Manifest) -> OptimizeOptions:
    """Return the target, and how weights are stored where the precision does not decide it."""
    targets: dict[object, Target] = {name: name for name in TARGETS}
    stored: dict[object, WeightDtype] = {name: name for name in WEIGHT_DTYPES if manifest.precision == "fp32"}
    return OptimizeOptions(
        target=targets.get(str(manifest.options.get("target")), "portable"),
        weight_dtype=stored.get(str(manifest.options.get(WEIGHT_DTYPE)), "fp32"),
    )


def _find_precision(manifest: Manifest) -> PrecisionOptions:
    """Return what it computes in, with the minima that are not the default ones."""
    minimum = manifest.min_snr if manifest.min_snr != MIN_SNR.get(manifest.precision) else None
    return PrecisionOptions(manifest.precision, minimum, manifest.min_top1)
