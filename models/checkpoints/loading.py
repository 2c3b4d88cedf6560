"""From a checkpoint file to a network's parameters, with every tensor accounted for."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoints.layouts import LAYOUTS, Layout, canonical_name, recognise
from models.checkpoints.readers import read_file
from models.checkpoints.readers.base import RawCheckpoint
from models.errors import CheckpointError, UsageError, listing
from models.spec import MOST_CLASSES

CONVERTIBLE = (torch.float16, torch.bfloat16, torch.float64)
"""Converted to float32 and told: the first two exactly, float64 by rounding."""

COUNTER = "num_batches_tracked"
"""BatchNorm's training counter: in eval mode nothing reads it, so a file may have it or not."""

HEAD = ("fc8.weight", "fc8.bias")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read and recognised, not yet held against a network.

    Attributes:
        path: the file.
        raw: its tensors under its own names, its container and hash.
        layout: the origin it was recognised as.
        prefix: what stands before the origin's names in this file.
        tensors: {canonical name: tensor}.
        strangers: the file's tensors that the origin's table does not know.
    """

    path: Path
    raw: RawCheckpoint
    layout: Layout
    prefix: str
    tensors: dict[str, Tensor]
    strangers: tuple[str, ...]

    @property
    def num_classes(self) -> int | None:
        """fc8's outputs in the file, or None where it has no fc8.

        Raises:
            CheckpointError: a count that no data set has.
        """
        head = self.tensors.get("fc8.weight")
        if head is None or head.dim() == 0:
            return None
        if not 1 <= head.shape[0] <= MOST_CLASSES:
            raise CheckpointError(f"{self.path}: fc8.weight is {tuple(head.shape)}: not a class count to believe")
        return int(head.shape[0])


@dataclass(frozen=True)
class Coverage:
    """How much of a network a checkpoint gave.

    Attributes:
        loaded: parameters and running statistics taken from the file, counted as tensors.
        total: those the network has.
        values: single numbers taken from the file.
        fresh: names that were initialised instead (only ever fc8, and only when asked for).
        converted: dtypes other than float32 that the file's tensors had.
    """

    loaded: int
    total: int
    values: int
    fresh: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()


def read_checkpoint(path: Path, layout: str = "auto") -> Checkpoint:
    """Read `path` and name its tensors canonically.

    Args:
        path: the file.
        layout: an origin's name, or `auto` to recognise it.

    Raises:
        CheckpointError: unreadable, or of no known origin.
        UsageError: no such layout.
    """
    rows = [row for row in LAYOUTS if layout in ("auto", row.name)]
    if not rows:
        raise UsageError(f"unknown layout {layout!r}; known are auto, {', '.join(row.name for row in LAYOUTS)}")
    raw = read_file(path)
    found = max(
        (fit for row in rows if (fit := recognise(raw.tensors, row)) is not None),
        key=lambda fit: fit.layers,
        default=None,
    )
    if found is None:
        examples = [f"{name} {tuple(tensor.shape)}" for name, tensor in raw.tensors.items()]
        wanted = "any known C3D layout" if layout == "auto" else f"the layout {layout}"
        raise CheckpointError(f"{path}: its tensors are not those of {wanted}; it has {listing(examples, 4)}")
    tensors: dict[str, Tensor] = {}
    strangers: list[str] = []
    for name, tensor in raw.tensors.items():
        canonical = canonical_name(name, found)
        if canonical is None:
            strangers.append(name)
        else:
            tensors[canonical] = tensor
    return Checkpoint(path, raw, found.layout, found.prefix, tensors, tuple(strangers))


def load_into(network: nn.Module, source: Path | Checkpoint, *, new_head: bool = False) -> Coverage:
    """Put a checkpoint's tensors into `network`, all of them or none.

    The network takes the tensors themselves, not copies of them. It may stand on the meta device; what the file
    leaves out (fc8 under `new_head`) then stays there for the caller to initialise.

    Args:
        network: a C3D of the wanted structure.
        source: a file, or a checkpoint already read.
        new_head: leave fc8 alone where the file has none or another class count.

    Raises:
        CheckpointError: anything missing, unexpected, of another shape or dtype, NaN or infinite; all of a kind are
            listed together.
    """
    checkpoint = read_checkpoint(source) if isinstance(source, Path) else source
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    given = {name: value for name, value in checkpoint.tensors.items() if not name.endswith(COUNTER)}
    if new_head and any(name not in given or given[name].shape != wanted[name].shape for name in HEAD):
        given = {name: value for name, value in given.items() if name not in HEAD}
        fresh = HEAD
    else:
        fresh = ()
    _check_names(checkpoint, wanted, given, fresh)
    _check_shapes(checkpoint, wanted, given)
    sound = {name: _sound(checkpoint, name, tensor) for name, tensor in given.items()}
    network.load_state_dict(sound, strict=False, assign=True)
    converted = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in given.values()} - {"float32"})
    values = sum(tensor.numel() for tensor in sound.values())
    return Coverage(len(sound), len(wanted), values, tuple(fresh), tuple(converted))


def _check_names(
    checkpoint: Checkpoint, wanted: dict[str, Tensor], given: dict[str, Tensor], fresh: tuple[str, ...]
) -> None:
    unexpected = [name for name in given if name not in wanted]
    if unexpected and all(name.startswith("bn") for name in unexpected):
        raise CheckpointError(
            f"{checkpoint.path}: holds BatchNorm layers ({listing(unexpected, 3)}); "
            "give --batch-norm (batch_norm=True) for this variant"
        )
    unexpected += [name for name in checkpoint.strangers if not name.endswith(COUNTER)]
    if unexpected:
        raise CheckpointError(
            f"{checkpoint.path}: {len(unexpected)} tensors have no place in C3D ({checkpoint.layout.name} layout): "
            f"{listing(unexpected)}"
        )
    missing = [name for name in wanted if name not in given and name not in fresh]
    if missing and set(missing) <= set(HEAD):
        raise CheckpointError(
            f"{checkpoint.path}: holds no {' and no '.join(missing)}, the network's is "
            f"{tuple(wanted[missing[0]].shape)}; --new-head (new_head=True) initialises fc8 freshly"
        )
    if missing:
        hint = "; is it a checkpoint without BatchNorm?" if all(name.startswith("bn") for name in missing) else ""
        raise CheckpointError(
            f"{checkpoint.path}: {len(missing)} of {len(wanted)} tensors are missing: {listing(missing)}{hint}"
        )


def _check_shapes(checkpoint: Checkpoint, wanted: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    wrong = {name: tensor for name, tensor in given.items() if tensor.shape != wanted[name].shape}
    told = [
        f"{name} is {tuple(value.shape)}, the network's is {tuple(wanted[name].shape)}" for name, value in wrong.items()
    ]
    if wrong and set(wrong) <= set(HEAD):
        raise CheckpointError(
            f"{checkpoint.path}: {told[0]}: another class count; leave --num-classes out to take the file's, or "
            "--new-head (new_head=True) initialises fc8 freshly"
        )
    if wrong:
        raise CheckpointError(f"{checkpoint.path}: {len(wrong)} tensors have another shape: {listing(told)}")


def _sound(checkpoint: Checkpoint, name: str, tensor: Tensor) -> Tensor:
    """Return the tensor as contiguous float32, or refuse it."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        raise CheckpointError(f"{checkpoint.path}: {name} has a shape but no values (saved from the meta device)")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in (torch.float32, *CONVERTIBLE):
        raise CheckpointError(f"{checkpoint.path}: {name} is {dtype} ({tensor.layout}); weights must be floats")
    value = tensor.detach().to(torch.float32).contiguous()
    # A sum costs a quarter of looking at each value; a finite one leaves nothing to look for.
    if not torch.isfinite(value.sum()) and not (finite := torch.isfinite(value)).all():
        where = tuple((~finite).nonzero()[0].tolist())
        raise CheckpointError(
            f"{checkpoint.path}: {name} holds {value[where].item()} at {where}; weights must be finite"
        )
    return value
