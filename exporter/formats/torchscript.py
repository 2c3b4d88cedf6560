"""TorchScript: scripted, frozen, and repacked so that the same network always gives the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from exporter.artifacts.files import has_manifest
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import OptionValue
from exporter.foreign_logging import suppress_foreign_logging
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.formats.torch_archive import TorchArchiveFormat, has_member, rewrite_archive
from exporter.formats.torchscript_variants import (
    MEASURED_OPTION,
    MIN_SPEEDUP,
    OPTIMIZE_FOR_INFERENCE,
    VARIANT_OPTION,
    Choice,
    compile_variant,
    describe_times,
    rank_variants,
    script_and_freeze,
)
from models.built_model import BuiltModel
from models.config import MANIFEST_KEY
from models.paths import descriptor_path, memory_file

if TYPE_CHECKING:
    import torch
    from torch import nn

    from exporter.formats.bfloat16 import Bfloat16

OPTIMIZE_OPTION = OPTIMIZE_FOR_INFERENCE
"""Manifest option: whether to call `torch.jit.optimize_for_inference` after loading."""

SIZE_WARNING_RATIO = 1.02
"""Size ratio above which a note says that the variant makes the file larger."""

CONSTANTS = "/constants.pkl"
"""How the name of a member ends that a TorchScript archive has and a plain checkpoint has not."""

_MANGLE = re.compile(rb"\.?___torch_mangle_\d+")
_CONSTANT = re.compile(rb"^  \w+ : Final\[int\] = \d+\n", re.MULTILINE)


class TorchScriptFormat(TorchArchiveFormat):
    """A frozen TorchScript module that needs torch and nothing of this project."""

    name = "torchscript"
    suffix = ".pt"
    title, marker, weights = "TorchScript archive", CONSTANTS, "script"
    precisions = MappingProxyType(
        {
            "fp32": "",
            "bf16": "",
            "fp16": "CPUs compute float16 no faster than float32; take --precision bf16, or --format onnx for a GPU",
            "int8": "TorchScript's quantised convolutions were removed from torch; take --format openvino or onnx",
        }
    )
    rewriting_targets = MappingProxyType({"fp32": frozenset({"cpu"})})

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield the plain module; for the CPU every variant instead, the fastest here first; in bfloat16 one."""
        from exporter.formats.export_module import select_outputs

        if request.precision.compute == "bf16":
            from exporter.formats.bfloat16 import make_candidates

            for made in make_candidates(model, request):
                yield Candidate(made.name, partial(self._write_bfloat16, request, made))
            return
        module = select_outputs(model, request.outputs)
        if request.optimize.target != "cpu":
            yield Candidate("plain", partial(self._write_plain, module, request))
            return
        with suppress_foreign_logging():
            ranked = rank_variants(module, model, request.manifest.signature.batch or 1, request.progress)
        while True:
            with suppress_foreign_logging():
                choice, script = next(ranked, (None, None))
            if choice is None or script is None:
                return
            yield Candidate(choice.name, partial(self._write_variant, request, choice, script))

    def _write_plain(self, module: nn.Module, request: WriteRequest, attempt: Attempt) -> WriteResult:
        with suppress_foreign_logging():
            files, manifest = self._save(script_and_freeze(module), request, attempt, {})
        return WriteResult(files, manifest)

    def _write_bfloat16(self, request: WriteRequest, made: Bfloat16, attempt: Attempt) -> WriteResult:
        from exporter.formats.bfloat16 import speed_notes

        with suppress_foreign_logging():
            script = compile_variant(made.module, "channels_last")
        files, manifest = self._save(script, request, attempt, made.options)
        return WriteResult(files, manifest, speed_notes("torchscript"))

    def _write_variant(
        self,
        request: WriteRequest,
        choice: Choice,
        script: torch.jit.ScriptModule,
        attempt: Attempt,
    ) -> WriteResult:
        options: dict[str, OptionValue] = {
            OPTIMIZE_OPTION: choice.optimize_for_inference,
            VARIANT_OPTION: choice.variant,
            MEASURED_OPTION: describe_times(choice.milliseconds, choice.items),
        }
        files, manifest = self._save(script, request, attempt, options)
        return WriteResult(files, manifest, (_summary(choice, attempt),))

    def _save(
        self,
        script: torch.jit.ScriptModule,
        request: WriteRequest,
        attempt: Attempt,
        options: Mapping[str, OptionValue],
    ) -> tuple[tuple[Path, ...], Manifest]:
        """Write the file, and return it with the manifest inside."""
        manifest = request.finish_manifest(options, attempt, ("torch",))
        path = attempt.folder / f"{request.name}{self.suffix}"
        with suppress_foreign_logging(), save_archive(script, {MANIFEST_KEY: manifest.embedded().to_json()}) as saved:
            normalize_archive(saved, path)
        return (path,), manifest


def is_torchscript_archive(path: Path) -> bool:
    """Return whether a file is a TorchScript archive, not a plain checkpoint, by its members' names."""
    return has_member(path, CONSTANTS)


def is_plain_checkpoint(path: Path) -> bool:
    """Return whether a file is called as a TorchScript archive is, and is what torch.save wrote, without a manifest."""
    named = path.suffix == TorchScriptFormat.suffix and not has_manifest(path)
    return named and has_member(path, "/data.pkl") and not is_torchscript_archive(path)


def save_archive(module: torch.jit.ScriptModule, extra: dict[str, str]) -> BinaryIO:
    """Return the archive as torch writes it, in memory: where it cannot write a file, torch aborts the process."""
    import torch

    if (stream := memory_file()) is not None:
        if (path := descriptor_path(stream)) is not None:
            torch.jit.save(module, str(path), _extra_files=extra)
            return stream  # written once, where a Python buffer is copied twice
        stream.close()
    buffer = io.BytesIO()
    torch.jit.save(module, buffer, _extra_files=extra)
    return buffer


def normalize_archive(source: BinaryIO, target: Path) -> None:
    """Copy a TorchScript archive without what differs between two saves of one network.

    That is: the counter torch appends to class names (`___torch_mangle_9`), constants that freezing has left without
    use, whose order is a hash table's, the debug records, which hold the exporting machine's paths, the
    archive's folder name, and the id over all of these.
    """

    def edit(name: str, content: bytes) -> tuple[str, bytes] | None:
        if name.endswith(".debug_pkl"):
            return None
        if name.endswith(".py") or name == "data.pkl":
            content = _CONSTANT.sub(b"", _MANGLE.sub(b"", content))
            name = _MANGLE.sub(b"", name.replace("/___", ".___").encode()).decode()
        return name, content

    rewrite_archive(source, target, edit)


def _summary(choice: Choice, attempt: Attempt) -> str:
    """Return what was measured, what was selected, and what it costs."""
    plain = choice.milliseconds["plain"]
    others = ", ".join(
        f"{name} {taken:.0f} ms ({plain / taken:.2f} times as fast)"
        for name, taken in choice.milliseconds.items()
        if name != "plain"
    )
    parts = [
        f"torchscript: measured on this CPU with a batch of {choice.items}: plain {plain:.0f} ms, {others}; "
        f"the file holds {choice.variant}"
    ]
    if attempt.rejected:
        parts.append(attempt.describe_rejected())
    plain_size, size = choice.sizes
    if size > SIZE_WARNING_RATIO * plain_size:
        parts.append(f"that makes it {size / 1e6:.0f} MB instead of {plain_size / 1e6:.0f}")
    before, after = choice.loaded
    advice = "load it that way" if choice.optimize_for_inference else "load it as it is"
    if not choice.optimize_for_inference and before >= MIN_SPEEDUP * after:
        advice = "but that fails parity, so load it as it is"
    parts.append(f"torch.jit.{OPTIMIZE_FOR_INFERENCE} makes it {before / after:.2f} times as fast: {advice}")
    return "; ".join(parts)
