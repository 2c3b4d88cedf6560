"""TorchScript: scripted, frozen, and repacked so that the same network always gives the same bytes."""

from __future__ import annotations

import io
import os
import re
import resource
import warnings
import zipfile
import zlib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError
from exporter.formats.base import WriteRequest, WriteResult
from exporter.formats.torchscript_variants import (
    MIN_SPEEDUP,
    OPTIMIZE_FOR_INFERENCE,
    Choice,
    next_fallback,
    script_and_freeze,
    select_variant,
)
from exporter.types import FormatName
from models.config import MANIFEST_KEY

if TYPE_CHECKING:
    import torch
    from torch import nn

OPTIMIZE_OPTION = OPTIMIZE_FOR_INFERENCE
"""The manifest's word that the artifact is meant to be run through `torch.jit.optimize_for_inference` after loading."""

VARIANT_OPTION = "form"
"""The manifest's word for what was taken of `exporter.formats.torchscript_variants.FORM_NAMES`."""
MEASURED_OPTION = "measured"
"""The manifest's record of why: `plain 450 ms, …`."""
FAILED_OPTION = "failed_parity"
"""The manifest's record of faster forms that did not hold parity; absent where the fastest did."""

SIZE_WARNING_RATIO = 1.02
"""From here on the user is told that the form makes the file larger."""
ALIGNMENT = 64
"""Of each stored member, as torch writes them, so that they can be mapped."""
EPOCH = (1980, 1, 1, 0, 0, 0)
MAX_MANIFEST_BYTES = 1 << 20

_ZIP_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What Python's zip reader raises on damaged, encrypted or exotic archives."""

_MANGLE = re.compile(rb"\.?___torch_mangle_\d+")
_CONSTANT = re.compile(rb"^  \w+ : Final\[int\] = \d+\n", re.MULTILINE)


class TorchScriptFormat:
    """A frozen TorchScript module that needs torch and nothing of this project."""

    name: FormatName = "torchscript"
    suffix: str = ".pt"

    def write(self, module: nn.Module, request: WriteRequest, folder: Path) -> WriteResult:
        """Choose a form by measuring if the target is the CPU, script, freeze, embed the manifest, write.

        Raises:
            OSError: the folder cannot be written to, or is full.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated in words, and the format people deploy
            if request.target == "cpu":
                choice, script = select_variant(module, request.manifest.signature.batch or 1, request.progress)
                return self._chosen(module, request, folder, choice, script)
            return WriteResult(*self._save_variant(script_and_freeze(module), request, folder, {}))

    def _chosen(
        self, module: nn.Module, request: WriteRequest, folder: Path, choice: Choice, script: torch.jit.ScriptModule
    ) -> WriteResult:
        """Write a form, ready to write the next best one."""

        def fallback() -> WriteResult:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._chosen(module, request, folder, *next_fallback(module, choice, request.progress))

        options = {OPTIMIZE_OPTION: choice.optimise, VARIANT_OPTION: choice.form, MEASURED_OPTION: _times(choice)}
        if choice.failed:
            options[FAILED_OPTION] = ", ".join(choice.failed)
        files, manifest = self._save_variant(script, request, folder, options)
        return WriteResult(files, manifest, (_summary(choice),), None if choice.is_last else fallback)

    def _save_variant(
        self, script: torch.jit.ScriptModule, request: WriteRequest, folder: Path, options: dict[str, str | bool]
    ) -> tuple[tuple[Path, ...], Manifest]:
        """Write the file, and return it with the manifest inside."""
        whole = {**request.manifest.options, **options}
        manifest = replace(request.manifest, options=whole, versions={"torch": version("torch")})
        path = folder / f"{request.name}{self.suffix}"
        with _save(script, {MANIFEST_KEY: manifest.embedded().to_json()}) as saved:
            normalize_archive(saved, path)
        return (path,), manifest

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest among the archive's extra files; the archive is read as a zip, never loaded as code.

        Every member's CRC is checked, which torch does not do when it loads one.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(f"/extra/{MANIFEST_KEY}")]
                if not any(name.endswith("/constants.pkl") for name in archive.namelist()):
                    raise ArtifactError(f"{path}: not a TorchScript archive")
                if damaged := archive.testzip():
                    raise ArtifactError(f"{path}: damaged: its member {damaged} fails its CRC")
                if not names:
                    return None
                if archive.getinfo(names[0]).file_size > MAX_MANIFEST_BYTES:
                    raise ArtifactError(f"{path}: its metadata is too large")
                return Manifest.from_json(archive.read(names[0]), f"{path} (extra file {MANIFEST_KEY})")
        except OSError as error:
            raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
        except _ZIP_ERRORS as error:
            raise ArtifactError(f"{path}: not a whole TorchScript archive: {error}") from error


def is_archive(path: Path) -> bool:
    """Tell a TorchScript archive from other files, a plain checkpoint among them, by its members' names."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except _ZIP_ERRORS:
        return False


def _save(module: torch.jit.ScriptModule, extra: dict[str, str]) -> BinaryIO:
    """Return the archive as torch writes it, in memory: where it cannot write a file, torch aborts the process."""
    import torch

    # Linux: memory that torch takes for a file is written once, a Python buffer is copied twice. A limit on file sizes
    # (`ulimit -f`) would count there too.
    if hasattr(os, "memfd_create") and resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY:
        stream = os.fdopen(os.memfd_create("torchscript"), "w+b")
        torch.jit.save(module, f"/proc/self/fd/{stream.fileno()}", _extra_files=extra)
        return stream
    buffer = io.BytesIO()
    torch.jit.save(module, buffer, _extra_files=extra)
    return buffer


def normalize_archive(source: BinaryIO, target: Path) -> None:
    """Copy a TorchScript archive without what differs between two saves of one network.

    That is: the counter torch appends to class names (`___torch_mangle_9`), constants that freezing has left without
    use, which stand in the order of a hash table, the debug records, which hold the exporting machine's paths, the
    archive's folder name, and the id over all of these.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            name = "archive/" + member.filename.split("/", 1)[1]
            if name.endswith((".debug_pkl", "/.data/serialization_id")):
                continue
            content = old.read(member)
            if name.endswith((".py", "/data.pkl")):
                content = _CONSTANT.sub(b"", _MANGLE.sub(b"", content))
                name = _MANGLE.sub(b"", name.replace("/___", ".___").encode()).decode()
            entry = zipfile.ZipInfo(name, date_time=EPOCH)
            assert new.fp is not None
            header = new.fp.tell() + 30 + len(name.encode()) + 4
            entry.extra = b"FB" + (padding := -header % ALIGNMENT).to_bytes(2, "little") + bytes(padding)
            new.writestr(entry, content)


def _times(choice: Choice) -> str:
    """Return `plain 450 ms, channels_last 380 ms, winograd 160 ms for 1 clip(s)`."""
    times = ", ".join(f"{name} {taken:.0f} ms" for name, taken in choice.milliseconds.items())
    return f"{times} for {choice.clips} clip(s)"


def _summary(choice: Choice) -> str:
    """Say what was measured, what was taken, and what it costs."""
    first = choice.milliseconds["plain"]
    others = ", ".join(
        f"{name} {taken:.0f} ms ({first / taken:.2f} times as fast)"
        for name, taken in choice.milliseconds.items()
        if name != "plain"
    )
    clips = "1 clip" if choice.clips == 1 else f"{choice.clips} clips"
    measured = f"plain {first:.0f} ms, {others}"
    reported = [f"torchscript: measured on this CPU, {clips} a run: {measured}: the file holds {choice.form}"]
    if choice.failed:
        reported.append(f"parity failed with {', and with '.join(choice.failed)}")
    plain_size, size = choice.sizes
    if size > SIZE_WARNING_RATIO * plain_size:
        reported.append(f"that makes it {size / 1e6:.0f} MB instead of {plain_size / 1e6:.0f}")
    before, behind = choice.loaded
    advice = "load it through that" if choice.optimise else "load it as it is"
    if not choice.optimise and before >= MIN_SPEEDUP * behind:
        advice = "but does not hold parity so, load it as it is"
    reported.append(f"torch.jit.{OPTIMIZE_OPTION} makes it {before / behind:.2f} times as fast: {advice}")
    return "; ".join(reported)
