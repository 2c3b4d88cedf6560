"""From a module to what `torch.export` makes of it, and to the `.pt2` file that `torch.export.load` reads."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from exporter.errors import UsageError
from exporter.foreign_logging import suppress_foreign_logging
from exporter.formats.base import WriteRequest
from exporter.formats.torch_archive import rewrite_archive
from exporter.formats.torchscript_variants import BatchLoop, Variant, make_variant, random_input
from exporter.types import ComputePrecision
from models.built_model import BuiltModel
from models.errors import one_line

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

PRECISIONS: Mapping[ComputePrecision, str] = MappingProxyType(
    {
        "fp32": "",
        "bf16": "",
        "fp16": "CPUs compute float16 no faster than float32; take --precision bf16, or --format onnx for a GPU",
        "int8": "torch has no quantised 3-D convolutions in exported programs; take --format openvino or onnx",
    }
)
"""What a program computes in, compiled or not; see `exporter.formats.base.Format`."""
MIN_DYNAMIC = 2
"""Items of the example of a dynamic batch: torch takes sizes 0 and 1 for constants."""


def export_program(module: nn.Module, model: BuiltModel, batch: int | None) -> ExportedProgram:
    """Return the module as an `ExportedProgram`: the operators it runs, and its weights, which are shared, not copied.

    The axes that the network's input names are dynamic: the batch, and rows and columns of frames. Nothing in the
    program depends on this machine: where in the source each operator came from is left out, and the example input is
    zeros.

    Args:
        module: a module of one input that `exporter.formats.export_module.select_outputs` returned, or a variant of it.
        model: the network it computes.
        batch: a fixed batch size, or None to leave it dynamic.

    Raises:
        UsageError: `torch.export` cannot trace it; the message has torch's reason.
    """
    import torch

    example = random_input(model, MIN_DYNAMIC if batch is None else batch)
    named = {axis: name for axis, name in enumerate(model.input.shape) if isinstance(name, str)}
    if batch is not None:
        del named[0]
    dims = {axis: torch.export.Dim(name) for axis, name in named.items()}
    try:
        with suppress_foreign_logging(), torch.no_grad():
            program = torch.export.export(module, (example,), dynamic_shapes=(dims,), strict=False)
    except Exception as error:  # tracing runs the network's own code, and torch asserts
        raise UsageError(f"torch.export cannot trace {type(module).__name__}: {one_line(error)}") from error
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)
    zeros = torch.zeros((), dtype=example.dtype).expand(example.shape)  # one number in the file
    program.example_inputs = ((zeros,), {})
    return program


def export_variants(
    module: nn.Module, model: BuiltModel, request: WriteRequest, names: Sequence[Variant], loop: BatchLoop
) -> Iterator[tuple[Variant, ExportedProgram]]:
    """Yield those of some variants that make sense for the network, with their programs, `plain` among them.

    Args:
        module: a float32 module that `exporter.formats.export_module.select_outputs` returned.
        model: the network it computes.
        request: states the batch size.
        names: of the variants.
        loop: how Winograd convolutions go through a dynamic batch.
    """
    batch = request.manifest.signature.batch
    for name in names:
        if name != "winograd" or model.conv_hints:
            request.progress(f"{request.manifest.format}: tracing the variant {name}")
            yield name, export_program(make_variant(module, model, name, "python" if batch else loop), model, batch)


def save_program(program: ExportedProgram, target: Path, extra: dict[str, str]) -> None:
    """Write a program so that the same one always gives the same bytes.

    `torch.export.save` writes an archive with an id over its content that differs from run to run; everything else is
    the same once no member holds source lines of this machine (`export_program`).

    Args:
        program: what `export_program` returned.
        target: the file to write.
        extra: {name: text} of the extra files in it.
    """
    import torch

    buffer = io.BytesIO()  # torch aborts the process where it cannot write a file
    files: dict[str, Any] = dict(extra)
    with suppress_foreign_logging():
        torch.export.save(program, buffer, extra_files=files)
    rewrite_archive(buffer, target, lambda name, content: (name, content))
