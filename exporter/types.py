"""The frozen dataclasses that travel between the layers. Nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from models.config import CLIP_SHAPE, Output, Pool5, output_shape

FormatName = Literal["onnx", "torchscript"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)

Device = Literal["cpu", "cuda", "tensorrt"]
"""Where an engine runs: `tensorrt` is onnxruntime's TensorRT provider on the GPU, with CUDA's beside it."""
DEVICES: tuple[Device, ...] = get_args(Device)

EngineName = Literal["onnxruntime", "torchscript", "openvino", "onnx-reference"]
"""The engines that run a model file."""
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)

Target = Literal["portable", "cpu"]
TARGETS: tuple[Target, ...] = get_args(Target)

OptimizeFor = Literal["load", "size"]
"""What to give way to where they conflict: `load` a fast session load, `size` a small file."""
OPTIMIZE_FOR: tuple[OptimizeFor, ...] = get_args(OptimizeFor)

WeightDtype = Literal["fp32", "fp16", "int8"]
"""How weights are stored in the file; the computation stays float32."""
WEIGHT_DTYPES: tuple[WeightDtype, ...] = get_args(WeightDtype)

DEFAULT_OPSET = 28
"""The newest ONNX opset that onnxruntime 1.32 fully supports: it accepts it as released, and its CPU provider has a
kernel for every operator of it that is not a function (docs/onnx.md shows the check)."""
MIN_OPSET = 18
"""The oldest opset that torch's exporter writes without converting downwards."""

INPUT_NAME = "clip"

UNKNOWN_RANK = "…"
"""At the end of a shape: any further axes. A TorchScript archive does not state its values' ranks."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, dtype (`float32`) and shape, where a string stands for a free dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """Return `clip float32 (batch, 3, 16, 112, 112)`."""
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape))})"


@dataclass(frozen=True)
class Signature:
    """What an artifact takes and answers."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None where it is free."""
        size = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        return size if isinstance(size, int) else None

    def __str__(self) -> str:
        """Return `inputs -> outputs`."""
        return f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"


def c3d_signature(outputs: tuple[Output, ...], num_classes: int, batch: int | None) -> Signature:
    """Return the signature of a C3D artifact; `batch` None leaves the batch free."""
    size: int | str = "batch" if batch is None else batch
    return Signature(
        (TensorSpec(INPUT_NAME, "float32", (size, *CLIP_SHAPE)),),
        tuple(TensorSpec(name, "float32", (size, *output_shape(name, num_classes))) for name in outputs),
    )


@dataclass(frozen=True)
class OptimizeOptions:
    """How an ONNX graph is rewritten.

    Attributes:
        target: `cpu` also does what is only faster on CPUs.
        tune: choose between forms by measuring them here, not by the cost model.
        prefer: a fast session load or a small file, where they conflict.
        weights_as: how weights are stored.
        largest_tile: outputs of a Winograd tile along an axis, at most; 2 is more accurate than 4, and slower.
        errors: measure the error of every rewritten layer, which takes about a second each; it changes nothing else.
    """

    target: Target = "portable"
    autotune: bool = False
    optimize_for: OptimizeFor = "size"
    weight_dtype: WeightDtype = "fp32"
    max_tile: int = 4
    errors: bool = False


@dataclass(frozen=True)
class ParityOptions:
    """How to verify.

    Attributes:
        device: where the artifact runs. The truth always runs on the CPU.
        seed: of the random inputs.
        clips: videos of the user's to verify on, folders of them, or lists (`.txt`, a path a line).
        allow_fallback: accept nodes that ran on another device than the one asked for.
        runtime: the engine; None takes the format's own.
        against: what the artifact is held against beside the truth: an engine (`torch`, `openvino`,
            `onnxruntime:cuda`, …) or another model file, which then is the truth; None for float64 alone.
        arrays: `.npz` files of the user's inputs, a row each.
        kinds: of inputs, by name (`exporter.parity.inputs.KINDS`); None for all, on export for the quick four.
        samples: draws of each random kind.
        fail_fast: stop at the first comparison that fails.
        rtol: overrides the measured budget: |answer - truth| <= atol + rtol * |truth| for every number.
        atol: see `rtol`.
        localize: name the first layer that leaves the truth.
        determinism: tell whether repeats, batch positions and thread counts give the same bits.
        cache: folder that keeps the truth by hash of weights and input.
    """

    device: Device = "cpu"
    seed: int = 0
    clips: tuple[Path, ...] = ()
    allow_fallback: bool = False
    runtime: EngineName | None = None
    against: str | None = None
    arrays: tuple[Path, ...] = ()
    kinds: tuple[str, ...] | None = None
    samples: int = 1
    fail_fast: bool = False
    rtol: float | None = None
    atol: float | None = None
    localize: bool = False
    determinism: bool = False
    cache: Path | None = None


@dataclass(frozen=True)
class ReferenceOptions:
    """What an artifact is held against, where its manifest does not say or is to be overruled.

    Attributes:
        weights: the checkpoint; None takes the manifest's.
        layout: the checkpoint's origin, or `auto`.
        batch_norm: the variant with BatchNorm. Only read where there is no manifest.
        pool5: pool5's convention. Only read where there is no manifest.
    """

    weights: str | Path | None = None
    layout: str = "auto"
    batch_norm: bool = False
    pool5: Pool5 | None = None


@dataclass(frozen=True)
class ExportRequest:
    """Everything that decides an export.

    Attributes:
        formats: artifact formats to write, each once.
        weights: a checkpoint (a file, `https://…`, `hf://…`), or None for weights drawn from `seed`.
        layout: the checkpoint's origin, or `auto`.
        num_classes: fc8's outputs; None takes the checkpoint's, or 101.
        batch_norm: the variant with BatchNorm.
        pool5: pool5's convention; None takes the layout's, or `symmetric`.
        seed: of the initialisation.
        new_head: initialise fc8 freshly where the checkpoint has none that fits.
        outputs: what the artifact answers, in this order; None for logits, or fc7 where the checkpoint has no fc8.
        batch: a fixed batch size, or None to leave it free.
        opset: ONNX opset.
        target: `cpu` also tries what is only faster on CPUs.
        tune: with `cpu`: choose between forms by measuring them here; two runs may then choose differently.
        prefer: with `cpu`: a fast session load or a small file, where they conflict.
        weights_as: how ONNX weights are stored.
        external_data: keep ONNX weights in a file of their own.
        output_dir: folder the artifact lands in; made if missing.
        name: file name without suffix.
        verify: run parity before publishing; an artifact that fails is not published.
        parity: how to verify.
    """

    formats: tuple[FormatName, ...]
    weights: str | Path | None = None
    layout: str = "auto"
    num_classes: int | None = None
    batch_norm: bool = False
    pool5: Pool5 | None = None
    seed: int = 0
    new_head: bool = False
    outputs: tuple[Output, ...] | None = None
    batch: int | None = None
    opset: int = DEFAULT_OPSET
    target: Target = "portable"
    autotune: bool = False
    optimize_for: OptimizeFor = "size"
    weight_dtype: WeightDtype = "fp32"
    external_data: bool = False
    output_dir: Path = Path("artifacts")
    name: str = "c3d"
    verify: bool = True
    parity: ParityOptions = ParityOptions()


@dataclass(frozen=True)
class ConvertRequest:
    """Everything that decides a conversion.

    Attributes:
        checkpoint: a file, `https://…` or `hf://…`.
        output: the `.safetensors` file to write.
        layout: the checkpoint's origin, or `auto`.
        pool5: pool5's convention; None takes the checkpoint's.
    """

    checkpoint: str | Path
    output: Path
    layout: str = "auto"
    pool5: Pool5 | None = None


@dataclass(frozen=True)
class OptimizeRequest:
    """Everything that decides an optimisation.

    Attributes:
        model: the ONNX file.
        output: the file to write; None for `<stem>.optimized.onnx` beside it.
        graph: how it is rewritten.
        verify: hold the result against the original before it is published.
        shapes: {input: sizes with the batch}, for inputs that leave more than the batch free.
        seed: of the inputs it is verified on.
    """

    model: Path
    output: Path | None = None
    graph: OptimizeOptions = OptimizeOptions(target="cpu")
    verify: bool = True
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    seed: int = 0
