"""What the engines of files that are code have in common: nothing of a file runs before `exporter.trust` accepts it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, ClassVar

from exporter.engines.base import Runtime
from exporter.temporary_folders import temporary_folder
from exporter.trust import CODE_FORMATS, open_code
from exporter.types import FormatName
from models.paths import descriptor_path


class CodeRuntime(Runtime):
    """An engine whose model files are code."""

    format: ClassVar[FormatName]
    """The format of its files."""
    _code: BinaryIO | None = None

    def authorize(self) -> None:
        """Open the file, and refuse one that nothing vouches for; `load` does it, unless it was done before.

        Raises:
            ArtifactError: it cannot be read, or may not run here.
        """
        if self._code is None:
            self._code = open_code(self.path, CODE_FORMATS[self.format], self.options.vouched)

    @contextlib.contextmanager
    def open_code(self) -> Generator[BinaryIO]:
        """Yield the accepted file, open at its start, for the block that loads it.

        Raises:
            ArtifactError: see `authorize`.
        """
        self.authorize()
        assert self._code is not None
        with contextlib.closing(self._code) as stream:
            self._code = None
            yield stream


def loadable(stream: BinaryIO) -> Path | BinaryIO:
    """Return a path of this very open file, for loaders that copy a stream into memory; the stream without one."""
    return descriptor_path(stream) or stream


@contextlib.contextmanager
def private_path(stream: BinaryIO, suffix: str) -> Generator[Path]:
    """Yield a path with a suffix, in a folder of this user alone, at which a loader finds an open file.

    It is a link to the open file where the system has one to link to, and otherwise a copy.
    """
    with temporary_folder() as folder:
        path = folder / f"model{suffix}"
        if (source := descriptor_path(stream)) is not None:
            path.symlink_to(source)
        else:
            stream.seek(0)
            with path.open("wb") as copy:
                shutil.copyfileobj(stream, copy)
        yield path
