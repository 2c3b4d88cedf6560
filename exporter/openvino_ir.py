"""OpenVINO's intermediate representation (IR): an `.xml` file with the graph, and a `.bin` file with its constants.

The XML is read here as data, without OpenVINO. Format: https://docs.openvino.ai, "OpenVINO IR format", version 10 and
11; what is read is `net/layers/layer` with its constant or output ports, `net/edges/edge`, and `net/rt_info`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

from exporter.errors import ArtifactError
from exporter.isolation.worker import reads_file
from exporter.results import Precision
from exporter.types import ComputePrecision
from models.paths import require_file
from models.specs import Signature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

IR_SUFFIX, WEIGHTS_SUFFIX = ".xml", ".bin"
PRECISION_HINT, BFLOAT16, FLOAT32 = "INFERENCE_PRECISION_HINT", "bf16", "f32"
"""The property of a compiled model that says what it computes in, and its values. Without it, OpenVINO takes bfloat16
where the processor can, whatever the file holds."""
MANIFEST_INFO, SHA256_INFO = ("c3d_export", "manifest"), ("c3d_export", "weights_sha256")
"""Elements of `rt_info` that this tool writes: the manifest, and the hash of the file with the constants."""
MAX_BYTES = 16 << 20
"""Size of the largest XML file that is read. That of a network of a thousand layers has about 1 MB."""
MAX_DEPTH = 100
MAX_ELEMENTS = 200_000
"""Elements of an XML file, at most. A layer has about twenty. An element takes as little as four bytes of the file, and
hundreds in memory."""
DYNAMIC = -1
"""How a port states a dynamic size."""

_DTYPES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64", "boolean": "bool"} | {
    f"{kind}{bits}": f"{name}{bits}" for kind, name in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)
}
"""{OpenVINO's name of an element type: NumPy's}; others keep OpenVINO's."""
_NO_OPERATORS = ("Const", "Parameter", "Result")
_RANDOM = ("RandomUniform", "Multinomial", "RandomPoisson")
_INT8 = {"i4", "u4", "nf4", "int8", "uint8"}
"""Dtypes of constants that are multiplied by a scale."""


@dataclass
class Port:
    """An output of a layer: its dtype, its tensor's names, and its sizes, `DYNAMIC` where one is dynamic."""

    dtype: str
    names: tuple[str, ...]
    sizes: list[int] = field(default_factory=list[int])


@dataclass
class Layer:
    """A layer.

    Attributes:
        name: its name.
        type: its operator: `Convolution`, `Const`.
        constant: dtype and shape of a `Const`, under the layer's name; None for others.
        span: where the file of constants holds that constant's values: offset and bytes.
        ports: {number: output}.
    """

    name: str
    type: str
    constant: TensorSpec | None = None
    span: tuple[int, int] = (0, 0)
    ports: dict[str, Port] = field(default_factory=dict[str, Port])

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers."""
        return self.type in _RANDOM


@dataclass(frozen=True)
class IrModel:
    """What the XML file of an IR states.

    Attributes:
        path: the XML file.
        name: the model's name.
        version: the version of the format.
        by_number: {number: layer} in the order of the file, without those inside of loops and branches.
        sources: {number of a layer: (number, output port) of the layer before it, for its first input}.
        rt_info: {keys of nested elements, from the outermost: value}, of the whole model.
    """

    path: Path
    name: str
    version: str
    by_number: Mapping[str, Layer]
    sources: Mapping[str, tuple[str, str]]
    rt_info: Mapping[tuple[str, ...], str]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its layers."""
        return tuple(self.by_number.values())

    @property
    def weights_path(self) -> Path:
        """The file of its constants."""
        return self.path.with_suffix(WEIGHTS_SUFFIX)

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs; a dynamic size is called `batch` on the first axis, and by its number elsewhere.

        Raises:
            ArtifactError: an output is not connected, or an input has no shape.
        """
        parameters = [layer for layer in self.layers if layer.type == "Parameter"]
        if unconnected := [layer.name for layer in parameters if not layer.ports]:
            raise ArtifactError(f"{self.path}: its input {unconnected[0]} has no shape")
        inputs = [(layer.name, next(iter(layer.ports.values()))) for layer in parameters]
        outputs: list[tuple[str, Port]] = []
        for number, layer in self.by_number.items():
            if layer.type == "Result":
                source, port = self.sources.get(number, ("", ""))
                if source not in self.by_number or port not in self.by_number[source].ports:
                    raise ArtifactError(f"{self.path}: its output {layer.name} is not connected")
                outputs.append((self.by_number[source].name, self.by_number[source].ports[port]))
        return Signature(
            tuple(_spec(name, port) for name, port in inputs), tuple(_spec(name, port) for name, port in outputs)
        )

    @property
    def operators(self) -> Counter[str]:
        """{operator: how often}, without constants, inputs and outputs."""
        return Counter(layer.type for layer in self.layers if layer.type not in _NO_OPERATORS)

    @property
    def constants(self) -> tuple[TensorSpec, ...]:
        """Its constants."""
        return tuple(layer.constant for layer in self.layers if layer.constant is not None)

    @property
    def precision(self) -> Precision:
        """The lowest precision of its constants of two axes or more: float32 where none is lower."""
        found = {constant.dtype for constant in self.constants if len(constant.shape) > 1}
        if found & _INT8:
            return "int8"
        if "bfloat16" in found:
            return "bfloat16"
        return "float16" if "float16" in found else "float32"


def compile_options(precision: ComputePrecision) -> dict[str, str]:
    """Return the properties to compile a model with, so that OpenVINO computes in `precision`.

    What is quantised inside the file is computed in int8 in any case; this is for the rest.
    """
    return {PRECISION_HINT: BFLOAT16 if precision == "bf16" else FLOAT32}


@reads_file("the XML parser")
def read_ir(path: Path) -> IrModel:
    """Read the XML file of an IR. Nothing of it runs, and what it may take is bounded.

    Raises:
        ArtifactError: it cannot be read, is too large, no XML or no IR, or has a document type: entities are not read.
    """
    try:
        if (size := require_file(path, "model", ArtifactError)) > MAX_BYTES:
            raise ArtifactError(f"{path}: too large for the graph of an OpenVINO model ({size:,} bytes)")
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
    reader = _Reader(path)
    try:
        reader.parser.Parse(content, True)
    except (expat.ExpatError, ValueError) as error:
        raise ArtifactError(f"{path}: not an OpenVINO model: {error}") from error
    if reader.root != "net" or not reader.layers:
        raise ArtifactError(f"{path}: not an OpenVINO model: XML without layers")
    return IrModel(
        path,
        reader.attributes.get("name", ""),
        reader.attributes.get("version", ""),
        reader.layers,
        reader.sources,
        reader.rt_info,
    )


class _Reader:
    """Collects what `IrModel` holds from expat's events."""

    def __init__(self, path: Path) -> None:
        self.path, self.root = path, ""
        self.attributes: dict[str, str] = {}
        self.layers: dict[str, Layer] = {}
        self.sources: dict[str, tuple[str, str]] = {}
        self.rt_info: dict[tuple[str, ...], str] = {}
        self._open: list[str] = []
        self._elements = 0
        self._layer, self._port, self._dim = Layer("", ""), Port("", ()), ""
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _refuse(self, *_: object) -> None:
        raise ArtifactError(f"{self.path}: has a document type, which no OpenVINO model has; it is not read")

    def _start(self, name: str, values: dict[str, str]) -> None:
        self._open.append(name)
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise ArtifactError(f"{self.path}: more than {MAX_ELEMENTS:,} elements, more than any OpenVINO model has")
        if len(self._open) > MAX_DEPTH:
            raise ArtifactError(f"{self.path}: nested more than {MAX_DEPTH} deep, which no OpenVINO model is")
        match self._open:
            case [root]:
                self.root, self.attributes = root, values
            case ["net", "layers", "layer"]:
                self._layer = self.layers[values.get("id", "")] = Layer(values.get("name", ""), values.get("type", ""))
            case ["net", "layers", "layer", "data"] if self._layer.type == "Const":
                dtype = values.get("element_type", "")
                self._layer.constant = TensorSpec(self._layer.name, _dtype(dtype), _shape(values.get("shape", "")))
                self._layer.span = int(values.get("offset", "0")), int(values.get("size", "0"))
            case ["net", "layers", "layer", "output", "port"]:
                self._port = Port(_dtype(values.get("precision", "").lower()), _names(values.get("names", "")))
                self._layer.ports[values.get("id", "")] = self._port
            case ["net", "layers", "layer", "output", "port", "dim"]:
                self._dim = ""
            case ["net", "edges", "edge"]:
                self.sources.setdefault(
                    values.get("to-layer", ""), (values.get("from-layer", ""), values.get("from-port", ""))
                )
            case ["net", "rt_info", *keys] if keys and "value" in values:
                self.rt_info[*keys] = values["value"]
            case _:
                pass

    def _text(self, text: str) -> None:
        if self._open[-1] == "dim":
            self._dim += text

    def _end(self, _name: str) -> None:
        if self._open == ["net", "layers", "layer", "output", "port", "dim"]:
            self._port.sizes.append(int(self._dim))
        self._open.pop()


def _spec(name: str, port: Port) -> TensorSpec:
    shape = (size if size != DYNAMIC else f"axis{axis}" if axis else "batch" for axis, size in enumerate(port.sizes))
    return TensorSpec((*port.names, name)[0], port.dtype, tuple(shape))


def _dtype(name: str) -> str:
    name = {"fp16": "f16", "fp32": "f32", "fp64": "f64"}.get(name, name)
    return _DTYPES.get(name, name)


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",")) if text.strip() else ()


def _names(text: str) -> tuple[str, ...]:
    """Return the names of a tensor: separated by commas; a comma inside a name has a backslash before it."""
    names = text.replace("\\,", "\0").split(",") if text else []
    return tuple(name.replace("\0", ",") for name in names)
