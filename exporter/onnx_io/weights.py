"""Weights of a model as arrays that are mapped from their files."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

from exporter.errors import ArtifactError
from exporter.onnx_io.external_data import check_external_data
from exporter.onnx_io.load import cause_line

if TYPE_CHECKING:
    from numpy.typing import NDArray


PACKED_TYPES = frozenset(
    {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1, TensorProto.INT2, TensorProto.UINT2}
)
"""Element types of which a byte holds several; they cannot be mapped."""


def take_weights(model: onnx.ModelProto, path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and values of every initialiser of a model's main graph, and remove them from the model.

    Args:
        model: as `load_without_weights` returns it: large weights refer to the model file or to its data files.
        path: the model file.

    Raises:
        ArtifactError: a weight is not in the model's folder, or incomplete.
    """
    check_external_data(model, path)
    graph = model.graph
    tensors, sparse = list(graph.initializer), list(graph.sparse_initializer)
    del graph.initializer[:], graph.sparse_initializer[:]
    with _reading(path):
        for tensor in tensors:
            yield tensor.name, _read(tensor, path)
        for item in sparse:
            yield item.values.name, _to_dense(item, path)


def read_weights(
    model: onnx.ModelProto, tensors: Mapping[str, TensorProto], path: Path
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the names and values of some of a model's tensors, which stay where they are.

    Raises:
        ArtifactError: see `take_weights`.
    """
    check_external_data(model, path)
    with _reading(path):
        for name, tensor in tensors.items():
            yield name, _read(tensor, path)


@contextmanager
def _reading(path: Path) -> Generator[None]:
    """Turn what goes wrong when weights are read into an ArtifactError."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"cannot read the weights of {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: its weights cannot be loaded: {cause_line(error)}") from error


def _read(tensor: TensorProto, path: Path) -> NDArray[Any]:
    """Return a tensor's values; those of external data are mapped from a file of the model's folder."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    info = ExternalDataInfo(tensor)
    data = path.with_name(info.location)
    dtype, shape, offset = helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims), info.offset or 0
    if tensor.data_type not in PACKED_TYPES and sys.byteorder == "little":
        if math.prod(shape) == 0:
            return np.empty(shape, dtype)
        return np.memmap(data, dtype, "r", offset, shape)
    whole = TensorProto(data_type=tensor.data_type, dims=tensor.dims)
    with data.open("rb") as stream:
        stream.seek(offset)
        whole.raw_data = stream.read(-1 if info.length is None else info.length)
    return numpy_helper.to_array(whole)


def _to_dense(sparse: onnx.SparseTensorProto, path: Path) -> NDArray[Any]:
    """Return a sparse tensor with its zeros; its indices are flat, or one row per value."""
    values, indices = _read(sparse.values, path), _read(sparse.indices, path)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    positions = np.unravel_index(indices, dense.shape) if indices.ndim == 1 else tuple(indices.T)
    dense[positions] = values
    return dense
