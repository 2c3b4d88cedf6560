"""Reads what `torch.save` wrote, zip or legacy format, and other pickles: Paddle's, Lasagne's, caffe2's, Python 2's.

The pickle is interpreted by `models.checkpoints.pickles`, so nothing of the file is imported or called. Tensors
become views of the mapped file where their values are aligned, which they are in the zip format.
"""

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.legacy import MAGIC_TEXT
from models.checkpoints.pickles.reader import PickleContent, read_pickle, read_torch_tar
from models.checkpoints.pickles.torch_tar import MEMBERS
from models.checkpoints.readers.archives import is_tar, tar_files
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.npy import number_arrays
from models.checkpoints.readers.torch_archive import PICKLE, TorchArchive
from models.checkpoints.readers.zip_archive import is_zip
from models.checkpoints.unbuilt import require_tensors
from models.errors import CheckpointError

TEXT_FILE = "not a checkpoint but a text file"
_HEAD = 512
"""First bytes of a file that decide whether it is text."""


def is_torch(file: MappedFile) -> bool:
    """Return whether the file begins as a zip or tar archive does, or as torch's legacy format in protocol 0 or 1."""
    return is_zip(file) or is_tar(file) or file.data[: len(MAGIC_TEXT)] == MAGIC_TEXT


def is_pickle(file: MappedFile) -> bool:
    """Return whether the file begins as pickles of protocol 2 to 5 do."""
    return file.data[:1] == b"\x80" and file.data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def is_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are words: printable, with a space or a line break among them."""
    try:
        text = head.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > len(head) - 4 else ""
    return any(char.isspace() for char in text) and all(char.isprintable() or char.isspace() for char in text)


def read_torch(file: MappedFile) -> ReadResult:
    """Read a checkpoint saved by `torch.save`, or another pickle, whatever it nests.

    Raises:
        CheckpointError: damaged, truncated, beyond a limit, or without tensors.
    """
    try:
        if is_zip(file):
            read = TorchArchive(file, PICKLE).read_pickle()
        else:
            read = _read_tar(file) if is_tar(file) else read_pickle(memoryview(file.data))
    except PickleError as error:
        if not is_torch(file) and is_text(file.data[:_HEAD]):
            raise CheckpointError(TEXT_FILE) from error
        raise CheckpointError(f"not a valid PyTorch checkpoint or pickle: {error}") from error
    content = number_arrays(read.content) if read.container == "pickle" else read.content
    return require_tensors(ReadResult(content, read.container, not_built=read.not_built, hazards=read.hazards))


def _read_tar(file: MappedFile) -> PickleContent:
    """Read the members of a tar archive that torch wrote before 0.1.10."""
    data = memoryview(file.data)
    members = {entry.name: data[entry.offset_data : entry.offset_data + entry.size] for entry in tar_files(file)}
    if not members.keys() >= set(MEMBERS):
        raise PickleError(f"a tar archive without the members {', '.join(MEMBERS)}")
    return read_torch_tar(members, file.size)
