"""AOTInductor packages (`.aoti.pt2`): the network compiled to machine code for this machine's processor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from exporter.artifacts.manifest_fields import OptionValue
from exporter.engines.aoti_metadata import CPU_FEATURES, KIND, METADATA, read_metadata
from exporter.errors import OutputError, UsageError
from exporter.foreign_logging import suppress_foreign_logging
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.formats.exported_program import PRECISIONS, export_program, export_variants
from exporter.formats.torch_archive import TorchArchiveFormat, rewrite_archive
from exporter.formats.torchscript_variants import (
    VARIANT_OPTION,
    Variant,
    describe_choice,
    fastest_first,
    measure,
    random_input,
)
from exporter.full_disks import full_disk_error
from exporter.system import cpu_features
from exporter.temporary_folders import temporary_folder
from exporter.types import ComputePrecision
from models.built_model import BuiltModel
from models.config import MANIFEST_KEY
from models.errors import first_line

if TYPE_CHECKING:
    from torch.export import ExportedProgram

VARIANTS: tuple[Variant, ...] = ("plain", "winograd")
"""What is compiled: the compiler decides about memory formats itself."""

COMPILER_OPTIONS: Mapping[str, object] = MappingProxyType(
    {
        "freezing": True,  # weights are constants, laid out as the processor reads them
        "cpp.dynamic_threads": True,  # as many threads as torch has where the package runs, not as this machine has
        "aot_inductor.check_lowerbound": False,  # a batch of one is no error where inputs are checked
    }
)

VECTOR_FEATURES = re.compile(
    r"(avx|amx|fma|f16c|bmi|sse|ssse|vaes|vpclmul|gfni|popcnt|abm|movbe|adx|sha|asimd|sve|sme(?!p))"
)
"""How the names begin of instruction sets that a compiler uses by itself, among a processor's flags."""


class AotiFormat(TorchArchiveFormat):
    """A package that torch loads without compiling anything."""

    name = "pt2-aoti"
    suffix = ".aoti.pt2"
    title, marker, weights = KIND, METADATA, "hidden"
    precisions = PRECISIONS
    temporary_copies = 3  # of one variant: what is compiled, the package, what torch unpacks; 6 measured with two
    hides_weights = "the compiler lays weights out anew, inside of machine code"

    def require_available(self, precision: ComputePrecision) -> None:
        """Refuse to write the format without a C++ compiler, whatever the precision.

        Raises:
            UnavailableError: there is none; the message names the package.
        """
        from exporter.engines.torch_settings import require_compiler

        del precision
        require_compiler("--format pt2-aoti")

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Compile every variant, and yield them, the fastest here first; `plain` is the last. In bfloat16, one."""
        if request.precision.compute == "bf16":
            yield from _bfloat16(model, request)
        else:
            yield from _float32(model, request)


def _bfloat16(model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
    from exporter.formats.bfloat16 import make_candidates, speed_notes

    with temporary_folder() as scratch:
        for made in make_candidates(model, request):
            request.progress(f"pt2-aoti: compiling {made.name}")
            program = export_program(made.module, model, request.manifest.signature.batch)
            package = compile_program(program, scratch, "bfloat16")
            yield Candidate(made.name, partial(_write, request, package, made.options, speed_notes("pt2-aoti")))


def _float32(model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
    from exporter.formats.export_module import select_outputs

    module = select_outputs(model, request.outputs)
    batch = request.manifest.signature.batch
    with temporary_folder() as scratch:
        packages: dict[Variant, Path] = {}
        for name, program in export_variants(module, model, request, VARIANTS, "none"):
            request.progress(f"pt2-aoti: compiling {name}")
            packages[name] = compile_program(program, scratch, name)
        if len(packages) == 1:
            yield Candidate("plain", partial(_write, request, packages["plain"], {VARIANT_OPTION: "plain"}, ()))
            return
        request.progress(f"pt2-aoti: measuring {', '.join(packages)}")
        times = measure_packages(packages, model, batch or 1)
        for variant in fastest_first(times):
            recorded = describe_choice("pt2-aoti", variant, times, batch or 1)
            yield Candidate(variant, partial(_write, request, packages[variant], *recorded))


def package_facts(path: Path) -> dict[str, str]:
    """Return what a package states of itself: what its code was compiled for.

    Raises:
        ArtifactError: it is no package, or damaged.
    """
    stated = read_metadata(path)
    return {
        "compiled for": " ".join(stated.get(f"AOTI_{name}", "?") for name in ("PLATFORM", "MACHINE", "DEVICE_KEY")),
        "vector code": stated.get("AOTI_CPU_ISA", "not stated"),
        "needs": stated.get(CPU_FEATURES, "not stated"),
    }


def compile_program(program: ExportedProgram, folder: Path, name: str) -> Path:
    """Compile a program for this machine's processor, and return the package in `folder`, as torch writes it.

    Raises:
        UsageError: the compiler cannot; the message has its reason.
        OutputError: the folder is full.
    """
    import torch
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.utils import fresh_cache
    from torch.fx.experimental import _config as tracing  # `patch` is added at import

    path = folder / f"{name}.pt2"
    features = " ".join(sorted(feature for feature in cpu_features() if VECTOR_FEATURES.match(feature)))
    options = {**COMPILER_OPTIONS, "aot_inductor.metadata": {CPU_FEATURES: features}}
    refused: Exception | None = None
    # not "oblivious", torch asks whether the batch that a convolution is traced with is below 16, which it is, and the
    # package refuses all batches above; but some networks (channels last, before a flatten) compile in no other way
    for oblivious in (True, False):
        try:
            with (
                suppress_foreign_logging(),
                tracing.patch(backed_size_oblivious=oblivious),  # pyright: ignore[reportAttributeAccessIssue]
                fresh_cache(dir=str(folder)),  # the usual one would keep a gigabyte of weights
                torch.no_grad(),
            ):
                aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)
        except OSError as error:
            raise full_disk_error(error, folder) or OutputError(
                f"cannot write {folder}: {error.strerror or error}"
            ) from error
        except Exception as error:  # noqa: BLE001 - the compiler's own errors, those of the C++ compiler and of its assertions
            refused = refused or error
        else:
            return path
    assert refused is not None
    raise UsageError(f"AOTInductor cannot compile the network: {first_line(refused)}") from refused


def measure_packages(packages: Mapping[Variant, Path], model: BuiltModel, items: int) -> dict[str, float]:
    """Return {variant: median milliseconds of a run} of packages, measured in interleaved rounds."""
    from exporter.engines.aoti import load_package

    with suppress_foreign_logging():
        loaded = {name: load_package(path) for name, path in packages.items()}
    return measure(loaded, random_input(model, items))


def _write(
    request: WriteRequest,
    package: Path,
    options: Mapping[str, OptionValue],
    notes: tuple[str, ...],
    attempt: Attempt,
) -> WriteResult:
    """Write a package with the manifest inside, without the C++ sources, which name paths of this machine."""
    # it is for this processor, whatever was asked for
    manifest = request.finish_manifest({"target": "cpu", **options}, attempt, ("torch",))
    path = attempt.folder / f"{request.name}{AotiFormat.suffix}"
    extra = {f"extra/{MANIFEST_KEY}": manifest.embedded().to_json().encode()}
    with package.open("rb") as stream:
        rewrite_archive(stream, path, lambda name, content: None if name.endswith(".cpp") else (name, content), extra)
    return WriteResult((path,), manifest, notes)
