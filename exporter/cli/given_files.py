"""Files that arguments name, checked before a command imports the libraries that take seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.errors import BadInputError, C3DExportError, CheckpointError, VideoError


def check_given_files(values: Mapping[str, Any]) -> None:
    """Refuse a file or name that is not there. URLs, and what files hold, are left to the command.

    Args:
        values: {parameter of a command: its value}.

    Raises:
        UsageError: no such layout.
        BadInputError: no such file, class names or profile; or none of the videos to run a model on is there.
        OutputError: a folder cannot be written to.
    """
    for name in ("work_dir", "cache"):
        if folder := values.get(name):
            _check_output_folder(folder, f"--{name.replace('_', '-')}")
    for name, check in _CHECKS.items():
        if value := values.get(name):
            check(value)
    for name in ("clips", "calibration_clips"):
        if isinstance(videos := values.get(name), tuple):
            _check_each(videos)


def _check_output_folder(folder: Path, option: str) -> None:
    from exporter.output_targets import check_output_folder

    check_output_folder(folder, option)


def _check_layout(name: str) -> None:
    from models.checkpoints.detection import select_layouts

    select_layouts(name)


def _check_weights(source: str | Path) -> None:
    from models.checkpoints.sources import is_remote, resolve
    from models.paths import require_file
    from models.progress import no_progress

    if not is_remote(source):
        require_file(resolve(source, no_progress).path, "checkpoint", CheckpointError)


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
        if source.kind == "file":
            _require_video(source.url)


def _check_any(videos: Sequence[str]) -> None:
    """Check that one of the videos of `predict` or `features` is there, of which each fails alone."""
    if any(map(_is_remote, videos)):
        return
    from exporter.video.sources import expand_sources

    errors: list[C3DExportError] = []
    for source in expand_sources(videos, lambda _, error: errors.append(error)):
        try:
            if source.kind == "file":
                _require_video(source.url)
            return
        except VideoError as error:
            errors.append(error)
    raise errors[0]


def _is_remote(name: str | Path) -> bool:
    from exporter.storage import is_url

    return is_url(name)


def _require_video(url: str) -> None:
    from exporter.storage import local_path
    from models.paths import require_file

    if (path := local_path(url)) is not None:
        require_file(path, "file of clips" if path.suffix == ".npz" else "video", VideoError)


_CHECKS: dict[str, Callable[[Any], None]] = {
    "layout": _check_layout,
    "weights": _check_weights,
    "checkpoint": _check_weights,
    "labels": _check_labels,
    "preprocess": _check_profile,
    "mean": _check_mean,
    "baseline": _check_baseline,
    "videos": _check_any,
}
