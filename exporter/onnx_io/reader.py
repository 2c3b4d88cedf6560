"""Any ONNX file as an `onnx_ir.Model` whose weights are mapped from the model file, or from its data file."""

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from exporter.errors import ArtifactError
from exporter.isolation.worker import reads_file
from exporter.onnx_io.external_data import check_external_data
from exporter.onnx_io.load import INLINE_BELOW, cause_line, load_without_weights
from exporter.onnx_io.onnx_passes import find_fault, run_onnx_pass

UNNAMED = "graph"
"""The name that a graph without one is written with."""


def require_whole(path: Path) -> None:
    """Refuse a file of which parts or data are missing: of that the reader here says more than an engine.

    Raises:
        ArtifactError: unreadable, not ONNX, or its external data is incomplete.
    """
    _read_unchecked(path)


def read_model(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> ir.Model:
    """Read a model and run onnx's checker on it.

    Args:
        path: the ONNX file.
        shapes: {input: its sizes with the batch}, for inputs whose shape the file does not state, which the checker
            refuses. The first axis stays free.

    Raises:
        ArtifactError: unreadable, not ONNX, rejected by the checker, or its external data is incomplete.
    """
    model = _read_unchecked(path)
    _inline_small(model)
    _set_missing_shapes(path, model, shapes or {})
    if fault := find_fault(model, path, full=False):
        raise ArtifactError(f"{path}: onnx's checker rejects it: {fault}")
    return model


@reads_file("onnx-ir")
def _read_unchecked(path: Path) -> ir.Model:
    proto = load_without_weights(path)
    check_external_data(proto, path)
    if proto.graph.sparse_initializer or proto.training_info:
        raise ArtifactError(f"{path}: has sparse weights or training graphs, which rewriting would lose")
    try:
        model = ir.from_proto(proto)
        ir.external_data.set_base_dir(model.graph, str(path.parent.absolute()))
        _bind_inline_weights(path, model)
        _free_negative_sizes(model)
        for graph in model.graphs():  # engines run those without a name, and onnx's checker refuses them
            graph.name = graph.name or UNNAMED
    except Exception as error:  # what a malformed message leads to has no common class
        raise ArtifactError(f"{path}: not a valid ONNX model: {cause_line(error)}") from error
    _check_weights(path, model)
    return model


def _set_missing_shapes(path: Path, model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for value in model.graph.inputs:
        if value.shape is None and isinstance(value.type, ir.TensorType):
            sizes = shapes.get(str(value.name))
            if sizes is None:
                raise ArtifactError(
                    f"{path}: the shape of its input {value.name} is not stated; give it as "
                    f"--shape {value.name}=1x3x224x224"
                )
            value.shape = ir.Shape([None, *sizes[1:]] if sizes else [])
    if any(value.shape is None and isinstance(value.type, ir.TensorType) for value in model.graph.outputs):
        run_onnx_pass(ShapeInferencePass(), model, path)


def _bind_inline_weights(path: Path, model: ir.Model) -> None:
    """Refer to weights in the model file itself by its absolute path, which comes from the user and not from a model.

    Without a base folder, onnx_ir also accepts a file that is a symbolic link or has hard links.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and str(tensor.location) == path.name:
                value.const_value = ir.ExternalTensor(
                    str(path.absolute()),
                    tensor.offset,
                    tensor.length,
                    tensor.dtype,
                    shape=tensor.shape,
                    name=str(tensor.name),
                    base_dir="",
                )


def _free_negative_sizes(model: ir.Model) -> None:
    """Make sizes below zero unknown: some exporters write -1 for a dynamic size, which ONNX has no number for."""
    for graph in model.graphs():
        computed = [value for node in graph for value in node.outputs]
        for value in (*graph.inputs, *graph.outputs, *computed):
            if value.shape is not None and any(isinstance(size, int) and size < 0 for size in value.shape):
                value.shape = ir.Shape([None if isinstance(size, int) and size < 0 else size for size in value.shape])


def _check_weights(path: Path, model: ir.Model) -> None:
    """Refuse weights that are incomplete, or that onnx_ir would refuse later, before anything maps them."""
    for tensor in (value.const_value for graph in model.graphs() for value in graph.initializers.values()):
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        length = tensor.nbytes if tensor.length is None else tensor.length
        end = (tensor.offset or 0) + length
        if length != tensor.nbytes or end > Path(tensor.path).stat().st_size:
            raise ArtifactError(
                f"{path}: its weight {tensor.name} takes {tensor.nbytes} bytes, but {Path(tensor.path).name} does not "
                "hold them at the stated offset; the file is truncated, or of another model"
            )


def _inline_small(model: ir.Model) -> None:
    """Put small tensors (shapes, axes) into the message: the checker and shape inference read them."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes < INLINE_BELOW:
                value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)
