"""Any ONNX file as an `onnx_ir.Model`, its weights left where they are: in the file's message, or mapped from disk."""

from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

from exporter.errors import ArtifactError
from exporter.formats.onnx import check_external_data, load_graph

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_BYTES = (1 << 31) - 1
"""Of weights: a float64 truth of more would take 4 GB, and no engine loads it as one message."""


def read_model(path: Path) -> ir.Model:
    """Read a model and hold it against onnx's checker.

    Raises:
        ArtifactError: unreadable, not ONNX, refused by the checker, its external data is not whole, or larger than
            2 GiB.
    """
    proto = load_graph(path)
    check_external_data(proto, path)
    if proto.graph.sparse_initializer or proto.training_info:
        raise ArtifactError(f"{path}: has sparse weights or training graphs, which would be lost; it is left alone")
    try:
        model = ir.from_proto(proto)
        ir.external_data.set_base_dir(model.graph, str(path.parent.absolute()))
    except Exception as error:  # what a malformed message leads to has no common class
        raise ArtifactError(f"{path}: not a sound ONNX model: {_reason(error)}") from error
    _check_weights(path, model)
    try:
        CheckerPass()(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: onnx's checker refuses it: {_reason(error)}") from error
    return model


def _check_weights(path: Path, model: ir.Model) -> None:
    """Refuse weights that are not wholly there, before anything maps them."""
    total = 0
    for tensor in _tensors(model):
        total += tensor.nbytes
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        length = tensor.nbytes if tensor.length is None else tensor.length
        end = (tensor.offset or 0) + length
        if length != tensor.nbytes or end > Path(tensor.path).stat().st_size:
            raise ArtifactError(
                f"{path}: its weight {tensor.name} takes {tensor.nbytes} bytes, but {Path(tensor.path).name} does not "
                "hold them where the model says; it is truncated, or of another model"
            )
    if total > MOST_BYTES:
        raise ArtifactError(f"{path}: its weights take {total / 1e9:.1f} GB; models beyond 2 GiB are not optimised")


def _tensors(model: ir.Model) -> "Iterable[ir.TensorProtocol]":
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value


def _reason(error: BaseException) -> str:
    """Return the first line of the first cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), "") or type(error).__name__
