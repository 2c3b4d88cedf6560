"""The command line of an export request, and the build options of an artifact's network: what a user types again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.rebuilding import find_checkpoint
from exporter.requests import ExportRequest
from exporter.types import OptimizeOptions, ParityOptions
from models.architectures import parse_settings
from models.checkpoints.sources import is_remote
from models.config import C3DConfig
from models.http.addresses import display_source
from models.options import BuildOptions
from models.pooling import format_size
from models.preprocessing import PROFILES

WITHOUT_OPTION = ("base_channels", "feature_dim", "fc7_dim")
"""Fields of `BuildOptions` that only Python sets."""


def export_command(request: ExportRequest) -> str:
    """Return the `c3d-export` command of a request, quoted for a shell.

    Only what differs from the defaults is named. A network that no option describes (one built in Python, or of another
    width than the published one) has no command: then the Python call is returned.
    """
    model = request.model
    if not isinstance(model, BuildOptions) or any(
        getattr(model, name) != getattr(BuildOptions(), name) for name in WITHOUT_OPTION
    ):
        return _python_call(request)
    return shlex.join(["c3d-export", *_arguments(request, model)])


def _arguments(request: ExportRequest, model: BuildOptions) -> Iterator[str]:
    optimize, precision, parity, usual = request.optimize, request.precision, request.parity, OptimizeOptions()
    selection = model.selection
    values: list[tuple[str, Any, Any]] = [
        ("--target", optimize.target, usual.target),
        ("--weight-dtype", optimize.weight_dtype, usual.weight_dtype),
        ("--optimize-for", optimize.optimize_for, usual.optimize_for),
        ("--precision", precision.compute, "fp32"),
        ("--min-snr", precision.min_snr, None),
        ("--min-top1", precision.min_top1, None),
        ("--calibration-samples", precision.calibration.samples, None),
        ("--weights", model.weights, None),
        ("--layout", model.layout, "auto"),
        ("--key", selection.key, None),
        ("--prefix", selection.prefix, None),
        ("--pool5", model.pool5, None),
        ("--variant", model.variant, None),
        ("--input-size", model.input_size and format_size(model.input_size), None),
        ("--num-classes", model.num_classes, None),
        ("--labels", model.labels if isinstance(model.labels, str | Path) else None, None),
        ("--preprocess", model.preprocess, None),
        ("--mean", model.mean, None),
        ("--seed", model.seed, 0),
        ("--outputs", request.outputs and ",".join(request.outputs), None),
        ("--batch", request.batch, None),
        ("--opset", request.opset, ExportRequest(()).opset),
        ("--output-dir", request.output_dir, ExportRequest(()).output_dir),
        ("--name", request.name, None),
        ("--device", parity.device, ParityOptions().device),
    ]
    repeated = (
        ("--format", request.formats),
        ("--calibrate", precision.calibration.clips),
        ("--ignore", selection.ignore),
        ("--key-map", selection.key_map),
        ("--clip", parity.clips),
    )
    flags = (
        ("--autotune", optimize.autotune),
        ("--ema", selection.ema),
        ("--batch-norm", model.batch_norm),
        ("--new-head", model.new_head),
        ("--external-data", request.external_data),
        ("--with-preprocess", request.with_preprocess),
        ("--no-verify", not request.verify),
    )
    for option, given in repeated:
        for value in given:
            yield from (option, _text(value))
    for option, value, default in values:
        if value != default and value is not None:
            yield from (option, _text(value))
    yield from (option for option, given in flags if given)


def _text(value: Any) -> str:
    """Return an option's value; of an address without user, password and query, which may be secrets."""
    return f"{value:g}" if isinstance(value, float) else display_source(value) if isinstance(value, str) else str(value)


def _python_call(request: ExportRequest) -> str:
    model = request.model
    if isinstance(model, BuildOptions):
        fields = vars(BuildOptions())
        given = {name: value for name, value in vars(model).items() if value != fields[name]}
        name = f"BuildOptions({', '.join(f'{key}={_literal(value)}' for key, value in given.items())})"
    else:
        name = "model"
    parts = [f"{request.formats!r}", f"model={name}"]
    if request.outputs is not None:
        parts.append(f"outputs={request.outputs!r}")
    if request.optimize != OptimizeOptions():
        optimize, usual = vars(request.optimize), vars(OptimizeOptions())
        changed = ", ".join(f"{key}={value!r}" for key, value in optimize.items() if value != usual[key])
        parts.append(f"optimize=OptimizeOptions({changed})")
    precision = request.precision
    if precision.compute != "fp32":
        limits = "".join(
            f", {key}={value!r}"
            for key, value in (("min_snr", precision.min_snr), ("min_top1", precision.min_top1))
            if value is not None
        )
        clips = tuple(map(display_source, precision.calibration.clips))
        calibration = f", calibration=CalibrationOptions({clips!r}, {precision.calibration.samples})" if clips else ""
        parts.append(f"precision=PrecisionOptions({precision.compute!r}{limits}{calibration})")
    return f"exporter.export(ExportRequest({', '.join(parts)}))"


def _literal(value: Any) -> str:
    return repr(display_source(value)) if isinstance(value, str | Path) else repr(value)


def find_build_options(artifact: LoadedArtifact, reference: BuildOptions) -> BuildOptions | None:
    """Return the options that build the network of an artifact; None for one that this tool cannot build.

    Args:
        artifact: a model file with a manifest, or without one.
        reference: its checkpoint, where the manifest does not say where it is or is to be overruled.

    Raises:
        ArtifactError: the manifest's checkpoint is not there.
    """
    manifest = artifact.manifest
    if manifest is None:
        return reference
    if not manifest.network.architecture:
        return None
    config = parse_settings(manifest.network.architecture, manifest.network.settings)
    checkpoint = manifest.checkpoint
    if checkpoint is None and reference.weights is None:
        return _seeded(manifest, config)
    found = reference.weights or (checkpoint and find_checkpoint(artifact.path, checkpoint))
    assert found is not None
    weights = found if is_remote(found) else Path(os.path.relpath(found))
    same = checkpoint is not None and reference.weights is None
    new_head = checkpoint is not None and bool(checkpoint.reinitialized)
    return BuildOptions(
        num_classes=config.num_classes if new_head else None,
        pool5=config.pool5 if _chosen(manifest, "pool5") else None,
        seed=manifest.network.seed if new_head else 0,
        weights=weights,
        layout=checkpoint.layout if same and checkpoint else reference.layout,
        selection=checkpoint.selection if same and checkpoint and checkpoint.selection else reference.selection,
        new_head=new_head,
        input_size=None if config.clip_shape == C3DConfig().clip_shape else config.clip_shape,
        preprocess=_profile(manifest),
    )


def _seeded(manifest: Manifest, config: C3DConfig) -> BuildOptions:
    """Return the options of a network that a seed initialised."""
    usual = C3DConfig()

    def differs(name: str) -> Any:
        return None if getattr(config, name) == getattr(usual, name) else getattr(config, name)

    return BuildOptions(
        num_classes=differs("num_classes"),
        batch_norm=config.batch_norm,
        pool5=differs("pool5"),
        seed=manifest.network.seed,
        base_channels=config.base_channels,
        feature_dim=differs("feature_dim"),
        fc7_dim=differs("fc7_dim"),
        input_size=None if config.clip_shape == usual.clip_shape else config.clip_shape,
        variant=differs("variant"),
        preprocess=_profile(manifest),
    )


def _chosen(manifest: Manifest, setting: str) -> bool:
    return manifest.network.setting_sources.get(setting) == "option"


def _profile(manifest: Manifest) -> str | None:
    """Return the name of the profile that an option chose, if it is one that the tool knows."""
    profile = manifest.preprocessing
    known = profile is not None and profile.name in {row.name for row in PROFILES}
    return profile.name if profile is not None and known and _chosen(manifest, "preprocess") else None
