"""From what the user names to a model that is opened for video: an artifact as it is, a checkpoint exported first."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from exporter import __version__
from exporter.engines import find_engine
from exporter.errors import C3DExportError, UsageError
from exporter.formats import FORMATS, load_artifact
from exporter.formats.torchscript import is_torchscript_archive
from exporter.inference.model import VideoModel, open_video_model
from exporter.inference.types import InferenceOptions
from exporter.types import FORMAT_NAMES, ExportRequest, FormatName, OptimizeOptions, ParityOptions
from models.cache import cache_folder
from models.checkpoints.sources import is_remote
from models.options import BuildOptions
from models.progress import Progress, no_progress

CACHE = "video-models"
"""The folder of artifacts exported on the fly, in the cache folder."""
DECIDING_LIBRARIES = ("torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime")


def open_model(
    source: str | Path,
    options: InferenceOptions | None = None,
    build: BuildOptions | None = None,
    progress: Progress = no_progress,
) -> VideoModel:
    """Return a model for clips of videos; it is loaded when it is entered.

    Args:
        source: an artifact, another tool's ONNX file, or a checkpoint (a file or an address), which is exported first:
            see `find_model`.
        options: engine, device, preprocessing, class names, outputs.
        build: how a checkpoint is read; `weights` is set here.
        progress: called at each long step.

    Raises:
        ParityFailedError: the export of the checkpoint does not return what its network returns.
        CheckpointError: the checkpoint does not load.
        UsageError: options of a checkpoint for an artifact, and what `open_video_model` says.
        ArtifactError: as `open_video_model` says.
    """
    options = options or InferenceOptions()
    path, notes = find_model(source, options, build, progress)
    model = open_video_model(path, options)
    model.notes = (*notes, *model.notes)
    return model


def find_model(
    source: str | Path,
    options: InferenceOptions,
    build: BuildOptions | None = None,
    progress: Progress = no_progress,
) -> tuple[Path, tuple[str, ...]]:
    """Return the model file that `source` names, or export it.

    A checkpoint is exported for the engine and the device (ONNX, with the rewrites for CPUs on a CPU), verified as
    every export is, and kept in the cache folder under the hash of the file and of everything that decides the
    export, so that the next run finds it. It returns class scores and features, so that `predict` and `features` share
    it.

    Returns:
        the model file, and notes about where it came from.

    Raises:
        UsageError: options of a checkpoint for an artifact.
        CheckpointError: the checkpoint does not load.
        ParityFailedError: the export does not return what the network returns.
        OutputError: the cache folder cannot be written to.
    """
    build = build or BuildOptions()
    if not is_checkpoint(source):
        if build != BuildOptions():
            raise UsageError(
                f"{source} is a model file; --layout, --key, --pool5 and the like say how a checkpoint is read"
            )
        return Path(source), ()
    return _export_once(replace(build, weights=source), options, progress)


def is_checkpoint(source: str | Path) -> bool:
    """Return whether `source` names a checkpoint, not a model file: by its suffix, `.pt` by its content."""
    if is_remote(source):
        return True
    path = Path(source)
    if path.suffix == FORMATS["torchscript"].suffix and path.is_file():
        return not is_torchscript_archive(path)
    model = path.with_suffix("") if path.suffix == ".json" else path
    return model.suffix not in {known.suffix for known in FORMATS.values()} and path.exists()


def _export_once(build: BuildOptions, options: InferenceOptions, progress: Progress) -> tuple[Path, tuple[str, ...]]:
    """Export a checkpoint into the cache folder, unless it is there."""
    from models.builder import build as build_network
    from models.checkpoints import read_raw

    target_format = _format_for(options)
    optimize = OptimizeOptions(target="cpu" if options.device == "cpu" and target_format == "onnx" else "portable")
    progress("reading the checkpoint")
    assert build.weights is not None
    _, raw = read_raw(build.weights, progress)
    key = _cache_key(raw.sha256, build, options.outputs, target_format, optimize)
    folder = cache_folder() / CACHE / key
    name = "model"
    path = folder / f"{name}{FORMATS[target_format].suffix}"
    if (found := _cached(path)) is not None:
        return found, (f"{build.weights}: exported and verified earlier, {path}",)

    from exporter.workflows.export import export

    progress("building the network")
    model = build_network(build, progress)
    names = options.outputs or tuple(
        output.name for output in model.outputs if len(output.shape) == 1 and output.kind != "probabilities"
    )
    request = ExportRequest(
        (target_format,),
        model,
        outputs=names or None,
        optimize=optimize,
        output_dir=folder,
        name=name,
        parity=ParityOptions(device=options.device),
    )
    result = export(request, progress)
    note = f"{build.weights}: exported to {path} and verified in {sum(result.seconds.values()):.0f} s; kept for later"
    return result.artifacts[0].path, (*result.notes, note)


def _cache_key(
    sha256: str, build: BuildOptions, outputs: tuple[str, ...] | None, target: FormatName, optimize: OptimizeOptions
) -> str:
    """Return a hash of everything that decides the exported file."""
    decides = {
        "checkpoint": sha256,
        "build": asdict(replace(build, weights=None)),
        "outputs": outputs,
        "format": target,
        "optimize": asdict(optimize),
        "versions": {"c3d-export": __version__} | {name: version(name) for name in DECIDING_LIBRARIES},
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _cached(path: Path) -> Path | None:
    """Return an artifact of the cache folder if it is there and complete."""
    if not path.is_file():
        return None
    try:
        load_artifact(path)
    except C3DExportError:  # damaged: it is exported again
        return None
    return path


def _format_for(options: InferenceOptions) -> FormatName:
    """Return the format to export for an engine: the first that it runs.

    Raises:
        UsageError: no such engine, or it runs no artifacts.
    """
    if options.engine is None:
        return FORMAT_NAMES[0]
    for name in FORMAT_NAMES:
        try:
            find_engine(name, options.engine)
        except UsageError:
            continue
        return name
    raise UsageError(f"--engine {options.engine}: no engine of that name runs artifacts")
