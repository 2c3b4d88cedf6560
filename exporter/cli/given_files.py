"""Files that arguments name, checked before a command imports the libraries that take seconds.

A command imports this module when it runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from exporter.artifacts.files import has_manifest
from exporter.cli.network_options import take_build_options
from exporter.cli.values import EMPTY
from exporter.errors import (
    ArtifactError,
    BadInputError,
    C3DExportError,
    CheckpointError,
    UsageError,
    VideoError,
    join_limited,
)
from exporter.openvino_ir import read_ir
from exporter.output_targets import check_output_folder
from exporter.parity.baseline import read_baseline
from exporter.reports.console import progress_on_terminal
from exporter.storage import is_url, local_path
from exporter.video.sources import IMAGE_SUFFIXES, LIST_SUFFIX, Source, expand_sources, iterate_sources
from models.checkpoints.detection import select_layouts
from models.checkpoints.sources import find_index, is_remote, resolve
from models.class_names import load_class_names
from models.paths import require_file
from models.preprocessing.files import find_profile
from models.progress import no_progress

MAX_NAMED = 3
"""Videos that one message names where none of those given is there."""
VIDEO_SUFFIXES = frozenset((".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"))
"""A file of these is no model, which is enough to see that arguments are in the wrong order."""


def check_given_files(values: Mapping[str, Any]) -> None:
    """Refuse a file or name that is not there, and a checkpoint that holds no network to load.

    URLs of videos are left to the command. The checkpoint is read last, downloaded first where it is remote, and once:
    the command takes what was read here.

    Args:
        values: {parameter of a command: its value}.

    Raises:
        UsageError: no such layout; an empty name; or a video stands where the model belongs.
        BadInputError: no such file, class names or profile; a checkpoint that is damaged or holds no network; or none
            of the videos to run a model on is there.
        OutputError: a folder cannot be written to.
    """
    for name in ("work_dir", "cache"):
        if folder := values.get(name):
            check_output_folder(folder, f"--{name.replace('_', '-')}")
    if values.get("model") and values.get("videos"):
        _check_order(str(values["model"]), values["videos"])
    for name, (option, check) in _CHECKS.items():
        value = values.get(name)
        if value == "" or (isinstance(value, tuple) and "" in value):
            raise UsageError(f"{option or 'a video'}: {EMPTY}")
        if value and not isinstance(value, int):  # `predict --clips` is a number
            with _naming(option):
                check(value)
    if source := values.get("weights") or values.get("checkpoint"):
        _check_checkpoint(source, values)


@contextlib.contextmanager
def _naming(option: str) -> Generator[None]:
    """Begin the messages of the block with an option, unless they do; an argument has none."""
    try:
        yield
    except (UsageError, BadInputError) as error:
        if not option or str(error).startswith("--"):
            raise
        raise type(error)(f"{option}: {error}") from error


def _check_order(model: str, videos: Sequence[str]) -> None:
    """Refuse a video or a folder where the model belongs, and what is neither where the videos do."""
    given, first = Path(videos[0]), Path(model)
    if not given.suffix or _is_video(given) or given.is_dir():
        return
    if _is_video(first) or (first.is_dir() and not _is_checkpoint_folder(first)):
        raise UsageError(f"{model} is no model: the model comes first, then the videos")


def _is_checkpoint_folder(folder: Path) -> bool:
    try:
        return find_index(folder) is not None
    except (OSError, CheckpointError):  # a folder of TensorFlow's, too; reading it says what is wrong
        return True


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in (VIDEO_SUFFIXES | IMAGE_SUFFIXES | {LIST_SUFFIX})


def _check_weights(source: str | Path) -> None:
    if not is_remote(source):
        require_file(resolve(source, no_progress).path, "checkpoint", CheckpointError)


def _check_checkpoint(source: str | Path, values: Mapping[str, Any]) -> None:
    from models.checkpoints.reading import check_ahead

    options = take_build_options(dict(values))
    shown = progress_on_terminal() if is_remote(source) else contextlib.nullcontext(no_progress)
    with shown as progress:
        check_ahead(source, options.layout, options.selection, options.expect_sha256, progress)


def _check_each(videos: Sequence[str | Path]) -> None:
    """Check that every video of `--clip` or `--calibrate` is there; a `.npz` file is one of clips."""
    for source in expand_sources([name for name in videos if not is_url(name)]):
        _require_video(source)


def _check_any(videos: Sequence[str]) -> None:
    """Check that one of the videos of `predict` or `features` is there, of which each fails alone."""
    if any(map(is_url, videos)):
        return
    errors: list[C3DExportError] = []
    for source in iterate_sources(videos, lambda _, error: errors.append(error)):
        try:
            _require_video(source)
            return
        except VideoError as error:
            errors.append(error)
    if len(errors) > 1:
        raise type(errors[0])(f"none of {len(errors)} videos is readable: {join_limited(map(str, errors), MAX_NAMED)}")
    raise errors[0]


def _require_video(source: Source) -> None:
    if source.kind == "file" and (path := local_path(source.url)) is not None:
        with source.located():
            require_file(path, "file of clips" if path.suffix == ".npz" else "video", VideoError)


_CHECKS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "layout": ("--layout", select_layouts),
    "weights": ("--weights", _check_weights),
    "checkpoint": ("", _check_weights),
    "labels": ("--labels", load_class_names),
    "preprocess": ("--preprocess", find_profile),
    "mean": ("--mean", partial(require_file, what="mean file", error=BadInputError)),
    "baseline": ("--baseline", read_baseline),
    "videos": ("", _check_any),
    "clips": ("--clip", _check_each),
    "calibration_clips": ("--calibrate", _check_each),
}
"""{parameter of a command: (its option, what checks its value)}; an argument has no option."""


def refuse_unreadable(*models: object) -> None:
    """Refuse a file that is not there, and an ONNX or OpenVINO file without a manifest beside it that is not whole.

    A file with a manifest is left to the comparison of its hash, whose message says more; other formats to the engine
    that loads them.

    Args:
        models: paths; what is no path, or a folder, is left to the command.

    Raises:
        ArtifactError: no such file; and see `load_without_weights` and `read_ir`.
    """
    for path in models:
        if not isinstance(path, Path) or has_manifest(path):
            continue
        if not path.exists():
            raise ArtifactError(f"no such file: {path}")
        if not path.is_file():
            continue
        if path.suffix == ".onnx":
            from exporter.onnx_io.load import load_without_weights

            load_without_weights(path)
        elif path.suffix == ".xml":
            read_ir(path)
