"""Weights of a model that lie in other files of its folder."""

import re
from pathlib import Path

import onnx

from exporter.errors import ArtifactError
from exporter.onnx_io.data_links import link_fault
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.subgraphs import all_graphs


def external_files(path: Path) -> tuple[Path, ...]:
    """Return the files beside a model that hold weights of it, by name.

    Raises:
        ArtifactError: the model is unreadable, or its weights are not in files of its folder.
    """
    model = load_without_weights(path)
    check_external_data(model, path)
    return tuple(path.with_name(name) for name in external_locations(model, path))


def external_locations(model: onnx.ModelProto, path: Path) -> list[str]:
    """Return the other files, as the model at `path` names them, that hold its weights."""
    tensors = [tensor for graph in all_graphs(model.graph) for tensor in graph.initializer]
    names = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return sorted(names - {path.name})  # `load_without_weights` refers to the weights inside the model file so


def check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a model whose weights are outside its own folder, are missing, or have no place in their file.

    Raises:
        ArtifactError: a location is outside the folder, or an offset or a length is no number; the message names it.
    """
    for tensor in (tensor for graph in all_graphs(model.graph) for tensor in graph.initializer):
        for entry in tensor.external_data:
            if entry.key in ("offset", "length") and not _is_size(entry.value):
                raise ArtifactError(
                    f"{path}: weight {tensor.name}: its {entry.key}, {entry.value[:40]!r}, is no number of bytes"
                )
    for location in external_locations(model, path):
        if fault := link_fault(path, location):
            raise ArtifactError(fault)
        if not path.with_name(location).is_file():
            raise ArtifactError(f"{path}: refers to weights in {location}, which is not beside it")


def _is_size(text: str) -> bool:
    return re.fullmatch("[0-9]{1,19}", text) is not None and int(text) < 1 << 63
