"""Reads TensorFlow 1's checkpoints without TensorFlow: V1 (one file) and V2 (`X.index` and `X.data-0000i-of-0000n`).

Both are sorted string tables as LevelDB has them: blocks of (key, value) entries, an index of blocks, a footer. V1
keeps the numbers in the values (SavedTensorSlices), V2 plainly in the data files, and says where (BundleEntryProto).
TensorFlow's writers do not compress. The tables' CRC-32C is not checked: Python has no fast one, so compare the file's
SHA-256 with its source's.

Sources: google/leveldb, doc/table_format.md; tensorflow/core/util/saved_tensor_slice.proto;
tensorflow/core/protobuf/tensor_bundle.proto; tensorflow/core/framework/{tensor,tensor_shape,types}.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.dtypes import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, INT32, INT64, DType
from models.checkpoints.file_tensor import FileBytes, FileTensor, contiguous
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.errors import CheckpointError, naming
from models.protobuf_wire import BYTES, VARINT, Field, WireError, signed, varint

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER = 48
TRAILER = 5
"""After each block: one byte of compression type, four of CRC-32C."""
MAX_KEY = 1 << 12
"""Bytes of a key. An entry repeats the start of the key before it at the cost of two bytes."""

AVERAGE = "/ExponentialMovingAverage"
"""The end of the names of tf.train.ExponentialMovingAverage's variables."""
OBJECT_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
"""The end of all names in the checkpoints of TensorFlow 2's objects."""

DTYPES = {1: FLOAT32, 2: FLOAT64, 3: INT32, 9: INT64, 14: BFLOAT16, 19: FLOAT16}
"""{DataType: dtype}."""

V1_VALUES = {1: 5, 2: 6}
"""{DataType: the field of TensorProto that holds its numbers as they are in memory}."""
V1_INTEGERS = {3: 7, 9: 10}
"""{DataType: the field that holds them as varints}: step counters, never weights."""
MAX_INTEGERS = 1 << 16

Members = dict[int, list[Field]]


@dataclass(frozen=True)
class Entry:
    """An entry of a table: its key, and the byte range of its value."""

    key: bytes
    start: int
    end: int


def is_table(file: MappedFile) -> bool:
    """Return whether the file ends as a sorted string table does."""
    return file.size >= FOOTER and file.data[-len(MAGIC) :] == MAGIC


def read_tf_checkpoint(file: MappedFile) -> ReadResult:
    """Read a checkpoint's variables, mapped where they are aligned.

    Args:
        file: a V1 checkpoint, or the `.index` of a V2 one.

    Raises:
        CheckpointError: not a checkpoint, truncated, compressed, with partitioned variables, or a data file is missing.
    """
    try:
        if not is_table(file):
            raise CheckpointError("not a TensorFlow checkpoint, or truncated; of a V2 one, give the .index file")
        entries = list(_limited(_entries(file)))
        first = _members(file, entries[0]) if entries and entries[0].key == b"" else {}
        if file.suffix == ".index" or (first and 1 in first and first[1][0].wire == VARINT):
            return _bundle(file, entries, first)
        return _slices(file, entries, first)
    except WireError as error:
        raise CheckpointError(f"not a valid TensorFlow checkpoint: {error}") from error


# ---- tables


def _entries(file: MappedFile) -> Iterator[Entry]:
    """Walk over the entries of a table. No block is read twice, so the work is bound by the file's size."""
    at = file.size - FOOTER
    for _ in range(2):  # the meta index's offset and size, which are not needed
        _, at = varint(file.data, at, file.size)
    offset, at = varint(file.data, at, file.size)
    size, _ = varint(file.data, at, file.size)
    last = 0
    for handle in _limited(_block(file, offset, size)):
        start, at = varint(file.data, handle.start, handle.end)
        size, _ = varint(file.data, at, handle.end)
        if start < last:
            raise WireError("its blocks overlap")
        last = start + size + TRAILER
        yield from _block(file, start, size)


def _limited(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Yield the entries, and end with an error where there are more: one takes three bytes of a file."""
    for number, entry in enumerate(entries, 1):
        if number > MAX_TENSORS:
            raise WireError(f"it has more than {MAX_TENSORS} entries")
        yield entry


def _block(file: MappedFile, start: int, size: int) -> Iterator[Entry]:
    """Walk over one block: entries that share the start of their key with the one before, then restart points."""
    end = start + size
    if end + TRAILER > file.size:
        raise WireError(f"a block reaches beyond the file ({end + TRAILER} of {file.size} bytes)")
    if file.data[end]:
        raise CheckpointError(
            "its blocks are compressed, which TensorFlow's own checkpoints are not; save it again with "
            "tf.compat.v1.train.Saver"
        )
    restarts = int.from_bytes(file.data[end - 4 : end], "little") if size >= 4 else 0
    at, stop, key = start, end - 4 * (restarts + 1), b""
    while at < stop:
        shared, at = varint(file.data, at, stop)
        length, at = varint(file.data, at, stop)
        size, at = varint(file.data, at, stop)
        if shared > len(key) or shared + length > MAX_KEY or at + length + size > stop:
            raise WireError("an entry reaches beyond its block")
        key = key[:shared] + file.data[at : at + length]
        at += length
        yield Entry(key, at, at + size)
        at += size


def _members(file: MappedFile, entry: Entry) -> Members:
    return file.wire.members(Field(0, BYTES, entry.start, entry.end, 0))


def _inside(file: MappedFile, span: Field) -> Members:
    if span.wire != BYTES:
        raise WireError(f"field {span.number} is no message")
    return file.wire.members(span)


def _number(members: Members, number: int) -> int:
    return signed(members[number][-1].value) if number in members else 0


def _shape(file: MappedFile, members: Members, number: int) -> tuple[int, ...]:
    """TensorShapeProto: dim 2, of which size 1."""
    shape = _inside(file, members[number][-1]) if number in members else {}
    return tuple(_number(_inside(file, dim), 1) for dim in shape.get(2, []))


def _dtype(name: str, kind: int) -> DType:
    if kind not in DTYPES:
        raise CheckpointError(f"{name} has TensorFlow's element type {kind}; weights must be floats")
    return DTYPES[kind]


# ---- V2


def _bundle(file: MappedFile, entries: list[Entry], header: Members) -> ReadResult:
    """BundleHeaderProto: num_shards 1, endianness 2. BundleEntryProto: dtype, shape, shard_id, offset, size, from 1."""
    shards = _number(header, 1)
    if _number(header, 2):
        raise CheckpointError("written on a big-endian machine, which is not supported")
    tensors: dict[str, FileTensor] = {}
    for entry in entries[1:]:
        name = entry.key.decode("utf-8", "backslashreplace").removesuffix(OBJECT_VALUE)
        members = _members(file, entry)
        if 7 in members:
            raise CheckpointError(f"{name} is a partitioned variable; save it again in one piece")
        if _number(members, 1) not in DTYPES:
            continue  # strings of the object graph and the like
        kind, shard = DTYPES[_number(members, 1)], _shard(file, _number(members, 3), shards)
        offset, size = _number(members, 4), _number(members, 5)
        with naming(shard.name):
            tensors[name] = shard.tensor(name, kind, _shape(file, members, 2), offset, size)
    others = tuple(file.others[name] for name in sorted(file.others))
    return ReadResult(_with_averages(tensors), "TensorFlow V2", others=others)


def _shard(file: MappedFile, shard: int, shards: int) -> MappedFile:
    name = f"{file.name.removesuffix('.index')}.data-{shard:05d}-of-{shards:05d}"
    opened = file.beside(name) if 0 <= shard < shards else None
    if opened is None:
        raise CheckpointError(f"its data file {name} is not beside it")
    return opened


# ---- V1


def _slices(file: MappedFile, entries: list[Entry], first: Members) -> ReadResult:
    """SavedTensorSlices: meta 1, data 2. SavedTensorSliceMeta: tensor 1. SavedSlice: name 1, slice 2, data 3."""
    if 1 not in first:
        raise CheckpointError("a table, but not a TensorFlow checkpoint: it has no list of variables")
    variables = [_inside(file, span) for span in _inside(file, first[1][-1]).get(1, [])]
    declared = {file.wire.text(variable[1][-1]): variable for variable in variables if 1 in variable}
    tensors: dict[str, FileTensor] = {}
    for entry in entries[1:]:
        for span in _members(file, entry).get(2, []):
            saved = _inside(file, span)
            name = file.wire.text(saved[1][-1]) if 1 in saved else ""
            if name not in declared or 3 not in saved:
                raise CheckpointError(f"holds {name!r}, which its own list of variables does not")
            if name in tensors or len(declared[name].get(4, [])) > 1:
                raise CheckpointError(f"{name} is a partitioned variable; save it again in one piece")
            tensors[name] = _saved(file, name, declared[name], _inside(file, saved[3][-1]))
    if missing := [name for name in declared if name not in tensors]:
        raise CheckpointError(f"lists {missing[0]}, but does not hold it")
    return ReadResult(_with_averages(tensors), "TensorFlow V1")


def _with_averages(tensors: dict[str, FileTensor]) -> dict[str, object]:
    """Return the variables with their moving averages in a dict of their own, under the variables' names."""
    averages = {name: tensor for name, tensor in tensors.items() if name.endswith(AVERAGE)}
    variables: dict[str, object] = {name: tensor for name, tensor in tensors.items() if name not in averages}
    if averages and AVERAGE[1:] not in variables:
        variables[AVERAGE[1:]] = {name.removesuffix(AVERAGE): tensor for name, tensor in averages.items()}
    return variables


def _saved(file: MappedFile, name: str, declared: Members, proto: Members) -> FileTensor:
    """SavedSliceMeta: name 1, shape 2, type 3, slice 4. TensorProto: its numbers in a field of their type's."""
    kind, shape = _number(declared, 3), _shape(file, declared, 2)
    dtype = _dtype(name, kind)
    if kind in V1_INTEGERS:
        runs = proto.get(V1_INTEGERS[kind], [])
        if sum(run.end - run.start for run in runs) > MAX_INTEGERS:
            raise CheckpointError(f"{name} holds integers; weights must be floats")
        numbers = [value for run in runs for value in file.wire.packed(run)]
        if len(numbers) != 1 or shape:
            raise CheckpointError(f"{name} holds integers; weights must be floats")
        return contiguous(INT64, (), FileBytes(memoryview(bytearray(numbers[0].to_bytes(8, "little", signed=True)))))
    if kind not in V1_VALUES:
        raise CheckpointError(f"{name} is {dtype}, which V1 packs in another way; save it as float32")
    runs = proto.get(V1_VALUES[kind], [])
    if len(runs) != 1 or (runs[0].wire != BYTES and shape):
        raise CheckpointError(f"{name}: its numbers are missing, or in more than one field")
    return file.tensor(name, dtype, shape, runs[0].start, runs[0].end - runs[0].start)
