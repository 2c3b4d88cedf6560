"""What `export`, `convert` and `optimize` are asked for, as frozen dataclasses. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.load_checks import LoadChecks
from exporter.types import (
    DEFAULT_OPSET,
    BatchProfile,
    FormatName,
    InputOptions,
    OptimizeOptions,
    ParityOptions,
    PrecisionOptions,
)
from models.built_model import BuiltModel
from models.config import ARCHITECTURE
from models.options import BuildOptions

if TYPE_CHECKING:
    from exporter.signing import SigningKey


@dataclass(frozen=True)
class ExportRequest:
    """Everything that decides an export.

    Attributes:
        formats: artifact formats to write, each once.
        model: what `models.build` builds, or a network that is already built, of any architecture.
        outputs: what the artifact returns, in this order; None for the network's default outputs.
        batch: a fixed batch size, or None to leave it dynamic.
        batch_profile: the range of a dynamic batch, for formats that are built for one; None for the default.
        opset: ONNX opset.
        optimize: how ONNX graphs and TorchScript modules are rewritten.
        precision: what the artifact computes in, the accuracy it must have, and the calibration clips.
        external_data: keep ONNX weights in a file of their own.
        with_preprocess: put the preprocessing into the artifact, which then takes decoded frames of any size.
        output_dir: folder the artifact is written to; created if missing.
        name: file name without suffix; None for the network's architecture, or its class, in lower case.
        verify: check parity before publishing; an artifact that fails is not published.
        parity: how to verify.
        sign: the key that signs the manifests; None leaves them unsigned.
    """

    formats: tuple[FormatName, ...]
    model: BuildOptions | BuiltModel = field(default_factory=BuildOptions)
    outputs: tuple[str, ...] | None = None
    batch: int | None = None
    batch_profile: BatchProfile | None = None
    opset: int = DEFAULT_OPSET
    optimize: OptimizeOptions = OptimizeOptions()
    precision: PrecisionOptions = PrecisionOptions()
    external_data: bool = False
    with_preprocess: bool = False
    output_dir: Path = Path("artifacts")
    name: str | None = None
    verify: bool = True
    parity: ParityOptions = ParityOptions()
    sign: "SigningKey | None" = None

    @property
    def artifact_name(self) -> str:
        """The file name without suffix: `name`, or the one that follows from the network."""
        if self.name is not None:
            return self.name
        if isinstance(self.model, BuildOptions):
            return ARCHITECTURE.lower()
        return (self.model.architecture or type(self.model.network).__name__).lower()


@dataclass(frozen=True)
class ConvertRequest:
    """Everything that decides a conversion.

    Attributes:
        model: the checkpoint and its conventions; `weights` must be set.
        output: the `.safetensors` file to write.
    """

    model: BuildOptions
    output: Path


@dataclass(frozen=True)
class OptimizeRequest(LoadChecks):
    """Everything that decides an optimisation, and what the model must be (`LoadChecks`).

    Attributes:
        model: the ONNX file.
        output: the file to write; None for `<stem>.optimized.onnx` beside it.
        optimize: how it is rewritten.
        verify: compare the result with the original before it is published.
        measure: keep the original where the result is not measured to be faster. Nothing is measured with `decisions`,
            or where `optimize.weight_dtype` is not fp32.
        decisions: a JSON file of an earlier optimisation's decisions, to repeat them; None decides anew.
        inputs: the inputs that the user gives to verify it on; `shapes` are also fixed in the result.
        seed: seed of the inputs it is verified on.
        max_memory: bytes that the verification may take as estimated; None for no limit.
        sign: the key that signs the result's manifest; None leaves it unsigned.
    """

    model: Path
    output: Path | None = None
    optimize: OptimizeOptions = OptimizeOptions(target="cpu")
    verify: bool = True
    measure: bool = True
    decisions: Path | None = None
    inputs: InputOptions = InputOptions()
    seed: int = 0
    max_memory: int | None = None
    sign: "SigningKey | None" = None
