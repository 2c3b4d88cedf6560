"""The files beside a model file that hold weights of it, whatever its format."""

from __future__ import annotations

from pathlib import Path

from exporter.types import FormatName


def data_files(path: Path, artifact_format: FormatName) -> tuple[Path, ...]:
    """Return the files beside a model file that hold weights of it.

    Raises:
        ArtifactError: it cannot be read.
    """
    if artifact_format == "onnx":
        from exporter.onnx_io.external_data import external_files

        return external_files(path)
    if artifact_format == "openvino":
        from exporter.openvino_ir import WEIGHTS_SUFFIX

        return (path.with_suffix(WEIGHTS_SUFFIX),)
    return ()


def read_data_names(model: Path) -> list[str]:
    """Return the names of the data files of an ONNX model, whether they are there or not.

    Raises:
        ArtifactError: the model is missing, or no ONNX model.
        LimitError: its functions expand to too many nodes.
    """
    from exporter.onnx_io.external_data import external_locations
    from exporter.onnx_io.load import load_without_weights

    return external_locations(load_without_weights(model), model)
