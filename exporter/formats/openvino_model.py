"""From a graph to an OpenVINO model in memory, and from there to its two files. Needs the extra `openvino`."""

from __future__ import annotations

import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from exporter.artifacts.files import sha256_file
from exporter.artifacts.store import staging
from exporter.errors import UnavailableError
from exporter.foreign_logging import suppress_foreign_logging
from exporter.openvino_ir import IR_SUFFIX, MANIFEST_INFO, SHA256_INFO, WEIGHTS_SUFFIX

if TYPE_CHECKING:
    import onnx_ir as ir

_DROPPED = ("framework", "conversion_parameters", "info")
"""What OpenVINO's converter adds to `rt_info`: the ONNX file's metadata, and how the converter was called."""


def library() -> Any:
    """Return OpenVINO, untyped: an optional package, whose stubs are incomplete."""
    try:
        with suppress_foreign_logging():
            return import_module("openvino")
    except ImportError as error:
        raise UnavailableError("OpenVINO is not installed; pip install 'c3d-export[openvino]'") from error


def convert(graph: ir.Model) -> Any:
    """Return an `openvino.Model` of a graph, with names that are the same every time.

    The converter numbers what it adds by a counter of the process; it gets the name of its consumer instead.
    """
    from exporter.onnx_io.writer import write_onnx

    graph.metadata_props.clear()
    with staging(Path(tempfile.gettempdir())) as folder:
        (path, *_) = write_onnx(graph, folder, "graph.onnx", external_data=False)
        with suppress_foreign_logging():
            model = library().convert_model(str(path))
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
    """
    path, weights = folder / f"{name}{IR_SUFFIX}", folder / f"{name}{WEIGHTS_SUFFIX}"
    model.set_friendly_name(name)
    library().save_model(model, str(path), compress_to_fp16=compress)
    tree = ElementTree.parse(path)  # noqa: S314 - OpenVINO has just written it
    info = tree.getroot().find("rt_info")
    if info is None:
        info = ElementTree.SubElement(tree.getroot(), "rt_info")
    for child in [child for child in info if child.tag in _DROPPED]:
        info.remove(child)
    for (parent, key), value in ((MANIFEST_INFO, manifest), (SHA256_INFO, sha256_file(weights))):
        found = info.find(parent)
        ElementTree.SubElement(ElementTree.SubElement(info, parent) if found is None else found, key, value=value)
    ElementTree.indent(tree, "\t")
    tree.write(path, encoding="utf-8", xml_declaration=True)
    return path, weights
