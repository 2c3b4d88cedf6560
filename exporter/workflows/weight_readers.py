"""What the libraries of a format read of its weights, each through its own loader, compared with the manifest.

What a file holds and what a library makes of it can differ: another offset is read, a type is converted.
Each reader returns the values as the library has them in memory, and these are hashed as the manifest's are.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.engines import find_engine
from exporter.errors import UnavailableError
from exporter.foreign_logging import import_openvino
from exporter.formats import FORMATS, load_artifact, runtime_options
from exporter.isolation.worker import native_call
from exporter.load_checks import LoadChecks
from exporter.memory_errors import translate_memory_errors
from exporter.stored_tensors import StoredTensor, tensor_sha256
from exporter.system import library_version
from exporter.types import FormatName
from models.errors import one_line

if TYPE_CHECKING:
    import onnx
    import torch

MAX_SESSION_BYTES = 256 << 20
"""Weights that onnxruntime returns at once: more sessions take less memory."""

Value = tuple[str, bytes | memoryview]
"""A weight's name and its values, little-endian in C order; torch's constants in a TorchScript graph have no name."""
Reader = Callable[[LoadedArtifact], Iterator[Value]]


@dataclass(frozen=True)
class ReadWeights:
    """What a library read of an artifact's weights.

    Attributes:
        library: its name and version.
        tensors: how many weights were compared.
        fault: the first that differs, and where; or why it read none. Empty if all are equal, bit for bit.
    """

    library: str
    tensors: int
    fault: str = ""


def read_weights(
    model: Path, manifest: Manifest, checks: LoadChecks
) -> tuple[tuple[ReadWeights, ...], tuple[str, ...]]:
    """Have each library that reads a format, and is installed, read the weights of an artifact, and compare them.

    Args:
        model: the model file, which was compared with its manifest.
        manifest: its manifest.
        checks: whether it may be loaded if it is code.

    Returns:
        what each library read, and what was not compared, and why.

    Raises:
        ArtifactError: it is code that may not be loaded here.
        UnavailableError: none of the format's libraries is installed.
    """
    recorded, name = manifest.tensors, manifest.format
    if FORMATS[name].hides_weights or recorded is None:
        return (), ("--deep: no library reads weights back that the manifest has no hashes of",)
    artifact = load_artifact(model, checks)
    installed = [library for library in READERS[name] if find_spec(library) is not None]
    if not installed:
        library = next(iter(READERS[name]))
        install = find_engine(name).install
        raise UnavailableError(f"--deep: {library}, which reads {name} files, is not installed; {install}")
    stored = {tensor.name: tensor for tensor in FORMATS[name].read_stored(model).tensors or ()}
    found = tuple(_compare(library, artifact, recorded, stored) for library in installed)
    artifact.require_unchanged()
    return found, ()


def _compare(
    library: str, artifact: LoadedArtifact, recorded: dict[str, str], stored: dict[str, StoredTensor]
) -> ReadWeights:
    title = f"{library} {library_version(library)}"
    left, seen = dict(recorded), 0
    with native_call(title, artifact.path), translate_memory_errors(artifact.path, "reading its weights"):
        try:
            for name, values in READERS[artifact.format][library](artifact):
                if name not in stored and name:
                    continue  # a constant that the library adds
                wanted = _match(name, values, left, stored)
                if wanted is None:
                    return ReadWeights(title, seen, _difference(name, values, left, stored))
                del left[wanted]
                seen += 1
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            return ReadWeights(title, seen, f"cannot read the weights: {one_line(error)}")
    if left:
        return ReadWeights(title, seen, f"does not read {next(iter(left))}")
    return ReadWeights(title, seen)


def _match(name: str, values: bytes | memoryview, left: dict[str, str], stored: dict[str, StoredTensor]) -> str | None:
    """Return the recorded weight that these values are; None where they are none."""
    candidates = [name] if name else [known for known in left if stored[known].length == len(values)]
    for known in candidates:
        tensor = stored[known]
        if known in left and tensor_sha256(tensor.dtype, tensor.shape, values) == left[known]:
            return known
    return None


def _difference(name: str, values: bytes | memoryview, left: dict[str, str], stored: dict[str, StoredTensor]) -> str:
    """Return which weight differs, and the first index where."""
    known = name or next((known for known in left if stored[known].length == len(values)), "")
    if not known:
        return f"reads a weight of {len(values)} bytes that is not in the manifest"
    tensor = stored[known]
    mine, theirs = (np.frombuffer(data, np.uint8) for data in (tensor.read(), values))
    if len(mine) != len(theirs):
        return f"{known}: reads {len(theirs)} bytes, not {len(mine)}"
    different = np.flatnonzero(mine != theirs)
    if not different.size:
        return f"{known}: the values are equal, and the manifest states another hash"
    count = math.prod(tensor.shape)
    index = min(int(different[0]) * count // len(mine), count - 1)
    place = ", ".join(str(int(axis)) for axis in np.unravel_index(index, tensor.shape)) if tensor.shape else ""
    return f"{known}[{place}] differs, the first of {different.size} bytes that do"


def _with_onnx(artifact: LoadedArtifact) -> Iterator[Value]:
    import onnx

    model = onnx.load(str(artifact.path))
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.STRING:
            array = onnx.numpy_helper.to_array(tensor)
            yield tensor.name, onnx.numpy_helper.from_array(np.ascontiguousarray(array)).raw_data


def _with_onnxruntime(artifact: LoadedArtifact) -> Iterator[Value]:
    """Yield the initialisers as the outputs of a graph without nodes, so that onnxruntime itself reads them."""
    import onnx

    model = onnx.load(str(artifact.path), load_external_data=False)
    group: list[onnx.TensorProto] = []
    size = 0
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.STRING:
            continue
        group.append(tensor)
        size += len(tensor.raw_data) + sum(int(e.value) for e in tensor.external_data if e.key == "length")
        if size >= MAX_SESSION_BYTES:
            yield from _run_group(model, group, artifact.path)
            group, size = [], 0
    if group:
        yield from _run_group(model, group, artifact.path)


def _run_group(model: onnx.ModelProto, group: Sequence[onnx.TensorProto], path: Path) -> Iterator[Value]:
    from onnx import helper

    from exporter.engines.onnxruntime import DATA_FOLDER
    from exporter.engines.ort_sessions import open_cpu_session, quiet_options

    outputs = [helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in group]
    graph = helper.make_graph([], "weights", [], outputs, list(group))
    alone = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    options = quiet_options(optimize=False)
    options.add_session_config_entry(DATA_FOLDER, str(path.parent.absolute()))
    session = open_cpu_session(alone.SerializeToString(), options)
    names = [tensor.name for tensor in group]
    for name, value in zip(names, session.run_with_ort_values(names, {}), strict=True):
        held: Any = value
        yield name, ctypes.string_at(held.data_ptr(), held.tensor_size_in_bytes())


def _with_torch(artifact: LoadedArtifact) -> Iterator[Value]:
    """Yield the weights of a TorchScript archive or a program, loaded as `verify parity` loads it."""
    from exporter.engines.pt2 import ExportedProgramRuntime
    from exporter.engines.torchscript import TorchScriptRuntime

    options = replace(runtime_options(artifact), optimize_for_inference=False)
    with find_engine(artifact.format).open(artifact.path, options) as runtime:
        assert isinstance(runtime, TorchScriptRuntime | ExportedProgramRuntime)
        for name, tensor in runtime.weights():
            yield name, _bytes(tensor)


def _bytes(tensor: torch.Tensor) -> memoryview:
    import torch

    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _with_openvino(artifact: LoadedArtifact) -> Iterator[Value]:
    model: Any = import_openvino().Core().read_model(str(artifact.path))
    for op in model.get_ordered_ops():
        if op.get_type_name() == "Constant":
            yield op.get_friendly_name(), np.ascontiguousarray(op.data).tobytes()


READERS: dict[FormatName, dict[str, Reader]] = {
    "onnx": {"onnx": _with_onnx, "onnxruntime": _with_onnxruntime},
    "torchscript": {"torch": _with_torch},
    "pt2": {"torch": _with_torch},
    "openvino": {"openvino": _with_openvino},
}
"""{format: {library: how it reads the weights}}."""
