"""ONNX: through torch's own exporter (torch.export), named like the network, checked by onnx's checker."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Generator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.artifacts.manifest import Manifest, is_plain_name
from exporter.errors import ArtifactError, C3DExportError
from exporter.formats.base import WriteRequest, WriteResult
from exporter.types import FormatName, OptimizeOptions, Signature, TensorSpec
from models.config import MANIFEST_KEY

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from torch import nn

    from exporter.onnx_io.writer import OnnxFiles

PASSES_KEY = "c3d_export.passes"
"""Of the metadata of a model without a manifest: which passes changed it."""

IR_VERSION = 10
"""What torch writes; every runtime that knows the opset reads it."""

VERSIONS = ("torch", "onnx", "onnx-ir", "onnxscript")
"""The libraries that decide a file's bytes; with `--tune`, onnxruntime's times do as well."""

_NOISY_LOGGERS = ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class OnnxFormat:
    """An ONNX model of standard operators, one file by default."""

    name: FormatName = "onnx"
    suffix: str = ".onnx"

    def write(self, module: nn.Module, request: WriteRequest, folder: Path) -> WriteResult:
        """Export, name, embed the manifest, write and check.

        Raises:
            UsageError: the weights need `external_data`.
            C3DExportError: torch's exporter or onnx's checker refused, which is a fault of this tool or its versions.
        """
        from exporter.onnx_io.writer import write_onnx

        manifest = replace(
            request.manifest,
            options={**request.manifest.options, "opset": request.opset, "external_data": request.external_data},
            versions={name: version(name) for name in VERSIONS + (("onnxruntime",) if request.autotune else ())},
        )
        model = _export(module, manifest.signature, request.opset)
        _rename_nodes(model)
        notes: tuple[str, ...] = ()
        if request.graph != OptimizeOptions():
            options, notes = _rewrite(model, request)
            manifest = replace(manifest, options={**manifest.options, **options})
        _describe(model, manifest)
        files = write_onnx(model, folder, request.name + self.suffix, external_data=request.external_data)
        check_written(files)
        return WriteResult((files.model,) if files.data is None else (files.model, files.data), manifest, notes)

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest in the model's metadata; weights stay on disk and nothing runs."""
        from exporter.onnx_io.reader import load_without_weights

        model = load_without_weights(path)
        check_external_data(model, path)
        return embedded_manifest(model, path)


def check_written(files: OnnxFiles) -> None:
    """Hold what was written against onnx's checker.

    Raises:
        C3DExportError: it refuses, which is a fault of this tool or its versions.
    """
    import onnx

    try:
        onnx.checker.check_model(str(files.check), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise C3DExportError(f"onnx's checker refuses the written model: {error}") from error


def load_graph(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file without its external data.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except DecodeError as error:
        raise ArtifactError(f"{path}: not a whole ONNX file (truncated, or another kind of file)") from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArtifactError(f"{path}: not a sound ONNX file: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise ArtifactError(f"{path}: not an ONNX model: it has no nodes or no opset")
    return model


def check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a model whose weights lie outside its own folder, or are missing.

    Raises:
        ArtifactError: with the location.
    """
    for location in external_locations(model):
        if location == path.name:
            continue  # `onnx_reader.parse` refers to the weights inside the file so
        data = path.with_name(location) if is_plain_name(location) else None
        if data is None or data.is_symlink():
            raise ArtifactError(f"{path}: its weights are said to be at {location!r}, not a file of its own folder")
        if not data.is_file():
            raise ArtifactError(f"{path}: its weights are said to be in {location}, which is not beside it")


def external_locations(model: onnx.ModelProto) -> list[str]:
    """Return the files, as the model names them, that hold its external data."""
    return sorted(
        {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    )


def embedded_manifest(model: onnx.ModelProto, path: Path) -> Manifest | None:
    """Return the manifest in a parsed model's metadata, or None.

    Raises:
        ArtifactError: there is one, but it is damaged.
    """
    for entry in model.metadata_props:
        if entry.key == MANIFEST_KEY:
            return Manifest.from_json(entry.value, f"{path} (metadata {MANIFEST_KEY})")
    return None


def has_pass_metadata(model: onnx.ModelProto) -> bool:
    """Tell whether `optimize` left word in a model without a manifest that its passes changed it."""
    return any(entry.key == PASSES_KEY for entry in model.metadata_props)


def element_type(number: int) -> str:
    """Return the name of an ONNX element type, or `type 99` for one that ONNX does not have."""
    import onnx

    try:
        return onnx.TensorProto.DataType.Name(number).lower()
    except ValueError:
        return f"type {number}"


def graph_signature(model: onnx.ModelProto) -> Signature:
    """Return an ONNX graph's inputs and outputs, as its own types state them."""

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        tensor = value.type.tensor_type
        dtype = element_type(tensor.elem_type)
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
        return TensorSpec(value.name, {"float": "float32", "double": "float64"}.get(dtype, dtype), shape)

    weights = {initializer.name for initializer in model.graph.initializer}
    return Signature(
        tuple(spec(value) for value in model.graph.input if value.name not in weights),
        tuple(spec(value) for value in model.graph.output),
    )


def _rewrite(model: ir.Model, request: WriteRequest) -> tuple[dict[str, str | bool | list[str]], tuple[str, ...]]:
    """Apply the recipe; return what the manifest keeps of it, and what the user is told."""
    from exporter.passes.base import manifest_options, run_passes
    from exporter.passes.pipelines import build_passes

    applied = run_passes(model, build_passes(request.graph, request.progress), request.progress)
    note = f"onnx: rewritten by {', '.join(applied.changed)}" if applied.changed else "onnx: no pass had anything to do"
    return manifest_options(request.graph, applied), (note,)


def _export(module: nn.Module, signature: Signature, opset: int) -> ir.Model:
    import torch

    clip = signature.inputs[0]
    example = torch.zeros([size if isinstance(size, int) else 1 for size in clip.shape])
    with _suppress_logging():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[clip.name],
            output_names=[output.name for output in signature.outputs],
            dynamic_shapes=None if signature.batch is not None else ({0: "batch"},),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    return program.model


@contextlib.contextmanager
def _suppress_logging() -> Generator[None]:
    """Keep the exporter's progress, deprecations and missing-torchvision remarks from the user; errors still raise."""
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _rename_nodes(model: ir.Model) -> None:
    """Name weights, nodes and values after the network's layers: conv1.weight, conv1, conv1.relu, pool1.

    The exporter counts (node_conv3d_3, val_10); people and `verify parity` look for layers.
    """
    for old in list(model.graph.initializers):
        value = model.graph.initializers.pop(old)
        value.name = old.removeprefix("network.")
        model.graph.initializers[value.name] = value
    outputs = {value.name for value in model.graph.outputs}
    layer = ""
    for node in model.graph:
        weight = next(
            (value.name for value in node.inputs if value is not None and str(value.name).endswith(".weight")), ""
        )
        if weight:
            layer = str(weight).removesuffix(".weight")
            node.name = layer
        elif node.op_type == "MaxPool":
            node.name = f"pool{re.sub(r'[^0-9]', '', layer)}"
        elif node.op_type == "Reshape":
            node.name = "flatten"
            shape = node.inputs[1]
            assert shape is not None
            model.graph.initializers[str(shape.name)].name = "flatten.shape"
        else:
            node.name = f"{layer}.{node.op_type.lower()}"
        for value in node.outputs:
            if value.name not in outputs:
                value.name = f"{node.name}.out"


def _describe(model: ir.Model, manifest: Manifest) -> None:
    """Put the essential manifest inside, and take out what the exporter left of itself (stack traces, rule names)."""
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
    model.ir_version = IR_VERSION
    model.producer_name = manifest.producer.split()[0]
    model.producer_version = __version__
    model.doc_string = manifest.network.describe()
