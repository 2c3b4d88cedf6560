"""OpenVINO IR: the ONNX graph, converted; an `.xml` file with the graph and a `.bin` file with the weights.

The two files do not say what OpenVINO computes in: without a hint it takes bfloat16 where the processor can, and a hint
inside the file is ignored. The manifest states it (`exporter.engines.openvino.compile_options`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exporter.artifacts.files import sha256_file
from exporter.artifacts.manifest import Manifest
from exporter.errors import IntegrityError, UnavailableError
from exporter.formats.base import FAILED_OPTION, Candidate, WriteRequest, WriteResult
from exporter.formats.onnx_graph import VERSIONS, NetworkGraph, make_graph
from exporter.openvino_ir import (
    IR_SUFFIX,
    MANIFEST_INFO,
    PRECISION_HINT,
    SHA256_INFO,
    IrModel,
    compile_options,
    read_ir,
)
from exporter.system import BFLOAT16_INSTRUCTIONS, cpu_features
from exporter.types import ComputePrecision, FormatName, OptimizeOptions
from models.built_model import BuiltModel

HINT_OPTION = "inference_precision_hint"
"""Manifest option: what to set OpenVINO's property of that name to when the model is compiled."""
ONNX_OPTIONS = ("external_data",)
"""Options of the graph that say nothing of these files."""


class OpenVinoFormat:
    """A model in OpenVINO's own format."""

    name: FormatName = "openvino"
    suffix: str = IR_SUFFIX
    precisions: Mapping[ComputePrecision, str] = MappingProxyType(
        {
            "fp32": "",
            "bf16": "",
            "fp16": "OpenVINO computes float16 no faster than float32 on CPUs; take --precision bf16 or int8",
        }
    )
    embeds_manifest: bool = True

    def require_available(self, precision: ComputePrecision) -> None:
        """Raise UnavailableError where OpenVINO is not installed, or for int8 where NNCF is not."""
        libraries = ("openvino", "nncf") if precision == "int8" else ("openvino",)
        if missing := [name for name in libraries if find_spec(name) is None]:
            extra = "int8" if precision == "int8" else "openvino"
            raise UnavailableError(
                f"--format openvino: {' and '.join(missing)} not installed; pip install 'c3d-export[{extra}]'"
            )

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield the portable graph."""
        yield Candidate("the portable graph", partial(_write, model, request))

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest in the XML file, after comparing the other file's hash with the one stated there.

        Raises:
            IntegrityError: the `.bin` file is missing, or is that of another model.
        """
        found = read_ir(path)
        if fault := weights_fault(found):
            raise IntegrityError(f"{path}: its weights are in {fault}")
        return read_ir_manifest(found)


def read_ir_manifest(model: IrModel) -> Manifest | None:
    """Return the manifest in the XML file of a model, or None.

    Raises:
        ArtifactError: there is one, but it is damaged.
    """
    text = model.rt_info.get(MANIFEST_INFO)
    return None if text is None else Manifest.from_json(text, f"{model.path} (rt_info)")


def weights_fault(model: IrModel) -> str | None:
    """Return what is wrong with the file of a model's weights: missing, or that of another model; None if nothing is.

    A model of another tool does not state its hash.
    """
    path, expected = model.weights_path, model.rt_info.get(SHA256_INFO)
    if not path.is_file():
        return f"{path.name}, which is missing"
    if expected is not None and sha256_file(path) != expected:
        return f"{path.name}, which is of another model: its SHA-256 is not {expected[:16]}…; copy both files together"
    return None


def _write(model: BuiltModel, request: WriteRequest, folder: Path, rejected: tuple[str, ...]) -> WriteResult:
    """Export, convert, embed the manifest, write."""
    from exporter.formats.openvino_model import convert

    optimize = replace(request.optimize, weight_dtype="fp32")  # OpenVINO compresses constants itself
    if optimize.target == "portable":
        optimize = OptimizeOptions()
    graph = make_graph(model, replace(request, optimize=optimize))
    _add_preprocessing(graph, model)
    return write_model(convert(graph.model), graph, request, folder, rejected)


def _add_preprocessing(graph: NetworkGraph, model: BuiltModel) -> None:
    from exporter.formats.onnx_preprocess import add_preprocessing
    from models.preprocessing.network import preprocessing_module

    if model.without_preprocessing is not None:
        add_preprocessing(graph.model, preprocessing_module(model), model.input.name)


def write_model(
    converted: Any, graph: NetworkGraph, request: WriteRequest, folder: Path, rejected: tuple[str, ...]
) -> WriteResult:
    """Write an `openvino.Model` and what the manifest records of it."""
    from exporter.formats.openvino_model import save

    options = {name: value for name, value in graph.options.items() if name not in ONNX_OPTIONS}
    notes = [note.replace("onnx:", "openvino:", 1) for note in graph.notes]
    options[HINT_OPTION] = compile_options(request.precision.compute)[PRECISION_HINT]
    if rejected:
        options[FAILED_OPTION] = ", ".join(rejected)
        notes.append(f"openvino: parity failed with {' and with '.join(rejected)}")
    if request.precision.compute == "bf16" and not cpu_features() & BFLOAT16_INSTRUCTIONS:
        notes.append("openvino: this processor has no bfloat16 instructions, so bf16 is slower here than fp32")
    manifest = replace(
        request.manifest,
        options={**request.manifest.options, **options},
        versions={name: version(name) for name in (*VERSIONS, "openvino", *graph.libraries)},
    )
    compress = request.optimize.weight_dtype == "fp16"
    files = save(converted, folder, request.name, manifest.embedded().to_json(), compress=compress)
    return WriteResult(files, manifest, tuple(notes))
