"""The options and names that all layers share, as frozen dataclasses. Nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from exporter.load_checks import LoadChecks
from models.specs import TensorSpec

FormatName = Literal["onnx", "torchscript", "pt2", "openvino", "tensorrt", "pt2-aoti"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)

Device = Literal["cpu", "cuda", "tensorrt"]
"""Where an engine runs: `tensorrt` is onnxruntime's TensorRT provider on the GPU, with CUDA's beside it."""
DEVICES: tuple[Device, ...] = get_args(Device)

Target = Literal["portable", "cpu", "cuda"]
TARGETS: tuple[Target, ...] = get_args(Target)
FASTEST_TARGET: Mapping[Device, Target] = MappingProxyType({"cpu": "cpu", "cuda": "cuda", "tensorrt": "portable"})
"""{device: the target of the fastest ONNX file there}. TensorRT has rewrites of its own."""

GraphEngine = Literal["onnxruntime", "openvino"]
"""The engine for whose memory layouts a graph is rewritten."""

OptimizeFor = Literal["load", "size"]
"""What to prefer where they conflict: `load` a fast session load, `size` a small file."""
OPTIMIZE_FOR: tuple[OptimizeFor, ...] = get_args(OptimizeFor)

WeightDtype = Literal["fp32", "fp16", "int8"]
"""How weights are stored in the file; the computation stays float32."""
WEIGHT_DTYPES: tuple[WeightDtype, ...] = get_args(WeightDtype)

ComputePrecision = Literal["fp32", "fp16", "bf16", "int8"]
"""What an artifact's convolutions and matrix products compute in."""
COMPUTE_PRECISIONS: tuple[ComputePrecision, ...] = get_args(ComputePrecision)

MIN_SNR: Mapping[ComputePrecision, float] = MappingProxyType({"fp16": 60.0, "bf16": 40.0, "int8": 30.0})
"""The default of `--min-snr` for each precision below float32: decibels on clips held out from calibration."""

MIN_OPSET = 17
"""The oldest ONNX opset that can be written."""
DEFAULT_OPSET = 17
"""With IR version 8, which it needs, onnxruntime 1.15 and OpenVINO 2023.3 load it."""
MAX_OPSET = 28
"""The newest opset that onnxruntime 1.32 fully supports: it accepts it as released, and its CPU provider has a kernel
for every operator of it that is not a function (docs/reference/runtimes.md shows the check)."""
BLOCKED_OPSET = 21
"""The first opset whose DequantizeLinear has blocks, which int8 weights need."""

QUICK: tuple[str, ...] = ("random", "zeros", "saturated", "video", "ties")
"""The input types that an export is verified on; `exporter.parity.input_types` defines all of them."""

EXAMPLE_FRAME_SIZE = (240, 320)
"""(height, width) of decoded frames where a model takes any and the user states none."""

UNKNOWN_RANK = "…"
"""At the end of a shape: any further axes. A TorchScript archive does not state its values' ranks."""


def frames_shape(frames: TensorSpec, batch: int) -> tuple[int, ...]:
    """Return the shape of frames of `EXAMPLE_FRAME_SIZE` for an input that takes any: (batch, T, height, width, 3)."""
    return (batch, int(frames.shape[1]), *EXAMPLE_FRAME_SIZE, 3)


@dataclass(frozen=True)
class EngineReference:
    """An engine that runs the same network or file, to be compared with the artifact.

    Attributes:
        name: the engine (`exporter.engines.ENGINES`): one that runs model files, or `torch`, which runs the network.
        device: where it runs.
    """

    name: str
    device: Device = "cpu"

    def __str__(self) -> str:
        """Return `openvino`, or `onnxruntime:cuda`."""
        return self.name if self.device == "cpu" else f"{self.name}:{self.device}"


@dataclass(frozen=True)
class ValueRange:
    """Numbers from `low` to `high`, both included; one number where they are equal."""

    low: int | float
    high: int | float

    def __str__(self) -> str:
        """Return `0..9`, or `3`."""
        return f"{self.low:g}..{self.high:g}" if self.low != self.high else f"{self.low:g}"


@dataclass(frozen=True)
class InputOptions:
    """The inputs that the user gives, in place of drawn ones or beside them.

    Attributes:
        shapes: {input: shape with the batch}, for dynamic sizes.
        feeds: {input: its value whenever the model runs}: a `.npy` file, or numbers to draw from.
        arrays: `.npz` files, an input for each row.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    feeds: Mapping[str, Path | ValueRange] = field(default_factory=dict[str, "Path | ValueRange"])
    arrays: tuple[Path, ...] = ()


@dataclass(frozen=True)
class OptimizeOptions:
    """How an ONNX graph is rewritten.

    Attributes:
        target: `cpu` also does what is only faster on CPUs, `cuda` what is only faster in onnxruntime's CUDA provider.
        autotune: choose between variants by measuring them on this machine, not by the cost model.
        optimize_for: a fast session load or a small file, where they conflict.
        weight_dtype: how weights are stored.
        max_tile: outputs of a Winograd tile along an axis, at most; 2 is more accurate than 4, and slower;
            1 leaves Winograd out.
        measure_errors: measure the rounding error of every rewritten layer, about a second each; nothing else changes.
        engine: the engine for whose memory layouts operators are chosen, with the target `cpu`.
    """

    target: Target = "portable"
    autotune: bool = False
    optimize_for: OptimizeFor = "size"
    weight_dtype: WeightDtype = "fp32"
    max_tile: int = 4
    measure_errors: bool = False
    engine: GraphEngine = "onnxruntime"


@dataclass(frozen=True)
class CalibrationOptions:
    """The clips on which value ranges are measured, and those held out from them to evaluate the result.

    Attributes:
        clips: videos, folders of them, or lists (`.txt`, a path a line); paths or URLs. Without any, the packaged clip
            and noise, which prove little.
        samples: how many clips are drawn from them in all, held-out ones included; None for the default.
    """

    clips: tuple[str | Path, ...] = ()
    samples: int | None = None


@dataclass(frozen=True)
class PrecisionOptions:
    """What an artifact computes in, and how accurate it must be.

    Attributes:
        compute: what its convolutions and matrix products compute in. `OptimizeOptions.weight_dtype` only says how
            weights are stored.
        min_snr: the lowest signal-to-noise ratio on every held-out clip that is published, in decibels; None for
            `MIN_SNR`.
        min_top1: the fraction of held-out clips whose highest class must agree with float64; None for no limit.
        calibration: the clips.
    """

    compute: ComputePrecision = "fp32"
    min_snr: float | None = None
    min_top1: float | None = None
    calibration: CalibrationOptions = CalibrationOptions()

    @property
    def required_snr(self) -> float | None:
        """The lowest signal-to-noise ratio in decibels; None for float32, which has a tolerance of its own."""
        return self.min_snr if self.min_snr is not None else MIN_SNR.get(self.compute)


@dataclass(frozen=True)
class BatchProfile:
    """The batch sizes that an engine with a dynamic batch is built for: from 1 to `largest`.

    Attributes:
        optimal: the size at which it is to be fastest.
        largest: the largest that it takes; activations of that many clips must fit into the GPU's memory.
    """

    optimal: int = 8
    largest: int = 32

    def __str__(self) -> str:
        """Return `8:32`, as on the command line."""
        return f"{self.optimal}:{self.largest}"


@dataclass(frozen=True)
class ParityOptions(LoadChecks):
    """How to verify, and what the artifacts must be (`LoadChecks`).

    Attributes:
        device: where the artifact runs; None for the first device of its engine, which is the CPU if it can use that.
            The float64 reference always runs on the CPU.
        seed: seed of the random inputs.
        clips: videos of the user to verify on, folders of them, or lists (`.txt`, a path a line); paths or URLs.
        allow_fallback: accept nodes that ran on another device than the one asked for.
        engine: the engine that runs the artifact; None takes the format's own.
        against: an engine whose outputs are compared too, or another model file, which then replaces the
            network as the float64 reference; None to compare with the network alone.
        inputs: those that the user gives.
        input_types: names of input types (`exporter.parity.input_types.INPUT_TYPES`); None for all, on export for the
            quick ones.
        samples: how many inputs of each random type are drawn.
        batch_size: a batch size that is run besides 1, 2 and 3; engines choose their algorithms by it.
        fail_fast: stop at the first comparison that fails.
        rtol: overrides the measured budget: |output - float64 reference| <= atol + rtol * |float64 reference| for every
            value.
        atol: see `rtol`.
        localize: name the first layer that diverges from the float64 reference.
        determinism: check whether repeats, batch positions and thread counts give the same bits.
        cache: folder that keeps the float64 reference by hash of weights and input.
        pairs: with a model file in `against`: (name there, name in the artifact) of inputs or outputs that correspond.
        max_memory: bytes that the comparison with an ONNX file may take as estimated; None for no limit.
        min_snr: the lowest signal-to-noise ratio in decibels that an artifact below float32 may have on `clips` and
            arrays, or else on the packaged clip; None for what its manifest records. For a file without a manifest it
            is the tolerance on every input.
        min_top1: the fraction of those whose highest class must be that of float64; None for what the manifest records.
    """

    device: Device | None = None
    seed: int = 0
    clips: tuple[str | Path, ...] = ()
    allow_fallback: bool = False
    engine: str | None = None
    against: EngineReference | Path | None = None
    inputs: InputOptions = InputOptions()
    input_types: tuple[str, ...] | None = None
    samples: int = 1
    batch_size: int | None = None
    fail_fast: bool = False
    rtol: float | None = None
    atol: float | None = None
    localize: bool = False
    determinism: bool = False
    cache: Path | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    max_memory: int | None = None
    min_snr: float | None = None
    min_top1: float | None = None
