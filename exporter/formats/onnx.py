"""ONNX: through torch's own exporter (torch.export), named like the network, checked by onnx's checker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.artifacts.manifest import Manifest, OptionValue
from exporter.foreign_logging import suppress_foreign_logging
from exporter.formats.base import FAILED_OPTION, Candidate, WriteRequest, WriteResult
from exporter.formats.onnx_names import rename_nodes
from exporter.passes.tiles import describe_tiles, tile_candidates
from exporter.types import ComputePrecision, FormatName, OptimizeOptions
from models.built_model import BuiltModel
from models.config import MANIFEST_KEY
from models.specs import Signature

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from torch import nn


PASSES_KEY = "c3d_export.passes"
"""Metadata of a model without a manifest: the passes that changed it."""

TORCH_OPSET = 18
"""The opset that torch's exporter writes by itself. Graphs are converted from it once their nodes have names, because a
conversion loses which module a node came from."""

VERSIONS = ("torch", "onnx", "onnx-ir", "onnxscript")
"""The libraries that decide a file's bytes; with `--autotune`, onnxruntime's times do as well."""


class OnnxFormat:
    """An ONNX model of standard operators, one file by default."""

    name: FormatName = "onnx"
    suffix: str = ".onnx"
    precisions: Mapping[ComputePrecision, str] = MappingProxyType(
        {
            "fp32": "",
            "bf16": "onnxruntime's CPU provider has no bfloat16 convolution; take --format openvino",
        }
    )

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield the rewritten graphs with the largest Winograd tiles first, then the graph without Winograd.

        Smaller tiles are slower and round less. Without `--target cpu` the portable graph is the only candidate.
        """
        for optimize in tile_candidates(request.optimize):
            yield Candidate(describe_tiles(optimize), partial(self._write, model, replace(request, optimize=optimize)))
        if request.optimize.target == "cpu":
            portable = replace(request.optimize, target="portable", autotune=False, optimize_for="size")
            yield Candidate("the portable graph", partial(self._write, model, replace(request, optimize=portable)))

    def _write(self, model: BuiltModel, request: WriteRequest, folder: Path, rejected: tuple[str, ...]) -> WriteResult:
        """Export, name, rewrite, embed the manifest, write and check.

        Raises:
            UsageError: the weights need `external_data`, or the network needs a newer opset.
            C3DExportError: onnx's checker rejected the model, which is a fault of this tool or its libraries.
        """
        from exporter.formats.export_module import network_prefix, select_outputs
        from exporter.formats.onnx_preprocess import add_preprocessing
        from exporter.onnx_io.opset import convert_opset
        from exporter.onnx_io.writer import write_onnx
        from exporter.passes.base import UNDONE, manifest_options, run_passes
        from exporter.passes.compress_weights import BLOCKED_OPSET
        from exporter.passes.pipelines import build_passes
        from models.preprocessing.network import preprocessing_module

        opset, notes = request.opset, list[str]()
        if request.optimize.weight_dtype == "int8" and opset < BLOCKED_OPSET:
            notes.append(f"onnx: opset {BLOCKED_OPSET} instead of {opset}, because int8 weights in blocks need it")
            opset = BLOCKED_OPSET
        # the network alone: preprocessing goes in front of the finished graph, and its passes find what they always do
        network = model.without_preprocessing or model
        module = select_outputs(network, request.outputs)
        graph = _export(module, network.signature(request.outputs, request.manifest.signature.batch))
        rename_nodes(graph, network_prefix(module, network), module.state_dict())
        convert_opset(graph, opset)
        options: dict[str, OptionValue] = {
            "target": request.optimize.target,
            "opset": opset,
            "external_data": request.external_data,
        }
        if request.optimize != OptimizeOptions():
            applied = run_passes(graph, build_passes(request.optimize, request.progress), request.progress)
            graph = applied.model
            options |= manifest_options(request.optimize, applied)
            notes += [f"onnx: {row.node} was undone: {row.reason}" for row in applied.decisions if row.action == UNDONE]
            passes = ", ".join(applied.changed)
            notes.append(f"onnx: rewritten by {passes}" if passes else "onnx: no pass had anything to do")
        if model.without_preprocessing is not None:
            add_preprocessing(graph, preprocessing_module(model), model.input.name)
        if rejected:
            options[FAILED_OPTION] = ", ".join(rejected)
            notes.append(f"onnx: parity failed with {' and with '.join(rejected)}")
        libraries = (*VERSIONS, *(["onnxruntime"] if request.optimize.autotune else []))
        manifest = replace(
            request.manifest,
            options={**request.manifest.options, **options},
            versions={name: version(name) for name in libraries},
        )
        _set_metadata(graph, manifest)
        files = write_onnx(graph, folder, request.name + self.suffix, external_data=request.external_data)
        return WriteResult(files, manifest, tuple(notes))

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest in the model's metadata; weights stay on disk and nothing runs."""
        from exporter.onnx_io.external_data import check_external_data
        from exporter.onnx_io.load import load_without_weights

        model = load_without_weights(path)
        check_external_data(model, path)
        return embedded_manifest(model, path)


def embedded_manifest(model: onnx.ModelProto, path: Path) -> Manifest | None:
    """Return the manifest in a model's metadata, or None.

    Raises:
        ArtifactError: there is one, but it is damaged.
    """
    for entry in model.metadata_props:
        if entry.key == MANIFEST_KEY:
            return Manifest.from_json(entry.value, f"{path} (metadata {MANIFEST_KEY})")
    return None


def has_pass_metadata(model: onnx.ModelProto) -> bool:
    """Return whether the metadata of a model without a manifest records that `optimize` changed it."""
    return any(entry.key == PASSES_KEY for entry in model.metadata_props)


def _export(module: nn.Module, signature: Signature) -> ir.Model:
    import torch

    (spec,) = signature.inputs
    example = torch.zeros(
        [size if isinstance(size, int) else 1 for size in spec.shape], dtype=getattr(torch, spec.dtype)
    )
    with suppress_foreign_logging():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[spec.name],
            output_names=[output.name for output in signature.outputs],
            dynamic_shapes=None if signature.batch is not None else ({0: str(spec.shape[0])},),
            opset_version=TORCH_OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model


def _set_metadata(model: ir.Model, manifest: Manifest) -> None:
    """Embed the manifest, and remove what torch's exporter recorded about itself (stack traces, rule names)."""
    from exporter.onnx_io.opset import min_ir_version

    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.name = manifest.name
    model.graph.doc_string = None
    model.metadata_props.clear()
    model.metadata_props[MANIFEST_KEY] = manifest.embedded().to_json()
    model.ir_version = min_ir_version(model.graph.opset_imports[""])
    model.producer_name = manifest.producer.split()[0]
    model.producer_version = __version__
    model.doc_string = manifest.network.description
