"""From a built network to an ONNX file, in two steps: the float32 graph, and the file with its manifest.

A precision below float32 is made between the two: the graph is made once, and each candidate changes a clone of it.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import OptionValue
from exporter.foreign_logging import suppress_foreign_logging
from exporter.formats.base import Attempt, WriteRequest, WriteResult
from exporter.passes.names import UsedNames
from exporter.types import BLOCKED_OPSET, OptimizeOptions
from models.built_model import BuiltModel
from models.config import MANIFEST_KEY
from models.specs import Signature

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from exporter.passes.base import PassesResult

SUFFIX = ".onnx"

TORCH_OPSET = 18
"""The opset that torch's exporter writes by itself. Graphs are converted from it once their nodes have names, because a
conversion loses which module a node came from."""

VERSIONS = ("torch", "onnx", "onnx-ir", "onnxscript")
"""The libraries that decide a file's bytes; with `--autotune`, onnxruntime's times do as well."""


@dataclass(frozen=True)
class NetworkGraph:
    """A network as a graph, before it is written.

    Attributes:
        model: the graph of the network alone, without preprocessing.
        options: what the manifest records of how it was made.
        notes: what the user should know.
        libraries: what decided it besides `VERSIONS`.
    """

    model: ir.Model
    options: Mapping[str, OptionValue]
    notes: tuple[str, ...] = ()
    libraries: tuple[str, ...] = field(default=())


def make_graph(model: BuiltModel, request: WriteRequest) -> NetworkGraph:
    """Export the network in float32 and run the passes asked for; see `export_graph` and `rewrite_graph`.

    Raises:
        UsageError: the network needs a newer opset.
    """
    return rewrite_graph(export_graph(model, request), request)


def export_graph(model: BuiltModel, request: WriteRequest) -> NetworkGraph:
    """Export the network in float32, name its nodes, and convert it to the opset. No pass has run yet.

    Raises:
        UsageError: the network needs a newer opset.
    """
    from exporter.engines.pytorch import network_prefix
    from exporter.formats.export_module import select_outputs
    from exporter.onnx_io.opset import convert_opset

    opset, notes = request.opset, list[str]()
    if request.optimize.weight_dtype == "int8" and opset < BLOCKED_OPSET:
        notes.append(f"onnx: opset {BLOCKED_OPSET} instead of {opset}, because int8 weights in blocks need it")
        opset = BLOCKED_OPSET
    # the network alone: preprocessing goes before the finished graph, and its passes find what they always do
    network = model.without_preprocessing or model
    module = select_outputs(network, request.outputs)
    graph = _export(module, network.signature(request.outputs, request.manifest.signature.batch))
    rename_nodes(graph, network_prefix(module, network), module.state_dict())
    convert_opset(graph, opset)
    return NetworkGraph(graph, {"opset": opset, "external_data": request.external_data}, tuple(notes))


def rewrite_graph(exported: NetworkGraph, request: WriteRequest) -> NetworkGraph:
    """Run the passes asked for on an exported network. Its model is changed in place.

    Below float32 the passes for every engine run in any case: what is computed in fewer bits is the network without
    batch normalisation and with its constants in one place.
    """
    from exporter.passes.base import UNDONE, manifest_options, run_passes
    from exporter.passes.pipelines import build_passes

    graph, notes = exported.model, list(exported.notes)
    options: dict[str, OptionValue] = {"target": request.optimize.target, **exported.options}
    if request.optimize != OptimizeOptions() or request.precision.compute != "fp32":
        applied = run_passes(graph, build_passes(request.optimize, request.progress), request.progress)
        graph = applied.model
        options |= manifest_options(request.optimize, applied)
        notes += [f"onnx: {row.node} was undone: {row.reason}" for row in applied.decisions if row.action == UNDONE]
        passes = ", ".join(applied.changed)
        if passes or request.optimize != OptimizeOptions():
            notes.append(f"onnx: rewritten by {passes}" if passes else "onnx: no pass had anything to do")
    libraries = ("onnxruntime",) if request.optimize.autotune else ()
    return NetworkGraph(graph, options, tuple(notes), libraries)


def add_passes(options: Mapping[str, OptionValue], result: PassesResult) -> dict[str, OptionValue]:
    """Return a manifest's options with the passes and decisions of a further list of passes."""

    def entries(key: str) -> list[str]:
        value = options.get(key)
        return value if isinstance(value, list) else []

    return {
        **options,
        "passes": [*entries("passes"), *result.changed],
        "decisions": [*entries("decisions"), *map(str, result.decisions)],
    }


def write_graph(graph: NetworkGraph, model: BuiltModel, request: WriteRequest, attempt: Attempt) -> WriteResult:
    """Put the preprocessing in front, embed the manifest, write and check. The graph's model is changed in place.

    Args:
        graph: the network's graph.
        model: the network it was made of.
        request: what to write.
        attempt: where to, and what failed before.

    Raises:
        UsageError: the weights need `external_data`.
        C3DExportError: onnx's checker rejected the model, which is a fault of this tool or its libraries.
    """
    from exporter.formats.onnx_preprocess.nodes import add_preprocessing
    from exporter.onnx_io.writer import write_onnx
    from models.preprocessing.network import preprocessing_module

    if model.without_preprocessing is not None:
        add_preprocessing(graph.model, preprocessing_module(model), model.input.name)
    notes = list(graph.notes)
    if attempt.rejected:
        notes.append(f"onnx: {attempt.describe_rejected()}")
    manifest = request.finish_manifest(graph.options, attempt, (*VERSIONS, *graph.libraries))
    _set_metadata(graph.model, manifest)
    files = write_onnx(graph.model, attempt.folder, request.name + SUFFIX, external_data=request.external_data)
    return WriteResult(files, manifest, tuple(notes))


def _export(module: nn.Module, signature: Signature) -> ir.Model:
    import torch

    (spec,) = signature.inputs
    # with an example of one item, torch takes the batch of some networks (attention) for a constant
    example = torch.zeros(
        [size if isinstance(size, int) else 2 for size in spec.shape], dtype=getattr(torch, spec.dtype)
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


SCOPES_KEY = "pkg.torch.onnx.name_scopes"
"""Metadata of a node: the modules around it, outermost first, then the name of the operator."""
CLASSES_KEY = "pkg.torch.onnx.class_hierarchy"
"""Metadata of a node: the classes of these modules, then the operator."""


def rename_nodes(model: ir.Model, prefix: str, parameters: Container[str]) -> None:
    """Name weights, nodes and values after the network's layers: conv1.weight, conv1, conv1.relu, pool1.

    A node with a weight has its layer's name, one that is a module of its own has that module's, and any other is
    `<layer before it>.<operator>`. A value is `<node>.out`, a constant of the exporter `<node>.input<position>`.

    Args:
        model: as `torch.onnx.export` returns it; it is changed in place.
        prefix: what the names of the network's modules begin with inside the exported module.
        parameters: names of the exported module's parameters and buffers.
    """
    constants = [value for name, value in model.graph.initializers.items() if name not in parameters]
    for old in list(model.graph.initializers):
        value = model.graph.initializers.pop(old)
        value.name = old.removeprefix(prefix)
        model.graph.initializers[value.name] = value
    outputs = {value.name for value in model.graph.outputs}
    taken = UsedNames()
    layer = ""
    for node in model.graph:
        weights = [name for value in node.inputs if value is not None and (name := str(value.name)).endswith(".weight")]
        module = "" if node.op_type == "Relu" else _get_module(node, prefix)
        if weights or module:
            layer = weights[0].removesuffix(".weight") if weights else module
            name = layer
        else:
            name = f"{layer}.{node.op_type.lower()}".lstrip(".")
        node.name = taken.new(name)
        for value in node.outputs:
            if value.name not in outputs:
                value.name = f"{node.name}.out" if len(node.outputs) == 1 else f"{node.name}.out{value.index()}"
        for position, value in enumerate(node.inputs):
            if value in constants:
                constants.remove(value)
                value.name = f"{node.name}.input{position}"


def _get_module(node: ir.Node, prefix: str) -> str:
    """Return the innermost module that a node came from, where it has no modules inside; empty where it is unknown."""
    scopes = node.metadata_props.get(SCOPES_KEY)
    if scopes is None:
        return ""
    names: list[str] = ast.literal_eval(scopes)
    classes: list[str] = ast.literal_eval(node.metadata_props.get(CLASSES_KEY, "[]"))
    leaf = len(names) > 1 and len(classes) == len(names) and classes[-2].startswith("torch.nn.")
    return names[-2].removeprefix(prefix) if leaf else ""
