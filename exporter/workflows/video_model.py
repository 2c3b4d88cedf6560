"""From what the user names to a model that is opened for video: an artifact as it is, a checkpoint exported first."""

from __future__ import annotations

import atexit
import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec

from exporter import __version__
from exporter.artifacts.manifest import Manifest
from exporter.engines import find_engine
from exporter.errors import C3DExportError, OutputError, UsageError
from exporter.formats import FORMATS, find_format, load_artifact
from exporter.formats.torchscript import is_torchscript_archive
from exporter.inference.model import VideoModel, open_video_model
from exporter.inference.outputs import class_count
from exporter.inference.preprocessing import require_known_profile
from exporter.inference.types import InferenceOptions
from exporter.output_targets import check_output_folder, check_space
from exporter.requests import ExportRequest
from exporter.storage import translate_os_errors
from exporter.system import library_version
from exporter.temporary_folders import temporary_folder
from exporter.types import FASTEST_TARGET, FORMAT_NAMES, FormatName, OptimizeOptions, ParityOptions, Target
from exporter.video.container import require_pyav
from models.built_model import BuiltModel
from models.cache import cache_folder, settings_key
from models.checkpoints.sources import is_remote
from models.class_names import check_class_count, load_class_names
from models.http.addresses import display_source
from models.options import BuildOptions
from models.paths import atomic_write
from models.preprocessing.profiles import UNKNOWN
from models.preprocessing.selection import choose_profile
from models.progress import Progress, no_progress

CACHE = "video-models"
"""The folder of artifacts exported on the fly, in the cache folder."""
FLOAT32_BYTES = 4
NOTES = "notes.json"
"""Beside such an artifact: the notes about its network, which every run shows."""
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
        build: how a checkpoint is read; `weights` is set here, and its class names, profile and mean are taken where
            `options` has none.
        progress: called at each long step.

    Raises:
        ParityFailedError: the export of the checkpoint does not return what its network returns.
        CheckpointError: the checkpoint does not load.
        UnavailableError: PyAV is not installed.
        UsageError: options of a checkpoint for an artifact, and what `open_video_model` says.
        ArtifactError: as `open_video_model` says.
    """
    options, build = options or InferenceOptions(), build or BuildOptions()
    options = replace(
        options,
        labels=options.labels or build.labels,
        preprocess=options.preprocess or build.preprocess,
        mean=options.mean or build.mean,
    )
    require_pyav()  # before a checkpoint is exported for nothing
    path, notes = find_model(source, options, build, progress)
    exported = is_checkpoint(source)
    if exported:
        options = replace(options, expect_sha256=None)  # it is the checkpoint's
    model = open_video_model(path, options)
    model.notes = (*notes, *model.notes)
    model.checkpoint = display_source(source) if exported else None
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
        UsageError: options of a checkpoint for an artifact, or a checkpoint whose profile nothing states.
        CheckpointError: the checkpoint does not load.
        ParityFailedError: the export does not return what the network returns.
        OutputError: neither the cache folder nor temporary files can be written.
    """
    # these decide what is done around the model file, which is the same for all of them
    build = replace(build or BuildOptions(), labels=None, preprocess=None, mean=None)
    if not is_checkpoint(source):
        if build != BuildOptions():
            raise UsageError(
                f"{source} is a model file; --layout, --key, --pool5 and the like say how a checkpoint is read"
            )
        return Path(source), ()
    if options.verify_keys:
        raise UsageError(f"--verify-key: {source} is a checkpoint; manifests of artifacts are signed")
    return _export_once(replace(build, weights=source, expect_sha256=options.expect_sha256), options, progress)


def is_checkpoint(source: str | Path) -> bool:
    """Return whether `source` names a checkpoint, not a model file: by its suffix, `.pt` by its content."""
    if is_remote(source):
        return True
    path = Path(source)
    if path.suffix == FORMATS["torchscript"].suffix and path.is_file():
        return not is_torchscript_archive(path)
    model = path.with_suffix("") if path.suffix == ".json" else path
    return find_format(model) is None and path.exists()


@dataclass(frozen=True)
class _CachedExport:
    """Where the export of a checkpoint is kept, and what decides it."""

    sha256: str
    build: BuildOptions
    format: FormatName
    optimize: OptimizeOptions

    def path(self, outputs: tuple[str, ...] | None) -> Path:
        """Return the model file for these outputs; None for class scores and features."""
        decides = {
            "checkpoint": self.sha256,
            "build": asdict(replace(self.build, weights=None, expect_sha256=None)),
            "outputs": outputs,
            "format": self.format,
            "optimize": asdict(self.optimize),
            "versions": {"c3d-export": __version__} | {name: library_version(name) for name in DECIDING_LIBRARIES},
        }
        return cache_folder() / CACHE / settings_key(decides)[:32] / f"model{FORMATS[self.format].suffix}"

    def find(self, wanted: tuple[str, ...] | None) -> tuple[Path, Manifest] | None:
        """Return a complete model file that returns these outputs, and its manifest; None where there is none."""
        for path in dict.fromkeys((self.path(None), self.path(wanted))):
            if not path.is_file():
                continue
            try:
                manifest = load_artifact(path).manifest
            except C3DExportError:  # damaged: it is exported again
                continue
            if manifest is not None and {*(wanted or ())} <= {output.name for output in manifest.signature.outputs}:
                return path, manifest
        return None


def _export_once(build: BuildOptions, options: InferenceOptions, progress: Progress) -> tuple[Path, tuple[str, ...]]:
    """Export a checkpoint into the cache folder, unless it is there."""
    from models.checkpoints.readers import forget_read_ahead
    from models.checkpoints.reading import read_raw

    target_format = _format_for(options)
    engine = find_engine(target_format, options.engine)
    device = engine.choose_device(options.device)
    engine.require_device(device)  # before the checkpoint is read
    target: Target = FASTEST_TARGET[device] if target_format == "onnx" else "portable"
    progress("reading the checkpoint")
    assert build.weights is not None
    _, raw = read_raw(build.weights, progress, build.expect_sha256, ahead=True)
    cached = _CachedExport(raw.sha256, build, target_format, OptimizeOptions(target=target))
    if (earlier := cached.find(options.outputs)) is not None:
        forget_read_ahead()
        found, manifest = earlier
        require_known_profile(display_source(build.weights), manifest.preprocessing, options)
        notes = (
            *_read_notes(found.parent),
            f"{display_source(build.weights)}: exported and verified by an earlier run",
        )
        return found, _still_open(notes, options)

    from exporter.workflows.export import export  # torch, for a file that can be read
    from models.builder import build as build_network

    progress("building the network")
    # what is kept under a hash is of the file that has it
    model = build_network(replace(build, expect_sha256=raw.sha256), progress)
    _check_options(display_source(build.weights), model, options)
    usual = tuple(output.name for output in model.outputs if len(output.shape) == 1 and output.kind != "probabilities")
    own = options.outputs if options.outputs and not {*options.outputs} <= {*usual} else None
    path, kept = _writable_place(cached.path(own), FLOAT32_BYTES * model.parameters)
    request = ExportRequest(
        (target_format,),
        model,
        outputs=own or usual or None,
        optimize=cached.optimize,
        output_dir=path.parent,
        name=path.stem,
        parity=ParityOptions(device=options.device),
    )
    result = export(request, progress)
    with translate_os_errors(path.parent):
        atomic_write(path.parent / NOTES, json.dumps(model.notes).encode())
    seconds = sum(result.seconds.values())
    note = f"{display_source(build.weights)}: exported and verified in {seconds:.0f} s; {kept}"
    return path, _still_open((*result.notes, note), options)


def _writable_place(path: Path, size: int) -> tuple[Path, str]:
    """Return where to put a model file, and what becomes of it: without a cache, it is for this run only.

    Args:
        path: its place in the cache.
        size: the bytes that it needs at least.

    Raises:
        OutputError: temporary files cannot be written either.
    """
    try:
        check_output_folder(path.parent, "the cache folder")
        check_space(path.parent, size, "the model file", "the cache folder")
    except OutputError as error:
        rest = contextlib.ExitStack()
        stage = rest.enter_context(temporary_folder())
        atexit.register(rest.close)
        return stage / path.parent.name / path.name, f"not kept: {error}; C3D_EXPORT_CACHE names another folder"
    return path, "the file is kept for later runs"


def _check_options(source: str | Path, model: BuiltModel, options: InferenceOptions) -> None:
    """Refuse before the export, which takes a minute, what would be refused after it.

    Raises:
        UsageError: the profile is not known, or does not fit, or another number of names than classes.
        BadInputError: a file of options cannot be used.
    """
    require_known_profile(source, model.preprocessing, options)
    if options.preprocess is not None or options.mean is not None:
        frames, height, width = (int(size) for size in model.input.shape[-3:])
        choose_profile(model.preprocessing or UNKNOWN, (frames, height, width), options.preprocess, options.mean)
    if options.labels is not None and (classes := class_count(model.outputs)):
        check_class_count(load_class_names(options.labels), classes, options.labels)


def _read_notes(folder: Path) -> tuple[str, ...]:
    """Return the notes about the network that were written when it was exported."""
    try:
        return msgspec.json.decode((folder / NOTES).read_bytes(), type=tuple[str, ...])
    except (OSError, ValueError, RecursionError):
        return ()


def _still_open(notes: Sequence[str], options: InferenceOptions) -> tuple[str, ...]:
    """Leave out notes that propose an option which is given here: the export was made without it."""
    given = {"--labels": options.labels, "--preprocess": options.preprocess, "--mean": options.mean}
    settled = [option for option, value in given.items() if value is not None]
    return tuple(note for note in notes if not any(option in note for option in settled))


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
