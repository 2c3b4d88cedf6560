"""The zip archives of torch (`torch.save`, TorchScript, `.pt2`): members in one folder, which the writer names.

Source: `caffe2/serialize/inline_container.cc` of PyTorch. Nothing of an archive is executed.
"""

from __future__ import annotations

import zipfile
import zlib

from models.checkpoints.metadata import Conventions, read_conventions
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import PickleContent, read_torch_zip
from models.checkpoints.readers.base import MappedFile
from models.checkpoints.readers.zip_archive import verified_members
from models.config import MANIFEST_KEY, MAX_MANIFEST_BYTES
from models.errors import CheckpointError

PICKLE = "data.pkl"
"""The member with the pickle of `torch.save` and of TorchScript."""
BYTE_ORDERS = {b"little": False, b"big": True}
"""{content of the member `byteorder`: whether numbers are big-endian}."""


class TorchArchive:
    """An archive whose members were checked (`verified_members`).

    Attributes:
        file: the archive.
        names: of its members, without the folder.
    """

    def __init__(self, file: MappedFile, marker: str) -> None:
        """Open the archive.

        Args:
            file: the archive.
            marker: the path in the folder of a member that such archives have once.

        Raises:
            CheckpointError: damaged, or without the one member `marker`.
        """
        self.file = file
        members = {member.info.filename: member for member in verified_members(file)}
        found = [name for name in members if f"/{name}".endswith(f"/{marker}")]
        if len(found) != 1:
            raise CheckpointError(f"a zip archive with {len(found)} members {marker}, not with one")
        folder = found[0].removesuffix(marker)
        self._members = {name.removeprefix(folder): entry for name, entry in members.items() if name.startswith(folder)}
        self.names = tuple(self._members)

    def find(self, name: str) -> memoryview | None:
        """Return the bytes of a member, in the mapped file; None where there is none.

        Raises:
            CheckpointError: it is compressed.
        """
        member = self._members.get(name)
        if member is None:
            return None
        if not member.stored:
            raise CheckpointError(f"member {member.info.filename} is compressed; torch.save stores its members plainly")
        return memoryview(self.file.data)[member.offset : member.offset + member.info.file_size]

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the bytes of a member that may be compressed; None where there is none.

        Raises:
            CheckpointError: it has more than `limit` bytes, or is damaged.
        """
        member = self._members.get(name)
        if member is None:
            return None
        if member.info.file_size > limit:
            raise CheckpointError(f"member {member.info.filename} is larger than {limit} bytes")
        packed = memoryview(self.file.data)[member.offset : member.offset + member.info.compress_size]
        if member.stored:
            return bytes(packed)
        # not by zipfile, which reads the whole list of members for each that is opened
        unpacked = b""
        if member.info.compress_type == zipfile.ZIP_DEFLATED:
            try:
                unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit + 1)
            except zlib.error as error:
                raise CheckpointError(f"the archive is damaged: {error}") from error
        if len(unpacked) != member.info.file_size or zlib.crc32(unpacked) != member.info.CRC:
            raise CheckpointError(f"the archive is damaged: bad content of {member.info.filename}")
        return unpacked

    def read_conventions(self) -> Conventions:
        """Return what the manifest in the archive states; nothing where this project did not write it.

        Raises:
            CheckpointError: the manifest is too large, damaged, or no valid one.
        """
        manifest = self.read(f"extra/{MANIFEST_KEY}", MAX_MANIFEST_BYTES)
        return read_conventions({} if manifest is None else {MANIFEST_KEY: manifest.decode(errors="replace")})

    @property
    def big_endian(self) -> bool:
        """The byte order of its numbers.

        Raises:
            PickleError: it states neither of the two.
        """
        order = bytes(self.find("byteorder") or b"little")
        if order not in BYTE_ORDERS:
            raise PickleError("its byte order is neither little nor big")
        return BYTE_ORDERS[order]

    def read_pickle(self) -> PickleContent:
        """Interpret the pickle, with the storages that it refers to.

        Raises:
            CheckpointError: a member that it needs is compressed.
            PickleError: damaged, truncated, or beyond a limit.
        """
        data = self.find(PICKLE)
        assert data is not None
        return read_torch_zip(data, lambda key: self.find(f"data/{key}"), self.file.size, big_endian=self.big_endian)
