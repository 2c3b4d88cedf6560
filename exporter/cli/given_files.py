"""Files that arguments name, checked before a command imports the libraries that take seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cli.paths import EMPTY
from exporter.errors import (
    BadInputError,
    C3DExportError,
    CheckpointError,
    UsageError,
    VideoError,
    join_limited,
)
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from exporter.video.sources import Source

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
            _check_output_folder(folder, f"--{name.replace('_', '-')}")
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
    from models.checkpoints.tensorflow_files import find_tf_checkpoint

    try:
        return find_tf_checkpoint(folder) is not None
    except (OSError, CheckpointError):  # a folder of TensorFlow's, too; reading it says what is wrong
        return True


def _is_video(path: Path) -> bool:
    from exporter.video.sources import IMAGE_SUFFIXES, LIST_SUFFIX

    return path.suffix.lower() in (VIDEO_SUFFIXES | IMAGE_SUFFIXES | {LIST_SUFFIX})


def _check_output_folder(folder: Path, option: str) -> None:
    from exporter.output_targets import check_output_folder

    check_output_folder(folder, option)


def _check_layout(name: str) -> None:
    from models.checkpoints.detection import select_layouts

    select_layouts(name)


def _check_weights(source: str | Path) -> None:
    from models.checkpoints.sources import is_remote, resolve
    from models.paths import require_file

    if not is_remote(source):
        require_file(resolve(source, no_progress).path, "checkpoint", CheckpointError)


def _check_checkpoint(source: str | Path, values: Mapping[str, Any]) -> None:
    from exporter.cli.network_options import take_build_options
    from models.checkpoints.reading import check_ahead

    options = take_build_options(dict(values))
    with _download_progress(source) as progress:
        check_ahead(source, options.layout, options.selection, options.expect_sha256, progress)


@contextlib.contextmanager
def _download_progress(source: str | Path) -> Generator[Progress]:
    """Yield what shows the progress of a download; a local file has none."""
    from models.checkpoints.sources import is_remote

    if not is_remote(source):
        yield no_progress
        return
    from exporter.reports.console import progress_on_terminal

    with progress_on_terminal() as progress:
        yield progress


def _check_labels(name_or_file: str) -> None:
    from models.class_names import load_class_names

    load_class_names(name_or_file)


def _check_profile(name_or_file: str) -> None:
    from models.preprocessing.files import find_profile

    find_profile(name_or_file)


def _check_mean(path: Path) -> None:
    from models.paths import require_file

    require_file(path, "mean file", BadInputError)


def _check_baseline(path: Path) -> None:
    from exporter.parity.baseline import read_baseline

    read_baseline(path)


def _check_each(videos: Sequence[str | Path]) -> None:
    """Check that every video of `--clip` or `--calibrate` is there; a `.npz` file is one of clips."""
    from exporter.video.sources import expand_sources

    for source in expand_sources([name for name in videos if not _is_remote(name)]):
        _require_video(source)


def _check_any(videos: Sequence[str]) -> None:
    """Check that one of the videos of `predict` or `features` is there, of which each fails alone."""
    if any(map(_is_remote, videos)):
        return
    from exporter.video.sources import iterate_sources

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


def _is_remote(name: str | Path) -> bool:
    from exporter.storage import is_url

    return is_url(name)


def _require_video(source: Source) -> None:
    from exporter.storage import local_path
    from models.paths import require_file

    if source.kind == "file" and (path := local_path(source.url)) is not None:
        with source.located():
            require_file(path, "file of clips" if path.suffix == ".npz" else "video", VideoError)


_CHECKS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "layout": ("--layout", _check_layout),
    "weights": ("--weights", _check_weights),
    "checkpoint": ("", _check_weights),
    "labels": ("--labels", _check_labels),
    "preprocess": ("--preprocess", _check_profile),
    "mean": ("--mean", _check_mean),
    "baseline": ("--baseline", _check_baseline),
    "videos": ("", _check_any),
    "clips": ("--clip", _check_each),
    "calibration_clips": ("--calibrate", _check_each),
}
"""{parameter of a command: (its option, what checks its value)}; an argument has no option."""
