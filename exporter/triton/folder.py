"""A model's folder in a Triton repository: its versions, its configuration, and publishing."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from exporter.artifacts.folders import replace_folder, restore_folders
from exporter.errors import BadInputError
from exporter.storage import publish_file
from exporter.triton.config import LABELS_FILE
from models.paths import read_small_file

CONFIG_FILE = "config.pbtxt"
_HEADER = "# Written by c3d-export. SHA-256 of the lines below, by which an edited file is known: "
MAX_BYTES = 1 << 20
"""Of a configuration; one of this tool has some 2 KB."""
_VERSION = re.compile(r"[1-9]\d{0,17}")


def find_versions(folder: Path, file_name: str) -> dict[int, Path]:
    """Return {number: model file} of a model's versions; the file of one in another format is not there.

    A replacement that a killed run left in the middle is finished first.

    Args:
        folder: the model's.
        file_name: of a model file in a version's folder.

    Raises:
        OutputError: such a replacement cannot be finished.
    """
    if folder.parent.is_dir():
        restore_folders(folder.parent)
    if not folder.is_dir():
        return {}
    restore_folders(folder)
    numbers = [path for path in folder.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir()]
    return {int(path.name): path / file_name for path in numbers}


def find_stage_folder(repository: Path) -> Path:
    """Return the folder to stage in: beside the repository, in which a polling server takes every folder for a model.

    It is the repository itself where nothing can be renamed into it from beside: a mounted volume, another owner.
    """
    parent = repository.resolve().parent
    while not parent.exists():
        parent = parent.parent
    mounted = repository.exists() and repository.stat().st_dev != parent.stat().st_dev
    return repository if mounted or not os.access(parent, os.W_OK) else parent


def add_header(text: str) -> str:
    """Return a configuration with the line by which it is known."""
    return f"{_HEADER}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def is_edited(config: Path) -> bool:
    """Return whether a configuration of this tool was changed since."""
    header, _, text = config.read_text(encoding="utf-8", errors="replace").partition("\n")
    return header != add_header(text).partition("\n")[0]


def is_generated(config: Path) -> bool:
    """Return whether this tool wrote a configuration."""
    try:
        return read_small_file(config, "configuration", MAX_BYTES, BadInputError).startswith(_HEADER.encode())
    except BadInputError:  # none, or something else under its name
        return False


def publish_model(
    staged: Path, folder: Path, version: int, *, is_new: bool, replaces: bool, whole: bool, keep_config: bool
) -> None:
    """Move what is staged into a model's folder.

    Args:
        staged: the model's folder, staged.
        folder: where it goes.
        version: the version's number.
        is_new: whether the version's folder is staged.
        replaces: whether it may take the place of one that is there. If not, and another run has put one there
            meanwhile, that one stays.
        whole: replace the whole folder, or make it.
        keep_config: leave the configuration and the labels as they are.

    Raises:
        OutputError: the repository cannot be written to, or is full.
    """
    if whole:
        replace_folder(staged, folder)
        return
    if is_new:
        publish = replace_folder if replaces else publish_file
        publish(staged / str(version), folder / str(version))
    # the configuration last: it refers to the labels
    for name in (LABELS_FILE, CONFIG_FILE) if not keep_config else ():
        if (staged / name).exists():
            publish_file(staged / name, folder / name)
