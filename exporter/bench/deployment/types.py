"""What `bench --all` is asked and what it found: frozen dataclasses. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from exporter.bench.types import BenchRequest
from exporter.types import (
    MIN_SNR,
    ComputePrecision,
    Device,
    FormatName,
    PrecisionOptions,
    Target,
    WeightDtype,
)
from models.built_model import BuiltModel
from models.options import BuildOptions

BYTES_PER_VALUE = 4
"""Of a float32 weight."""


@dataclass(frozen=True)
class Variant:
    """One way to export a network.

    Attributes:
        format: the artifact's format.
        precision: what it computes in.
        target: `cpu` also has the rewrites that are only faster on CPUs.
        weight_dtype: how the file stores its weights.
    """

    format: FormatName
    precision: ComputePrecision = "fp32"
    target: Target = "portable"
    weight_dtype: WeightDtype = "fp32"

    @property
    def slug(self) -> str:
        """The variant as part of a file name: `onnx-fp32-cpu`, `onnx-fp32-cpu-int8-weights`."""
        parts = [self.format, self.precision, self.target]
        return "-".join(parts if self.weight_dtype == "fp32" else [*parts, self.weight_dtype, "weights"])

    def __str__(self) -> str:
        """Return `onnx fp32 cpu`, `onnx fp32 cpu, int8 weights`."""
        name = f"{self.format} {self.precision} {self.target}"
        return name if self.weight_dtype == "fp32" else f"{name}, {self.weight_dtype} weights"

    @property
    def default_min_snr(self) -> float | None:
        """The default of `--min-snr` in decibels, by precision or by how weights are stored; None for fp32."""
        return MIN_SNR.get(self.precision if self.precision != "fp32" else self.weight_dtype)


@dataclass(frozen=True)
class ExportedVariant:
    """A variant that was exported and verified.

    Attributes:
        variant: what it is.
        path: its model file.
        bytes: the size of all its files but the manifest.
        notes: what its export reported.
        raised: the number of layers that compute in a higher precision, because it missed its minimum accuracy without.
    """

    variant: Variant
    path: Path
    bytes: int
    notes: tuple[str, ...] = ()
    raised: int = 0


@dataclass(frozen=True)
class DeploymentRequest:
    """Everything that decides a comparison of all ways to export a network.

    Attributes:
        model: what `models.build` builds, or a network that is already built. Not used where `artifact` is given.
        artifact: an artifact whose network is built again, as `verify_parity` does; None to take `model`. Then
            `model.weights` may name its checkpoint.
        outputs: what the artifacts return; None for the artifact's, or the network's default outputs.
        batch: a fixed batch size of the exports; None for a dynamic one, or for the artifact's own where it is fixed
            and `measure.batches` names none.
        opset: ONNX opset of the ONNX files; None for the artifact's, or the default.
        external_data: keep the weights of ONNX files in a file of their own; None for as the artifact has them.
        precision: the accuracy and the calibration clips of the precisions below float32; `compute` is not used.
        formats: the formats to try; empty for all.
        measure: how the variants are measured; `artifacts` and `reference` are not used. `engines` adds the other
            engines that are installed, on the unoptimized network.
        work_dir: where artifacts are kept; None for a folder in the cache, which is removed at the end.
        export_seconds: no export begins after so many seconds; None for no limit. The next run continues with it.
    """

    model: BuildOptions | BuiltModel = field(default_factory=BuildOptions)
    artifact: Path | None = None
    outputs: tuple[str, ...] | None = None
    batch: int | None = None
    opset: int | None = None
    external_data: bool | None = None
    precision: PrecisionOptions = field(default_factory=PrecisionOptions)
    formats: tuple[FormatName, ...] = ()
    measure: BenchRequest = field(default_factory=lambda: BenchRequest(()))
    work_dir: Path | None = None
    export_seconds: float | None = None


@dataclass(frozen=True)
class BatchSpeed:
    """The speed of a row at one batch size.

    Attributes:
        batch: clips in a batch.
        median: median seconds of a batch.
        p90: the 90th percentile of the calls' seconds.
        throughput: clips a second, batch / median.
        memory: the process's peak memory so far in bytes, without what importing the engine takes; None where not
            known.
    """

    batch: int
    median: float
    p90: float
    throughput: float
    memory: int | None


@dataclass(frozen=True)
class DeploymentRow:
    """A way to run the network that was measured.

    Attributes:
        name: `onnx fp32 cpu`, or the name of an engine on the unoptimized network.
        variant: how it is exported; None for an engine of `--engines`, which no export of this tool runs in.
        engine: the engine with its version.
        bytes: the size of the artifact's files; None for an engine.
        load: median seconds to load it in a new process.
        snr_db: the lowest signal-to-noise ratio to float64 of any output on any held-out clip, in decibels: infinite
            where all are equal, minus infinity where an output is not finite.
        top1: the fraction of held-out clips whose highest class is that of float64; None without class scores.
        speeds: one for each batch size, in ascending order.
        pareto: no other row is as accurate and faster, or as fast and more accurate.
        command: the command that exports it; None for an engine.
        notes: what its export reported.
        raised: the number of layers that compute in a higher precision, because it missed its minimum accuracy without.
    """

    name: str
    variant: Variant | None
    engine: str
    bytes: int | None
    load: float
    snr_db: float
    top1: float | None
    speeds: tuple[BatchSpeed, ...]
    pareto: bool = False
    command: str | None = None
    notes: tuple[str, ...] = ()
    raised: int = 0

    @property
    def latency(self) -> float:
        """The median seconds of the smallest batch."""
        return self.speeds[0].median


Absence = Literal["unavailable", "failed", "postponed"]
"""Why a row is missing: something is not here (library, device, instructions), it was tried and failed, or time was
over."""


@dataclass(frozen=True)
class MissingRow:
    """A way to run the network that was not measured, and why."""

    name: str
    reason: str
    kind: Absence


@dataclass(frozen=True)
class DeploymentTable:
    """What a comparison of all ways to export a network found.

    Attributes:
        network: the network in a few words.
        device: where everything ran.
        threads: the number of threads of each engine.
        clips: the held-out clips that accuracy is measured on, in words.
        rows: what was measured, the fastest first.
        missing: what was not.
        recommended: the name of the recommended row; None where none holds the accuracy asked for.
        exact: the name of the fastest float32 row; None without one.
        rule: how the recommended row is chosen, a sentence.
        method: how the figures were measured, a sentence each.
        notes: what a reader must know to judge the figures.
        environment: versions, processor, system.
        seconds: {phase: seconds}: `build`, `export`, `measure`.
        folder: where the artifacts are kept; None where they were removed.
    """

    network: str
    device: Device
    threads: int
    clips: str
    rows: tuple[DeploymentRow, ...]
    missing: tuple[MissingRow, ...]
    recommended: str | None
    exact: str | None
    rule: str
    method: tuple[str, ...]
    notes: tuple[str, ...]
    environment: dict[str, str]
    seconds: dict[str, float]
    folder: Path | None = None

    def row(self, name: str | None) -> DeploymentRow | None:
        """Return the row of a name; None where there is none."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that were measured."""
        return tuple(dict.fromkeys(speed.batch for row in self.rows for speed in row.speeds))

    @property
    def complete(self) -> bool:
        """Whether everything that can be had here was tried, and nothing failed."""
        return all(row.kind == "unavailable" for row in self.missing)

    @property
    def failed(self) -> bool:
        """Whether something that was tried failed."""
        return any(row.kind == "failed" for row in self.missing)
