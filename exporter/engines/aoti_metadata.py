"""What an AOTInductor package was compiled for, read without loading it or importing torch."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from exporter.engines.torch_members import read_member
from exporter.errors import ArtifactError, UnavailableError, join_limited
from exporter.system import cpu_features

CPU_FEATURES = "c3d_export.cpu_features"
"""Metadata of a package: the instruction sets that its code may use, as `exporter.system.cpu_features` names them."""
KIND = "AOTInductor package"
METADATA = "wrapper_metadata.json"
MAX_METADATA_BYTES = 1 << 20
MAX_NAMED = 4
"""Missing instruction sets that a message names; the others are counted."""


def read_metadata(path: Path, opened: BinaryIO | None = None) -> dict[str, str]:
    """Return what a package states of itself: platform, device, instruction sets. It is read as a zip archive.

    Args:
        path: the package.
        opened: the same file, where it is open already.

    Raises:
        ArtifactError: it is no package, or cannot be read.
    """
    text = read_member(path, KIND, METADATA, MAX_METADATA_BYTES, opened)
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path}: its metadata is not a JSON object of strings: {error}") from error


def require_processor(path: Path, metadata: Mapping[str, str]) -> None:
    """Refuse a package that was compiled for another kind of processor or system: its code would end the process.

    Raises:
        UnavailableError: the message names what is missing here.
    """
    here = (platform.system().lower(), platform.machine())
    meant = (metadata.get("AOTI_PLATFORM", here[0]), metadata.get("AOTI_MACHINE", here[1]))
    if meant != here:
        raise UnavailableError(
            f"{path}: was compiled for {' '.join(meant)}, and this is {' '.join(here)}; export it again here"
        )
    missing = sorted(set(metadata.get(CPU_FEATURES, "").split()) - cpu_features())
    if missing:
        raise UnavailableError(
            f"{path}: was compiled for a processor with {join_limited(missing, MAX_NAMED)}, which this one does not "
            "have; export it again here, or take --format pt2 or onnx"
        )
