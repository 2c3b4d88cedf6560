"""The artifacts that `verify` checks: named files, those in named folders, and by default those in ./artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from exporter.artifacts.files import MANIFEST_SUFFIX, has_manifest
from exporter.artifacts.store import recover
from exporter.errors import ArtifactError, Refuse, refuse_one
from exporter.formats import find_format
from exporter.formats.torchscript import is_torchscript_archive
from exporter.openvino_ir import WEIGHTS_SUFFIX

FOLDER = Path("artifacts")
"""Where exports go by default."""


def find_targets(named: Sequence[Path], refuse: Refuse | None = None, *, missing: bool = False) -> tuple[Path, ...]:
    """Return the named files and the artifacts in named folders; those in ./artifacts if nothing is named.

    Args:
        named: files and folders.
        refuse: called with the error of a folder that is one of several names; None raises it.
        missing: include model files of which only a manifest is left in a folder.

    Raises:
        ArtifactError: there are none in a folder.
    """

    def expand() -> Iterator[Path]:
        for path in named or (FOLDER,):
            if path.is_dir() or not named:
                with refuse_one(refuse if len(named) > 1 else None):
                    yield from find_artifacts(path, missing=missing)
            else:
                yield path

    return tuple(expand())


def find_artifacts(folder: Path, *, missing: bool = False) -> tuple[Path, ...]:
    """Return the model file of every artifact in `folder`, by name; `missing` as in `find_targets`.

    Raises:
        ArtifactError: there is none.
    """
    recover(folder)
    entries = folder.iterdir() if folder.is_dir() else ()
    names = {entry.name.removesuffix(MANIFEST_SUFFIX) for entry in entries} - {"", ".", ".."}  # of `.json`, …
    models = sorted(folder / name for name in names)
    artifacts = tuple(model for model in models if (missing or model.is_file()) and _is_artifact(model))
    if not artifacts:
        where = folder if folder.is_absolute() else f"./{folder}"
        raise ArtifactError(f"no artifacts in {where}; make one with c3d-export --format onnx, or name a file")
    return artifacts


def _is_artifact(model: Path) -> bool:
    """Return whether a path names an artifact. Its suffix alone does not prove it: checkpoints end in `.pt` too."""
    known = find_format(model)
    if known is None or has_manifest(model):
        return known is not None
    if known.name == "torchscript":
        return is_torchscript_archive(model)
    return known.name != "openvino" or model.with_suffix(WEIGHTS_SUFFIX).exists()
