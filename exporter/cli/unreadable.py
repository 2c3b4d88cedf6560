"""Models that no command can read, refused before the libraries are imported that run them: those take seconds."""

from __future__ import annotations

from pathlib import Path


def refuse_unreadable(*models: object) -> None:
    """Refuse an ONNX or OpenVINO file without a manifest beside it that is not whole.

    A file with a manifest is left to the comparison of its hash, whose message says more; other formats to the engine
    that loads them.

    Args:
        models: paths; what is no path, or no file, is left to the command.

    Raises:
        ArtifactError: see `load_without_weights` and `read_ir`.
    """
    from exporter.artifacts.files import has_manifest

    for path in models:
        if not isinstance(path, Path) or not path.is_file() or has_manifest(path):
            continue
        if path.suffix == ".onnx":
            from exporter.onnx_io.load import load_without_weights

            load_without_weights(path)
        elif path.suffix == ".xml":
            from exporter.openvino_ir import read_ir

            read_ir(path)
