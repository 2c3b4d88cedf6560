"""The manifest of an export as far as it is known before anything is written, its precision included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from exporter import __version__
from exporter.artifacts.manifest import Manifest, describe_network, preprocess_options
from exporter.artifacts.manifest_fields import (
    CALIBRATION,
    MANIFEST_VERSION,
    MIN_SNR,
    MIN_TOP1,
    PRECISION,
    WEIGHT_DTYPE,
    OptionValue,
)
from exporter.artifacts.rebuilding import relative_to
from exporter.calibration_clips import CalibrationClips
from exporter.requests import ExportRequest
from models.builder import state_sha256
from models.built_model import BuiltModel
from models.checkpoints.info import CheckpointInfo
from models.paths import to_utf8
from models.preprocessing.recipe import Preprocessing


def draft_manifest(request: ExportRequest, model: BuiltModel, clips: CalibrationClips | None) -> Manifest:
    """Return the manifest as far as it is known before anything is written."""
    return Manifest(
        version=MANIFEST_VERSION,
        producer=f"c3d-export {__version__}",
        name=request.artifact_name,
        format=request.formats[0],
        network=describe_network(model, state_sha256(model.network)),
        checkpoint=relative_checkpoint(request, model),
        preprocessing=relative_profile(request, model),
        signature=model.signature(request.outputs, request.batch),
        class_names=model.find_class_names(request.outputs),
        options={
            "target": request.optimize.target,
            **precision_options(request, clips),
            WEIGHT_DTYPE: request.optimize.weight_dtype,
            **preprocess_options(model),
        },
        versions={},
    )


def relative_checkpoint(request: ExportRequest, model: BuiltModel) -> CheckpointInfo | None:
    """Return where the weights came from, with the path as seen from the output folder."""
    origin = model.checkpoint
    if origin is None:
        return None
    local = origin.path is not None and origin.url is None
    return replace(
        origin,
        file=to_utf8(origin.file),
        ignored_keys=tuple(map(to_utf8, origin.ignored_keys)),
        path=to_utf8(relative_to(Path(str(origin.path)), request.output_dir)) if local else None,
    )


def relative_profile(request: ExportRequest, model: BuiltModel) -> Preprocessing | None:
    """Return the profile, with the path of its mean file as seen from the output folder."""
    profile = model.preprocessing
    if profile is None or profile.mean_cube is None or profile.mean_cube.path is None:
        return profile
    path = to_utf8(relative_to(Path(profile.mean_cube.path), request.output_dir))
    return replace(profile, mean_cube=replace(profile.mean_cube, file=to_utf8(profile.mean_cube.file), path=path))


def precision_options(request: ExportRequest, clips: CalibrationClips | None) -> dict[str, OptionValue]:
    """Return the manifest's options that say what an artifact computes in, and what it is held to.

    Args:
        request: the export.
        clips: the clips, for a precision below float32.
    """
    wanted = request.precision
    options: dict[str, OptionValue] = {PRECISION: wanted.compute}
    if clips is not None:
        options[CALIBRATION] = f"sha256:{clips.sha256} {clips.description}"
        if request.verify:  # an artifact that was not verified is held to nothing
            options[MIN_SNR] = wanted.required_snr
            options |= {} if wanted.min_top1 is None else {MIN_TOP1: wanted.min_top1}
    return options
