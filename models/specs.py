"""What a network takes and returns, as plain data. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.errors import UsageError

OutputKind = Literal["scores", "probabilities", "features"]
"""What an output's numbers mean. Highest classes are compared for `scores` and `probabilities` only."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, dtype (`float32`) and shape, where a string is a dynamic size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """Return `clip float32 (batch, 3, 16, 112, 112)`."""
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape))})"


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None where it is dynamic."""
        size = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        return size if isinstance(size, int) else None

    def __str__(self) -> str:
        """Return `inputs -> outputs`."""
        return f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"


@dataclass(frozen=True)
class OutputSpec:
    """One output that a network can return.

    Attributes:
        name: its name in artifacts.
        shape: the shape of one item, without the batch axis.
        kind: what its numbers mean.
        layer: the layer whose value it is, as `named_modules` calls it (`fc6.relu` for the ReLU after `fc6`); empty
            where it is no layer's value.
    """

    name: str
    shape: tuple[int, ...]
    kind: OutputKind = "scores"
    layer: str = ""


@dataclass(frozen=True)
class ConvHint:
    """How a rewritten TorchScript module computes one 3x3x3 convolution.

    Attributes:
        tile: (frames, rows and columns) of a Winograd output tile.
        pool: the max pool after it, which may run before the ReLU because the two commute; empty for none.
        pool_frames: frames of a pooling window.
        two_frames: the input has two frames, for which a shorter transform exists.
    """

    tile: tuple[int, int]
    pool: str = ""
    pool_frames: int = 0
    two_frames: bool = False


FRAMES_NAME = "frames"
"""The input of a model with its preprocessing inside."""


def frames_input(clip: TensorSpec) -> TensorSpec:
    """Return the input of a model that makes its clips (batch, 3, T, h, w) from decoded frames of any size itself."""
    return TensorSpec(FRAMES_NAME, "uint8", (clip.shape[0], clip.shape[2], "height", "width", 3))


def takes_frames(value: TensorSpec) -> bool:
    """Return whether an input takes decoded frames of any height and width, as `frames_input` describes it."""
    fixed = len(value.shape) == 5 and not any(isinstance(size, int) for size in value.shape[2:4])
    return fixed and (value.name, value.dtype, value.shape[4]) == (FRAMES_NAME, "uint8", 3)


def make_signature(
    input_spec: TensorSpec, outputs: tuple[OutputSpec, ...], names: tuple[str, ...], batch: int | None
) -> Signature:
    """Return the signature of an artifact that returns the outputs `names`, in that order.

    Args:
        input_spec: the network's input; its first axis is the batch.
        outputs: every output of the network.
        names: those of the artifact.
        batch: a fixed batch size; None leaves it dynamic.

    Raises:
        UsageError: the network has no such output.
    """
    known = {output.name: output for output in outputs}
    if missing := [name for name in names if name not in known]:
        raise UsageError(f"no output {', '.join(missing)}; there are {', '.join(known)}")
    size = input_spec.shape[0] if batch is None else batch
    return Signature(
        (TensorSpec(input_spec.name, input_spec.dtype, (size, *input_spec.shape[1:])),),
        tuple(TensorSpec(name, "float32", (size, *known[name].shape)) for name in names),
    )
