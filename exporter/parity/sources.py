"""What golden outputs are computed from: a network in PyTorch, or a model file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from exporter.artifacts.files import data_files, sha256_file
from exporter.engines import find_engine, open_reference, require_float64
from exporter.engines.base import Runtime, RuntimeOptions
from exporter.engines.pytorch import PyTorchRuntime
from exporter.load_checks import RECORDED_ONLY, Vouched
from exporter.onnx_io.precision import detect_precision
from exporter.onnx_io.stored_weights import widened_weights
from exporter.parity.decisions import DecisionGraph
from exporter.results import Precision, ReferencePrecision
from exporter.system import library_version
from exporter.types import FormatName
from models.builder import state_sha256
from models.built_model import BuiltModel
from models.specs import Signature

if TYPE_CHECKING:
    from exporter.engines.reference.moved_values import Moves


class GoldenSource(Protocol):
    """What golden outputs are computed from.

    Attributes:
        float64_name: the float64 reference, in words.
        float32_name: the float32 baseline, in words.
        layers: {output: the layer whose value it is}, for outputs that are not called like their layer.
        features: the outputs that are no class scores, so that highest classes are not compared.
        decisions: the graph that discrete outputs are followed in; None where there is none.
    """

    float64_name: str
    float32_name: str
    layers: Mapping[str, str]
    features: frozenset[str]
    decisions: DecisionGraph | None

    def key(self) -> str:
        """Return a text that is the same only for the same outputs: weights, structure, library versions."""
        ...

    def open(
        self, precision: ReferencePrecision, *, all_outputs: bool = False, extra_outputs: tuple[str, ...] = ()
    ) -> AbstractContextManager[Runtime]:
        """Open the model in `precision`; with `all_outputs` it returns every layer, else `extra_outputs` too."""
        ...


class NetworkSource:
    """A built network in PyTorch."""

    float64_name = "the network in float64 (PyTorch)"
    float32_name = "PyTorch float32"
    decisions: DecisionGraph | None = None

    def __init__(self, model: BuiltModel) -> None:
        self.model = model
        self.layers: Mapping[str, str] = {output.name: output.layer for output in model.outputs if output.layer}
        self.features = frozenset(output.name for output in model.outputs if output.kind == "features")

    def key(self) -> str:
        """Return the hash of the parameters with the structure, torch's version and its CPU instructions."""
        structure = f"{self.model.architecture} {sorted(self.model.settings.items())}"
        return f"{state_sha256(self.model.network)} {structure} torch {library_version('torch')} {_cpu_capability()}"

    def open(
        self, precision: ReferencePrecision, *, all_outputs: bool = False, extra_outputs: tuple[str, ...] = ()
    ) -> AbstractContextManager[Runtime]:
        """See `GoldenSource`; `extra_outputs` is for files."""
        return PyTorchRuntime(self.model, precision, RuntimeOptions(all_outputs=all_outputs))


class FileSource:
    """A model file: its graph in float64.

    The float32 baseline is the file in its own engine where the file computes in float32. A file of lower precision is
    converted to float32 for it, because its own errors would allow anything.

    Attributes:
        precision: what an ONNX file computes in; None of other formats.
        widened: the weights that it stores in half precision and computes with in float32 (`widened_weights`).
        moves: how the values of its graph are moved when it runs (`with_moves`); None as a rule.

    Raises:
        UsageError: nothing computes files of that format in float64.
    """

    def __init__(
        self,
        path: Path,
        format_name: FormatName,
        signature: Signature | None = None,
        features: frozenset[str] = frozenset(),
        vouched: Vouched = RECORDED_ONLY,
    ) -> None:
        require_float64(format_name, path)
        self.path, self.signature, self.features, self.vouched = path, signature, features, vouched
        self.format: FormatName = format_name
        self.float64_name = f"{path.name} in float64"
        self.float32_name = f"float32 {path.name}"
        self.layers: Mapping[str, str] = {}
        self.decisions = DecisionGraph(path) if format_name == "onnx" else None
        self.widened = widened_weights(path) if format_name == "onnx" else frozenset[str]()
        self.precision: Precision | None = detect_precision(path, self.widened) if format_name == "onnx" else None
        self.native_float32 = self.precision == "float32"
        self.moves: Moves | None = None

    def with_moves(self, moves: Moves) -> FileSource:
        """Return an ONNX file as a source whose values are moved as their rounding to float32 may move them."""
        source = copy.copy(self)
        source.moves = moves
        return source

    def key(self) -> str:
        """Return the hash of the file and its data, with the versions of its engines and torch's CPU instructions."""
        versions = " ".join(f"{name} {library_version(name)}" for name in ("torch", "onnx", "onnxruntime"))
        files = (self.path, *data_files(self.path, self.format))
        return f"{' '.join(map(sha256_file, files))} {versions} {_cpu_capability()}"

    def open(
        self, precision: ReferencePrecision, *, all_outputs: bool = False, extra_outputs: tuple[str, ...] = ()
    ) -> AbstractContextManager[Runtime]:
        """See `GoldenSource`."""
        settings = RuntimeOptions(
            signature=self.signature, all_outputs=all_outputs, extra_outputs=extra_outputs, vouched=self.vouched
        )
        if self.moves is not None:
            from exporter.engines.onnx_reference import FloatGraph

            return FloatGraph(self.path, settings, precision, moves=self.moves)
        if precision == "float32" and self.native_float32:
            return find_engine(self.format).open(self.path, settings)
        return open_reference(self.format, self.path, precision, settings)


def _cpu_capability() -> str:
    """Return the instruction set that torch uses, because float32's last bits depend on it."""
    import torch

    return torch.backends.cpu.get_cpu_capability()
