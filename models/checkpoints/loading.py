"""Checkpoint tensors become a network's parameters, all of them or none."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoints.checkpoint import Checkpoint, read_checkpoint
from models.checkpoints.extra_tensors import NUM_BATCHES_TRACKED
from models.checkpoints.info import CheckpointInfo
from models.checkpoints.remedies import describe_unexpected
from models.config import CLASSIFIER_KEYS, C3DConfig
from models.errors import CheckpointError, count, join_limited
from models.unpacking import HEADROOM, INFLATION

CASTABLE = (torch.float16, torch.bfloat16, torch.float64)
"""Dtypes that are converted to float32 and reported: the first two exactly, float64 by rounding."""

RUNNING_VAR = ".running_var"


def load_into(network: nn.Module, source: str | Path | Checkpoint, *, new_head: bool = False) -> CheckpointInfo:
    """Put a checkpoint's tensors into `network`, all of them or none.

    The network takes the tensors themselves, which may be views of the mapped file. It may be on the meta device;
    what the file leaves out (fc8 under `new_head`) then stays there for the caller to initialise.

    Args:
        network: a C3D of the wanted structure.
        source: a file, or a checkpoint already read.
        new_head: leave fc8 as it is where the file has none or another class count.

    Raises:
        CheckpointError: anything missing, unexpected, of another shape or dtype, NaN or infinite; all tensors
            with the same fault are listed.
    """
    config = network.config
    assert isinstance(config, C3DConfig)
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(NUM_BATCHES_TRACKED)}
    tensors = checkpoint.tensors_for(config)
    given = {name: value for name, value in tensors.items() if not name.endswith(NUM_BATCHES_TRACKED)}
    if new_head and any(name not in given or given[name].shape != wanted[name].shape for name in CLASSIFIER_KEYS):
        given = {name: value for name, value in given.items() if name not in CLASSIFIER_KEYS}
        reinitialized = CLASSIFIER_KEYS
    else:
        reinitialized = ()
    _check_names(checkpoint, wanted, given, reinitialized)
    _check_shapes(checkpoint, wanted, given)
    _check_size(checkpoint, given)
    values_by_name = {name: _to_valid_float32(checkpoint, name, tensor) for name, tensor in given.items()}
    network.load_state_dict(values_by_name, strict=False, assign=True)
    converted = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in given.values()} - {"float32"})
    values = sum(tensor.numel() for tensor in values_by_name.values())
    return CheckpointInfo(
        file=checkpoint.path.name,
        path=str(checkpoint.path),
        sha256=checkpoint.raw.sha256,
        container=checkpoint.raw.container,
        layout=checkpoint.layout.name,
        loaded=len(values_by_name),
        total=len(wanted),
        values=values,
        reinitialized=tuple(reinitialized),
        converted=tuple(converted),
        ignored_keys=checkpoint.extra.training,
        selection=checkpoint.selection,
        notes=checkpoint.notes,
        pool5=checkpoint.pool5,
        url=checkpoint.file.url,
    )


def _check_names(
    checkpoint: Checkpoint, wanted: dict[str, Tensor], given: dict[str, Tensor], reinitialized: tuple[str, ...]
) -> None:
    unexpected = [name for name in given if name not in wanted]
    if unexpected and all(name.startswith("bn") for name in unexpected):
        raise CheckpointError(
            f"{checkpoint.path}: holds BatchNorm layers ({join_limited(unexpected, 3)}) that this network does not have"
        )
    if unexpected or checkpoint.extra.unexpected:
        raise CheckpointError(f"{checkpoint.path}: {describe_unexpected(checkpoint, unexpected)}")
    missing = [name for name in wanted if name not in given and name not in reinitialized]
    if missing and set(missing) <= set(CLASSIFIER_KEYS):
        raise CheckpointError(
            f"{checkpoint.path}: holds no {' and no '.join(missing)}, the network's is "
            f"{tuple(wanted[missing[0]].shape)}; --new-head (new_head=True) newly initialises fc8"
        )
    if missing:
        hint = "; is it a checkpoint without BatchNorm?" if all(name.startswith("bn") for name in missing) else ""
        tensors = f"{len(missing)} of {count(len(wanted), 'tensor')} {'is' if len(missing) == 1 else 'are'}"
        raise CheckpointError(f"{checkpoint.path}: {tensors} missing: {join_limited(missing)}{hint}")


def _check_shapes(checkpoint: Checkpoint, wanted: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    wrong = {name: tensor for name, tensor in given.items() if tensor.shape != wanted[name].shape}
    reported = [
        f"{name} is {tuple(value.shape)}, the network's is {tuple(wanted[name].shape)}" for name, value in wrong.items()
    ]
    if wrong and set(wrong) <= set(CLASSIFIER_KEYS):
        raise CheckpointError(
            f"{checkpoint.path}: {reported[0]}: another class count; leave --num-classes out to take the file's, or "
            "--new-head (new_head=True) newly initialises fc8"
        )
    if wrong:
        have = count(len(wrong), "tensor", ("has", "have"))
        raise CheckpointError(f"{checkpoint.path}: {have} another shape: {join_limited(reported)}")


def _check_size(checkpoint: Checkpoint, given: dict[str, Tensor]) -> None:
    """Refuse tensors that take far more memory than the file: a few numbers repeated to any shape, by strides of 0."""
    total = sum(tensor.numel() * torch.float32.itemsize for tensor in given.values())
    if total > INFLATION * checkpoint.raw.size + HEADROOM:
        raise CheckpointError(
            f"{checkpoint.path}: its weights would take {total / 1e9:.1f} GB, far more than its "
            f"{checkpoint.raw.size:,} bytes hold: each number stands for many (Tensor.expand)"
        )


def _to_valid_float32(checkpoint: Checkpoint, name: str, tensor: Tensor) -> Tensor:
    """Return the tensor as contiguous float32, or refuse it."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        raise CheckpointError(f"{checkpoint.path}: {name} has a shape but no values (saved from the meta device)")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in (torch.float32, *CASTABLE):
        stored = dtype if tensor.layout == torch.strided else f"{dtype}, {str(tensor.layout).removeprefix('torch.')}"
        raise CheckpointError(f"{checkpoint.path}: {name} is {stored}; weights must be floats")
    value = tensor.detach().to(torch.float32).contiguous()
    # A sum costs a quarter of checking each value; if it is finite, so are all values.
    if not torch.isfinite(value.sum()) and not (finite := torch.isfinite(value)).all():
        where = tuple((~finite).nonzero()[0].tolist())
        raise CheckpointError(
            f"{checkpoint.path}: {name} holds {value[where].item()} at {where}; weights must be finite"
        )
    if name.endswith(RUNNING_VAR) and (value < 0).any():
        raise CheckpointError(f"{checkpoint.path}: {name} holds {value.min().item():g}; a variance is not negative")
    return value
