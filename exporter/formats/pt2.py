"""`torch.export` files (`.pt2`): the successor of TorchScript, loaded by `torch.export.load` without this project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from exporter.artifacts.manifest_fields import OptionValue
from exporter.engines.torch_members import read_member
from exporter.errors import ArtifactError
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.formats.exported_program import PRECISIONS, export_program, export_variants, save_program
from exporter.formats.torch_archive import TorchArchiveFormat
from exporter.formats.torchscript_variants import (
    VARIANTS,
    describe_choice,
    fastest_first,
    measure,
    random_input,
)
from models.built_model import BuiltModel
from models.config import MANIFEST_KEY

if TYPE_CHECKING:
    from torch.export import ExportedProgram

PROGRAM = "/models/model.json"
"""How the name of the member ends that holds the program; an AOTInductor package has none."""

MAX_PROGRAM_BYTES = 1 << 26
"""Of the program, without weights; that of the rewritten C3D has half a megabyte."""


class Pt2Format(TorchArchiveFormat):
    """A `torch.export` program with its weights."""

    name = "pt2"
    suffix = ".pt2"
    title, marker, weights = "torch.export program", PROGRAM, "program"
    precisions = PRECISIONS

    rewriting_targets = MappingProxyType({"fp32": frozenset({"cpu"})})

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield the plain program; for the CPU every variant instead, the fastest here first; in bfloat16 one."""
        from exporter.formats.export_module import select_outputs

        batch = request.manifest.signature.batch
        if request.precision.compute == "bf16":
            from exporter.formats.bfloat16 import make_candidates, speed_notes

            for made in make_candidates(model, request):
                program = export_program(made.module, model, batch)
                yield Candidate(made.name, partial(_write, request, program, made.options, speed_notes("pt2")))
            return
        module = select_outputs(model, request.outputs)
        if request.optimize.target != "cpu":
            yield Candidate("plain", partial(_write, request, export_program(module, model, batch), {}, ()))
            return
        programs = dict(export_variants(module, model, request, VARIANTS, "map"))
        items = batch or 1  # a program of a fixed batch takes no other
        request.progress(f"pt2: measuring {', '.join(programs)}")
        times = measure({name: program.module() for name, program in programs.items()}, random_input(model, items))
        for variant in fastest_first(times):
            recorded = describe_choice(self.name, variant, times, items)
            yield Candidate(variant, partial(_write, request, programs.pop(variant), *recorded))


def program_facts(path: Path) -> dict[str, str]:
    """Return what a program states of itself: the torch that wrote it, and its operators. It is read as JSON.

    Raises:
        ArtifactError: it is not a program, or damaged.
    """
    text = read_member(path, Pt2Format.title, PROGRAM, MAX_PROGRAM_BYTES)
    try:
        stated = msgspec.json.decode(text, type=_Program)  # what the types leave out takes no memory
        counts = Counter(_targets(stated.graph_module))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ArtifactError(f"{path}: its program is not what torch.export writes: {error}") from error
    operators = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return {"written by": f"torch {stated.torch_version}", "operators": operators}


class _Value(msgspec.Struct):
    as_graph: _GraphModule | None = None


class _Argument(msgspec.Struct):
    arg: _Value


class _Node(msgspec.Struct):
    target: str
    inputs: list[_Argument]


class _Graph(msgspec.Struct):
    nodes: list[_Node]


class _GraphModule(msgspec.Struct):
    graph: _Graph


class _Program(msgspec.Struct):
    graph_module: _GraphModule
    torch_version: str


def _targets(module: _GraphModule) -> Iterator[str]:
    """Yield the operators of a graph and of its loops."""
    for node in module.graph.nodes:
        yield node.target.removeprefix("torch.ops.")
        for argument in node.inputs:
            if argument.arg.as_graph is not None:
                yield from _targets(argument.arg.as_graph)


def _write(
    request: WriteRequest,
    program: ExportedProgram,
    options: Mapping[str, OptionValue],
    notes: tuple[str, ...],
    attempt: Attempt,
) -> WriteResult:
    manifest = request.finish_manifest(options, attempt, ("torch",))
    path = attempt.folder / f"{request.name}{Pt2Format.suffix}"
    save_program(program, path, {MANIFEST_KEY: manifest.embedded().to_json()})
    return WriteResult((path,), manifest, notes)
