"""From a graph to an OpenVINO model in memory, and from there to its two files. Needs the extra `openvino`."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from exporter.artifacts.files import sha256_file
from exporter.engines import find_engine
from exporter.engines.base import Runtime, RuntimeOptions
from exporter.foreign_logging import import_openvino, silence_openvino_tools
from exporter.formats.base import Attempt, WriteRequest, WriteResult
from exporter.formats.onnx_graph import VERSIONS, NetworkGraph
from exporter.full_disks import is_full
from exporter.openvino_ir import (
    IR_SUFFIX,
    MANIFEST_INFO,
    PRECISION_HINT,
    SHA256_INFO,
    WEIGHTS_SUFFIX,
    compile_options,
)
from exporter.system import BFLOAT16_INSTRUCTIONS, cpu_features
from exporter.temporary_folders import temporary_folder
from exporter.types import ComputePrecision
from models.built_model import BuiltModel
from models.specs import TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

HINT_OPTION = "inference_precision_hint"
"""Manifest option: what to set OpenVINO's property of that name to when the model is compiled."""
_ONNX_OPTIONS = ("external_data",)
"""Options of the graph that say nothing of these files."""
PREPROCESSING = "preprocess."
"""How the names of preprocessing's layers begin: `exporter.formats.onnx_preprocess.nodes.PREFIX` and a dot."""
_DROPPED = ("framework", "conversion_parameters", "info")
"""What OpenVINO's converter adds to `rt_info`: the ONNX file's metadata, and how the converter was called."""


def has_bfloat16() -> bool:
    """Return whether bfloat16 is faster than float32 on this processor."""
    return bool(cpu_features() & BFLOAT16_INSTRUCTIONS)


VERSION_KEY = "Runtime_version"
"""Under which a converted model states the version of OpenVINO that made it."""


def convert(graph: ir.Model) -> Any:
    """Return an `openvino.Model` of a graph, with names that are the same every time.

    The converter numbers what it adds by a counter of the process; it gets the name of its consumer instead.
    """
    from exporter.onnx_io.writer import temporary_file

    graph.metadata_props.clear()
    with temporary_file(graph) as path, silence_openvino_tools():
        model = import_openvino().convert_model(str(path))
    known = {node.name or "" for node in graph.graph} | {*graph.graph.initializers}
    known |= {value.name or "" for value in (*graph.graph.inputs, *graph.graph.outputs)}
    rename(model, known)
    return model


def rename(model: Any, known: set[str]) -> None:
    """Give every operation whose name does not begin with a known one the name of its consumer and its own type."""
    used: Counter[str] = Counter()
    for op in reversed(model.get_ordered_ops()):
        name = op.get_friendly_name()
        parts = name.split("/")
        if not any("/".join(parts[:count]) in known for count in range(1, len(parts) + 1)):
            consumers = [target.get_node() for port in op.outputs() for target in port.get_target_inputs()]
            first = min((consumer.get_friendly_name() for consumer in consumers), default="unused")
            name = f"{first}/{op.get_type_name()}"
        used[name] += 1
        op.set_friendly_name(name if used[name] == 1 else f"{name}_{used[name]}")


def save(model: Any, folder: Path, name: str, manifest: str, *, compress: bool) -> tuple[Path, Path]:
    """Write a model's two files; the XML states the manifest and the hash of the other file.

    Args:
        model: an `openvino.Model`.
        folder: where to.
        name: the files' name without suffix.
        manifest: JSON.
        compress: store floating-point constants as float16.

    Raises:
        OSError: the files cannot be written.
    """
    path, weights = folder / f"{name}{IR_SUFFIX}", folder / f"{name}{WEIGHTS_SUFFIX}"
    model.set_friendly_name(name)
    try:
        import_openvino().save_model(model, str(path), compress_to_fp16=compress)
    except RuntimeError as error:  # of C++ streams, which do not keep what the system answered
        if is_full(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise OSError(f"OpenVINO cannot save the model: {error}") from error
    tree = ElementTree.parse(path)  # noqa: S314 - OpenVINO has just written it
    info = tree.getroot().find("rt_info")
    if info is None:
        info = ElementTree.SubElement(tree.getroot(), "rt_info")
    for child in [child for child in info if child.tag in _DROPPED]:
        info.remove(child)
    for (parent, key), value in ((MANIFEST_INFO, manifest), (SHA256_INFO, sha256_file(weights))):
        found = info.find(parent)
        ElementTree.SubElement(ElementTree.SubElement(info, parent) if found is None else found, key, value=value)
    _compute_preprocessing_in_float32(tree.getroot())
    ElementTree.indent(tree, "\t")
    tree.write(path, encoding="utf-8", xml_declaration=True)
    return path, weights


@contextlib.contextmanager
def open_converted(model: Any, precision: ComputePrecision) -> Generator[Runtime]:
    """Run an `openvino.Model` as the artifact will be run, from a temporary folder, which a signal removes too."""
    with temporary_folder() as folder:
        path, _ = save(model, folder, "model", "", compress=False)
        with find_engine("openvino").open(path, RuntimeOptions(precision=precision)) as runtime:
            yield runtime


def _compute_preprocessing_in_float32(net: ElementTree.Element) -> None:
    """Mark the layers of preprocessing with the attribute that keeps them in float32 whatever the precision hint says.

    Pixels and their weighted sums need more bits than bfloat16 has: in it, preprocessing cost 12 dB. The attribute is
    that of OpenVINO's `DisableFP16Compression` ("precise"), which Python cannot set.
    """
    for layer in net.iterfind("layers/layer"):
        computes = layer.get("type") not in ("Parameter", "Result", "Const")
        if computes and layer.get("name", "").startswith(PREPROCESSING):
            info = layer.find("rt_info")
            info = ElementTree.SubElement(layer, "rt_info") if info is None else info
            ElementTree.SubElement(info, "attribute", name="precise", version="0", value="")


def write_model(converted: Any, graph: NetworkGraph, request: WriteRequest, attempt: Attempt) -> WriteResult:
    """Write an `openvino.Model`, with the manifest inside.

    Args:
        converted: the model.
        graph: the graph that it was made of: its options, notes and libraries go into the manifest.
        request: what to write.
        attempt: where to, and what failed before.
    """
    options = {name: value for name, value in graph.options.items() if name not in _ONNX_OPTIONS}
    options.setdefault(HINT_OPTION, compile_options(request.precision.compute)[PRECISION_HINT])
    notes = [note.replace("onnx:", "openvino:", 1) for note in graph.notes]
    if attempt.rejected:
        notes.append(f"openvino: {attempt.describe_rejected()}")
    manifest = request.finish_manifest(options, attempt, (*VERSIONS, "openvino", *graph.libraries))
    compress = request.optimize.weight_dtype == "fp16"
    files = save(converted, attempt.folder, request.name, manifest.embedded().to_json(), compress=compress)
    return WriteResult(files, manifest, tuple(notes))


def add_preprocessing(converted: Any, model: BuiltModel, request: WriteRequest) -> Any:
    """Return an `openvino.Model` that takes frames: what is in front is converted alone and joined to the network.

    Args:
        converted: the network.
        model: with its preprocessing inside, or without any: then `converted` is returned.
        request: what to write.
    """
    from exporter.formats.onnx_preprocess.nodes import add_preprocessing as add_to_graph
    from models.preprocessing.network import preprocessing_module

    if model.without_preprocessing is None:
        return converted
    clip = model.without_preprocessing.signature(request.outputs, request.manifest.signature.batch).inputs[0]
    graph = identity_graph(clip, request.opset)
    add_to_graph(graph, preprocessing_module(model), model.input.name)
    front = convert(graph)
    (parameter,), (result,) = converted.get_parameters(), front.get_results()
    parameter.output(0).replace(result.input_value(0))
    joined = import_openvino().Model(converted.get_results(), front.get_parameters(), request.name)
    if converted.has_rt_info(VERSION_KEY):
        joined.set_rt_info(converted.get_rt_info(VERSION_KEY).value, VERSION_KEY)
    return joined


def identity_graph(spec: TensorSpec, opset: int) -> ir.Model:
    """Return a graph that returns its input."""
    import onnx_ir as ir

    from exporter.onnx_io.dtypes import element_type

    tensor = ir.TensorType(ir.DataType(element_type(spec.dtype)))
    value = ir.Value(name=spec.name, type=tensor, shape=ir.Shape(spec.shape))
    node = ir.node("Identity", [value], name="clip.identity")
    (output,) = node.outputs
    output.name, output.type, output.shape = "clip.out", tensor, value.shape
    graph = ir.Graph([value], [output], nodes=[node], opset_imports={"": opset}, name="preprocessing")
    return ir.Model(graph, ir_version=8)
