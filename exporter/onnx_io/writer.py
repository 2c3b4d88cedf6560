"""Writes an ONNX model without holding its weights twice in memory.

The protobuf library serialises a message into one string, so a model of 314 MB costs another 314 MB as a message and
314 MB as that string. Here only the graph without weights becomes a message; each weight's bytes then go from the
tensor straight into the file, in the same wire format. Source: the protobuf encoding guide, and field numbers of
onnx/onnx.proto.
"""

import contextlib
import hashlib
from collections.abc import Generator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from exporter.errors import C3DExportError, UsageError
from exporter.isolation.worker import native_call
from exporter.onnx_io.ceil_pools import has_ceil_pools
from exporter.onnx_io.load import (
    GRAPH_INITIALIZER,
    INLINE_BELOW,
    MAX_MESSAGE_BYTES,
    MODEL_GRAPH,
    TENSOR_RAW_DATA,
    cause_line,
)
from exporter.onnx_io.onnx_passes import find_fault
from exporter.storage import translate_os_errors
from exporter.temporary_folders import temporary_folder
from models.protobuf_wire import field_header

ALIGNMENT = 4096
"""Each tensor of a data file starts at a multiple of this many bytes, so that engines can map it."""

Weights = dict[str, ir.TensorProtocol]
Ranges = dict[str, tuple[int, int]]
"""{weight: (offset, length) in its file}."""


def write_onnx(
    model: ir.Model, folder: Path, name: str, *, external_data: bool, full_check: bool = True
) -> tuple[Path, ...]:
    """Write `model` as `name` into `folder` and run onnx's checker on it.

    Args:
        model: the model.
        folder: where the files go; it exists.
        name: the file's name.
        external_data: write the weights into a file of their own.
        full_check: infer every shape in the check too.

    Returns:
        The model file and, if `external_data`, the file of the weights, which is named after their hash.

    Raises:
        UsageError: weights of 2 GiB or more cannot be inside the model file.
        C3DExportError: the checker rejects the model, which is a fault of this tool or its libraries.
    """
    weights = {
        key: initializer.const_value
        for key, initializer in model.graph.initializers.items()
        if initializer.const_value is not None
        and initializer.const_value.nbytes >= INLINE_BELOW
        and initializer.const_value.dtype != ir.DataType.STRING
    }
    path = folder / name
    if external_data:
        data, ranges = _write_data(weights, folder, name)
        _write_message(_with_external_data(model, data.name, ranges), path)
        _check(path, model, full_check)
        return path, data
    ranges = _write_inline(model, weights, path)
    # the same graph, whose weights are references into `path`: the checker needs a hundredth of the memory for it
    checked = folder / ".check.onnx"  # no artifact's name begins with a dot
    _write_message(_with_external_data(model, name, ranges), checked)
    _check(checked, model, full_check)
    checked.unlink()
    return (path,)


def _check(path: Path, model: ir.Model, full_check: bool) -> None:
    """Run onnx's checker on a written file; shapes are checked in memory where pools in ceil mode mislead onnx."""
    in_memory = full_check and has_ceil_pools(model)
    try:
        with native_call("onnx's checker", path):
            onnx.checker.check_model(str(path), full_check=full_check and not in_memory)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise C3DExportError(f"onnx's checker rejects the written model: {cause_line(error)}") from error
    if in_memory and (fault := find_fault(model)):
        raise C3DExportError(f"onnx's checker rejects the written model: {fault}")


@contextlib.contextmanager
def temporary_file(model: ir.Model) -> Generator[Path]:
    """Write a copy of `model` into a temporary folder, for an engine that reads files; it is removed after the block.

    The weights are in a file of their own, so that they may take 2 GiB and more.

    Raises:
        OutputError: the folder for temporary files is full, or cannot be written to.
    """
    with temporary_folder() as folder:
        with translate_os_errors(folder.parent):
            path = write_onnx(model, folder, "model.onnx", external_data=True)[0]
        yield path


def _write_message(proto: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _with_external_data(model: ir.Model, location: str, ranges: Ranges) -> onnx.ModelProto:
    """Return the model's message with each weight replaced by its range in the file `location`."""
    kept = {name: model.graph.initializers[name].const_value for name in ranges}
    for name, (offset, length) in ranges.items():
        tensor = kept[name]
        assert tensor is not None
        model.graph.initializers[name].const_value = ir.ExternalTensor(
            location, offset, length, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name, base_dir=""
        )
    try:
        return ir.to_proto(model)
    finally:
        for name, tensor in kept.items():
            model.graph.initializers[name].const_value = tensor


def _write_data(weights: Weights, folder: Path, name: str) -> tuple[Path, Ranges]:
    ranges: Ranges = {}
    digest = hashlib.sha256()
    staged = folder / f"{name}.data"
    with staged.open("wb") as stream:
        for key, tensor in weights.items():
            padding = bytes(-stream.tell() % ALIGNMENT)
            with _payload(tensor) as payload:
                ranges[key] = (stream.tell() + len(padding), payload.nbytes)
                for part in (padding, payload):
                    stream.write(part)
                    digest.update(part)
    return staged.rename(staged.with_name(f"{name}.{digest.hexdigest()[:16]}.data")), ranges


def _write_inline(model: ir.Model, weights: Weights, path: Path) -> Ranges:
    proto = _with_external_data(model, "", {name: (0, tensor.nbytes) for name, tensor in weights.items()})
    heads: dict[str, bytes] = {}
    small: list[onnx.TensorProto] = []
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            heads[tensor.name] = tensor.SerializeToString(deterministic=True)
        else:
            small.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(small)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")

    raw = {name: field_header(TENSOR_RAW_DATA, weights[name].nbytes) for name in heads}
    bodies = {name: len(heads[name]) + len(raw[name]) + weights[name].nbytes for name in heads}
    tensors = {name: field_header(GRAPH_INITIALIZER, bodies[name]) for name in heads}
    size = len(graph) + sum(len(tensors[name]) + bodies[name] for name in heads)
    if size > MAX_MESSAGE_BYTES - (1 << 20):
        raise UsageError(f"the weights take {size} bytes, more than one ONNX file can hold; add --external-data")

    ranges: Ranges = {}
    with path.open("wb") as stream:
        stream.write(proto.SerializeToString(deterministic=True))
        stream.write(field_header(MODEL_GRAPH, size))
        stream.write(graph)
        for name, head in heads.items():
            stream.write(tensors[name] + head + raw[name])
            with _payload(weights[name]) as payload:
                ranges[name] = (stream.tell(), payload.nbytes)
                stream.write(payload)
    return ranges


@contextlib.contextmanager
def _payload(tensor: ir.TensorProtocol) -> Generator[memoryview]:
    """Give a tensor's little-endian bytes, without a copy where it is contiguous.

    A tensor that is mapped from a file is unmapped afterwards: its pages would otherwise stay in memory.
    """
    if tensor.dtype.bitwidth < 8:
        yield memoryview(tensor.tobytes())
    else:
        payload = np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data
        yield payload
        payload.release()
        del payload
    if isinstance(tensor, ir.ExternalTensor):
        with contextlib.suppress(BufferError):  # its array is still in use
            tensor.release()
