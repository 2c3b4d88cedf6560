"""Reads an ONNX model's initialisers: an exported C3D is a checkpoint too.

The graph itself states pool5's convention and the clip's size, whatever tool exported it. This project's exports carry
their manifest, which also states the variant and the preprocessing. Nothing of the graph runs. Field numbers:
onnx/onnx.proto of the ONNX project.
"""

import re
from collections.abc import Collection
from dataclasses import replace

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.dtypes import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from models.checkpoints.file_tensor import FileTensor
from models.checkpoints.metadata import read_conventions
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.onnx_graph import find_pool5, name_by_position
from models.config import CLIP_SHAPE, InputSize
from models.errors import CheckpointError, naming
from models.protobuf_wire import BYTES, Field, WireError

CONSTANTS = ("winograd.", "conv2d.", "pictures.", "preprocess.")
"""Name prefixes of constants that are no weights: an optimised graph's transforms, and preprocessing inside a model."""
DTYPES = {1: FLOAT32, 10: FLOAT16, 11: FLOAT64, 16: BFLOAT16}
"""{TensorProto.DataType: dtype} of weights."""
ARGUMENTS = {5, 6, 7, 9}
"""DataType of int16, int32, int64 and bool: arguments of a Reshape or a Slice; int8 may be a weight's."""
NO_WEIGHTS = {2: "uint8", 3: "int8", 4: "uint16", 8: "strings", 12: "uint32", 13: "uint64"}
"""{DataType that is neither: its name}."""

EXTERNAL = 1
"""TensorProto.DataLocation of data in another file."""

_WHOLE = re.compile(r"[0-9]{1,19}")


def read_onnx(file: MappedFile) -> ReadResult:
    """Read a model's initialisers, mapped, and the conventions that it states.

    Raises:
        CheckpointError: not an ONNX model, truncated, or data that is not where it should be.
    """
    try:
        model = file.wire.members(Field(0, BYTES, 0, file.size, 0))
        graphs = [span for span in model.get(7, []) if span.wire == BYTES]
        if not graphs:
            raise CheckpointError("not an ONNX model: it has no graph")
        graph = file.wire.members(graphs[-1])
        if len(graph.get(5, [])) > MAX_TENSORS:
            raise CheckpointError(f"more than {MAX_TENSORS} tensors")
        found = (_tensor(file, span) for span in graph.get(5, []))
        tensors = {name: tensor for name, tensor in found if tensor is not None}
        nodes = graph.get(1, [])
        pool5 = find_pool5(file, nodes)
        size = _input_size(file, graph.get(11, []), tensors.keys())
        by_position = name_by_position(file, nodes, tensors, size)
        reported = read_conventions(file.wire.pairs(model.get(14, [])))
    except WireError as error:
        raise CheckpointError(f"not a valid ONNX model, or truncated: {error}") from error
    conventions = replace(reported, pool5=pool5 or reported.pool5, input_size=size or reported.input_size)
    others = tuple(file.others.values())
    return ReadResult(tensors, "ONNX", conventions, by_position=by_position, others=others)


def _tensor(file: MappedFile, span: Field) -> tuple[str, FileTensor | None]:
    """Return an initialiser's name and its values; None where it is no weight.

    TensorProto: dims 1, data_type 2, float_data 4, name 8, raw_data 9, external_data 13, data_location 14.
    """
    members = file.wire.members(span)
    name = file.wire.text(members[8][-1]) if 8 in members else ""
    shape = tuple(size for dim in members.get(1, []) for size in file.wire.packed(dim))
    kind = members[2][-1].value if 2 in members else 0
    if kind in ARGUMENTS or name.startswith(CONSTANTS):
        return name, None
    if kind not in DTYPES:
        what = NO_WEIGHTS.get(kind, f"of ONNX's element type {kind}")
        raise CheckpointError(f"{name} is {what}; weights must be floats of 16 bits or more")
    dtype = DTYPES[kind]
    if 14 in members and members[14][-1].value == EXTERNAL:
        entries = file.wire.pairs(members.get(13, []))
        location = entries.get("location", "")
        if (other := file.beside(location)) is None:
            raise CheckpointError(f"the data of {name} should be in {location!r}, which is not a file of its folder")
        offset, length = (_number(name, entries.get(key, "")) for key in ("offset", "length"))
        with naming(other.name):
            return name, other.tensor(name, dtype, shape, offset or 0, other.size if length is None else length)
    runs = [run for number in (9, 4) for run in members.get(number, []) if run.wire == BYTES]
    if len(runs) != 1 or (4 in members and dtype != FLOAT32):
        raise CheckpointError(f"{name}: its numbers are missing, or in more than one field")
    return name, file.tensor(name, dtype, shape, runs[0].start, runs[0].end - runs[0].start)


def _number(name: str, text: str) -> int | None:
    if not text:
        return None
    if not _WHOLE.fullmatch(text):
        raise CheckpointError(f"the data of {name} has the offset or length {text[:40]!r}")
    return int(text)


def _input_size(file: MappedFile, inputs: list[Field], initializers: Collection[str]) -> InputSize | None:
    """Return the clip's size where the graph's input has a batch axis and four fixed ones.

    ValueInfoProto: name 1, type 2. TypeProto: tensor_type 1. Its shape 2. TensorShapeProto: dim 1. Its dim_value 1.
    """
    for span in inputs:
        value = file.wire.members(span)
        if 1 not in value or file.wire.text(value[1][-1]) in initializers:
            continue
        spans = value.get(2, [])
        for number in (1, 2):
            spans = [inner for span in spans for inner in file.wire.members(span).get(number, [])]
        dims = [file.wire.members(dim) for span in spans for dim in file.wire.members(span).get(1, [])]
        sizes = [dim[1][-1].value if 1 in dim else 0 for dim in dims]
        if len(sizes) == 1 + len(CLIP_SHAPE) and all(size > 0 for size in sizes[1:]):
            _, channels, frames, height, width = sizes
            return channels, frames, height, width
    return None
