"""Models that no command can read, refused before the libraries are imported that run them: those take seconds."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import ArtifactError


def refuse_unreadable(*models: object) -> None:
    """Refuse a file that is not there, and an ONNX or OpenVINO file without a manifest beside it that is not whole.

    A file with a manifest is left to the comparison of its hash, whose message says more; other formats to the engine
    that loads them.

    Args:
        models: paths; what is no path, or a folder, is left to the command.

    Raises:
        ArtifactError: no such file; and see `load_without_weights` and `read_ir`.
    """
    from exporter.artifacts.files import has_manifest

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
            from exporter.openvino_ir import read_ir

            read_ir(path)
