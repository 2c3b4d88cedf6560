"""OpenVINO IR: the ONNX graph, converted; an `.xml` file with the graph and a `.bin` file with the weights.

The two files do not say what OpenVINO computes in: without a hint it takes bfloat16 where the processor can, and a hint
inside the file is ignored. The manifest states it (`exporter.engines.openvino.compile_options`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from exporter.artifacts.files import sha256_file
from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError, IntegrityError, UnavailableError
from exporter.formats.base import Attempt, Candidate, Format, WriteRequest, WriteResult
from exporter.formats.onnx_graph import make_graph
from exporter.formats.openvino_model import add_preprocessing, convert, write_model
from exporter.openvino_ir import (
    IR_SUFFIX,
    MANIFEST_INFO,
    SHA256_INFO,
    IrModel,
    read_ir,
)
from exporter.stored_tensors import StoredModel, StoredTensor
from exporter.types import ComputePrecision, OptimizeOptions
from models.built_model import BuiltModel
from models.errors import install_command


class OpenVinoFormat(Format):
    """A model in OpenVINO's own format."""

    name = "openvino"
    suffix = IR_SUFFIX
    precisions = MappingProxyType(
        {
            "fp32": "",
            "bf16": "",
            "int8": "",
            "fp16": "OpenVINO computes float16 no faster than float32 on CPUs; take --precision bf16 or int8",
        }
    )
    rewriting_targets = MappingProxyType({"fp32": frozenset({"cpu"})})

    def require_available(self, precision: ComputePrecision) -> None:
        """Raise UnavailableError where OpenVINO is not installed, or for int8 where NNCF is not."""
        libraries = ("openvino", "nncf") if precision == "int8" else ("openvino",)
        if missing := [name for name in libraries if find_spec(name) is None]:
            command = install_command("int8" if precision == "int8" else "openvino")
            raise UnavailableError(f"--format openvino: {' and '.join(missing)} not installed; {command}")

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield the portable graph; quantised ones for int8; in float32 with `--target cpu` the fastest here first.

        Below float32, `--target cpu` changes nothing: there Winograd's transforms lose accuracy.
        """
        if request.precision.compute == "int8":
            from exporter.formats.openvino_int8 import int8_candidates

            yield from int8_candidates(model, request)
            return
        if request.optimize.target == "cpu" and request.precision.compute == "fp32":
            from exporter.formats.openvino_cpu import cpu_candidates

            yield from cpu_candidates(model, request)
            return
        yield Candidate("the portable graph", partial(_write, model, request))

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest in the XML file, after comparing the other file's hash with the one stated there.

        Raises:
            IntegrityError: the `.bin` file is missing, or is not the one whose hash the model states.
            ArtifactError: it is missing, and the model states no hash.
        """
        found = read_ir(path)
        if fault := weights_fault(found):
            error = IntegrityError if states_weights_hash(found) else ArtifactError
            raise error(f"{path}: its weights are in {fault}")
        return read_ir_manifest(found)

    def read_stored(self, path: Path) -> StoredModel:
        """Return the manifest in the XML file, and the constants in the `.bin` file."""
        model = read_ir(path)
        constants = [(layer.constant, layer.span) for layer in model.layers if layer.constant is not None]
        tensors = (
            StoredTensor(spec.name, spec.dtype, tuple(map(int, spec.shape)), model.weights_path, *span)
            for spec, span in constants
        )
        return StoredModel(model.rt_info.get(MANIFEST_INFO), tuple(tensors), (model.weights_path.name,))


def read_ir_manifest(model: IrModel) -> Manifest | None:
    """Return the manifest in the XML file of a model, or None.

    Raises:
        ArtifactError: there is one, but it is damaged.
    """
    text = model.rt_info.get(MANIFEST_INFO)
    return None if text is None else Manifest.from_json(text, f"{model.path} (rt_info)")


def states_weights_hash(model: IrModel) -> bool:
    """Return whether a model says which file its weights are in, as those of this tool do."""
    return SHA256_INFO in model.rt_info


def weights_fault(model: IrModel) -> str | None:
    """Return what is wrong with the file of a model's weights: missing, or that of another model; None if nothing is.

    A model of another tool does not state its hash.
    """
    path, expected = model.weights_path, model.rt_info.get(SHA256_INFO)
    if not path.is_file():
        return f"{path.name}, which is missing; copy both files together"
    if expected is not None and sha256_file(path) != expected:
        return f"{path.name}, which is of another model: its SHA-256 is not {expected[:16]}…; copy both files together"
    return None


def _write(model: BuiltModel, request: WriteRequest, attempt: Attempt) -> WriteResult:
    """Export, convert, put preprocessing in front, write."""
    graph = make_graph(model, replace(request, optimize=OptimizeOptions()))  # OpenVINO stores float16 itself
    if request.precision.compute == "bf16":
        from exporter.formats.bfloat16 import speed_notes

        graph = replace(graph, notes=(*graph.notes, *speed_notes("openvino")))
    return write_model(add_preprocessing(convert(graph.model), model, request), graph, request, attempt)
