"""Checkpoint tensors become a network's parameters, all of them or none; the error names options that help."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoints.checkpoint import Checkpoint, read_checkpoint
from models.checkpoints.extra_tensors import NUM_BATCHES_TRACKED
from models.checkpoints.info import CheckpointInfo
from models.checkpoints.layout import LINEARS
from models.checkpoints.unbuilt import PARAMETRIZED, REMOVE_PARTS
from models.checkpoints.unnamed_layers import name_linears
from models.config import CLASSIFIER_KEYS, C3DConfig
from models.errors import CheckpointError, count, join_limited, naming
from models.unpacking import HEADROOM, INFLATION

CASTABLE = (torch.float16, torch.bfloat16, torch.float64)
"""Dtypes that are converted to float32 and reported: the first two exactly, float64 by rounding."""

RUNNING_VAR = ".running_var"
MAX_PATTERNS = 4


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
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    with naming(checkpoint.path):
        return _load(network, checkpoint, new_head=new_head)


def _load(network: nn.Module, checkpoint: Checkpoint, *, new_head: bool) -> CheckpointInfo:
    config = network.config
    assert isinstance(config, C3DConfig)
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(NUM_BATCHES_TRACKED)}
    tensors = checkpoint.tensors_for(config)
    given = {name: value for name, value in tensors.items() if not name.endswith(NUM_BATCHES_TRACKED)}
    if new_head and any(name not in given or given[name].shape != wanted[name].shape for name in CLASSIFIER_KEYS):
        given = {name: value for name, value in given.items() if name not in CLASSIFIER_KEYS}
        reinitialized = CLASSIFIER_KEYS
    else:
        reinitialized = ()
    _check_names(checkpoint, wanted, given, reinitialized)
    _check_shapes(wanted, given)
    _check_size(checkpoint, given)
    values_by_name = {name: _to_valid_float32(name, tensor) for name, tensor in given.items()}
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
        raise CheckpointError(f"holds BatchNorm layers ({join_limited(unexpected, 3)}) that this network does not have")
    if unexpected or checkpoint.extra.unexpected:
        raise CheckpointError(describe_unexpected(checkpoint, unexpected))
    missing = [name for name in wanted if name not in given and name not in reinitialized]
    if missing and set(missing) <= set(CLASSIFIER_KEYS):
        raise CheckpointError(
            f"holds no {' and no '.join(missing)}, the network's is "
            f"{tuple(wanted[missing[0]].shape)}; --new-head (new_head=True) newly initialises fc8"
        )
    if missing:
        it = "it is" if len(missing) == 1 else "they are"
        hint = (
            "; is it a checkpoint without BatchNorm?"
            if all(name.startswith("bn") for name in missing)
            else f"; unless --key, --prefix, --layout or --key-map says where {it} (c3d-export inspect FILE lists what "
            "is there), the file is not complete"
        )
        tensors = f"{len(missing)} of {count(len(wanted), 'tensor')} {'is' if len(missing) == 1 else 'are'}"
        raise CheckpointError(f"{tensors} missing: {join_limited(missing)}{hint}")


def _check_shapes(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    wrong = {name: tensor for name, tensor in given.items() if tensor.shape != wanted[name].shape}
    reported = [
        f"{name} is {tuple(value.shape)}, the network's is {tuple(wanted[name].shape)}" for name, value in wrong.items()
    ]
    if wrong and set(wrong) <= set(CLASSIFIER_KEYS):
        raise CheckpointError(
            f"{reported[0]}: another class count; leave --num-classes out to take the file's, or "
            "--new-head (new_head=True) newly initialises fc8"
        )
    if wrong:
        have = count(len(wrong), "tensor", ("has", "have"))
        raise CheckpointError(f"{have} another shape: {join_limited(reported)}")


def _check_size(checkpoint: Checkpoint, given: dict[str, Tensor]) -> None:
    """Refuse tensors that take far more memory than the file: a few numbers repeated to any shape, by strides of 0."""
    total = sum(tensor.numel() * torch.float32.itemsize for tensor in given.values())
    if total > INFLATION * checkpoint.raw.size + HEADROOM:
        raise CheckpointError(
            f"its weights would take {total / 1e9:.1f} GB, far more than its "
            f"{checkpoint.raw.size:,} bytes hold: each number stands for many (Tensor.expand)"
        )


def _to_valid_float32(name: str, tensor: Tensor) -> Tensor:
    """Return the tensor as contiguous float32, or refuse it."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        raise CheckpointError(f"{name} has a shape but no values (saved from the meta device)")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in (torch.float32, *CASTABLE):
        stored = dtype if tensor.layout == torch.strided else f"{dtype}, {str(tensor.layout).removeprefix('torch.')}"
        raise CheckpointError(f"{name} is {stored}; weights must be floats of 16 bits or more")
    value = tensor.detach().to(torch.float32).contiguous()
    # A sum costs a quarter of checking each value; if it is finite, so are all values.
    if not torch.isfinite(value.sum()) and not (finite := torch.isfinite(value)).all():
        where = tuple((~finite).nonzero()[0].tolist())
        raise CheckpointError(f"{name} holds {value[where].item()} at {where}; weights must be finite")
    if name.endswith(RUNNING_VAR) and (value < 0).any():
        raise CheckpointError(f"{name} holds {value.min().item():g}; a variance is not negative")
    return value


def describe_unexpected(checkpoint: Checkpoint, canonical: Sequence[str] = ()) -> str:
    """Return which tensors are in the way, with the options that leave them out or explain them.

    Args:
        checkpoint: with tensors under its prefix that no table knows.
        canonical: tensors that its layout knows and the network has not.
    """
    names = [*canonical, *checkpoint.extra.unexpected]
    it = "it" if len(names) == 1 else "them"
    text = f"{count(len(names), 'tensor', ('does', 'do'))} not belong to C3D ({checkpoint.layout.name} layout): "
    text += join_limited(names)
    if any(PARAMETRIZED.search(name) for name in names):
        return f"{text}; {REMOVE_PARTS}"
    if canonical:
        return text
    if between := _between_layers(checkpoint, names):
        example = next(iter(between)).rpartition(".")[0].removeprefix(checkpoint.chosen.prefix)
        return (
            f"{text}; convolutions and normalisations among them make it another network, unless they are beside "
            f"C3D's layers (then --ignore leaves them out) or are C3D's own (then --key-map {example}=NAME names each)"
        )
    options = " ".join(f"--ignore {shlex.quote(pattern)}" for pattern in _patterns(names, checkpoint.chosen.prefix))
    text += f"; {options} leaves {it} out"
    if linears := _suggest_linears(checkpoint, names):
        return f"{text}, {linears} takes them for C3D's, if a ReLU follows each but fc8"
    heads = [name.removesuffix(".weight") for name in names if _is_head(checkpoint, name)]
    if CLASSIFIER_KEYS[0] not in checkpoint.tensors and len(heads) == 1:
        layer = heads[0].removeprefix(checkpoint.chosen.prefix)
        text += f", {shlex.join(['--key-map', f'{layer}=fc8'])} takes {layer} for fc8"
    return text


def _suggest_linears(checkpoint: Checkpoint, names: Sequence[str]) -> str:
    """Return the options that take two or three linear layers, which read one another, for fc6 to fc8; or ""."""
    if any(f"{layer}.weight" in checkpoint.tensors for layer in LINEARS):
        return ""
    shapes = {name: checkpoint.raw.tensors[checkpoint.chosen.path(name)].shape for name in names}
    weights = {name: shape for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 2}
    named = name_linears([*weights.values()], len(checkpoint.tensors["conv5b.weight"])) if len(weights) > 1 else ()
    own = (_layer(name).removeprefix(checkpoint.chosen.prefix) for name in weights)
    return shlex.join(
        word for theirs, ours in zip(own, named, strict=False) for word in ("--key-map", f"{theirs}={ours}")
    )


def _between_layers(checkpoint: Checkpoint, names: Sequence[str]) -> list[str]:
    """Return the tensors of layers that change the outputs if they are between C3D's: to ignore them is no advice."""
    shapes = {name: checkpoint.raw.tensors[checkpoint.chosen.path(name)].shape for name in names}
    return [name for name, shape in shapes.items() if len(shape) == 5 or name.endswith("running_mean")]


def _patterns(names: Sequence[str], prefix: str) -> list[str]:
    """Return few patterns that match all names: by layer, by the module below the prefix, or all."""
    layers: dict[str, int] = {}
    for name in names:
        layers[_layer(name)] = layers.get(_layer(name), 0) + 1
    exact = [f"{_layer(name)}.*" if layers[_layer(name)] > 1 else name for name in names]
    modules = [f"{prefix}{name.removeprefix(prefix).partition('.')[0]}.*" for name in names if "." in name]
    for patterns in (exact, modules if len(modules) == len(names) else ["*"]):
        unique = list(dict.fromkeys(patterns))
        if len(unique) <= MAX_PATTERNS:
            return unique
    return ["*"]


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name


def _is_head(checkpoint: Checkpoint, name: str) -> bool:
    """Return whether a tensor is a linear weight that reads the features of the network's last layer."""
    shape = checkpoint.raw.tensors[checkpoint.chosen.path(name)].shape
    lasts = ("fc7.weight", "fc6.weight", "conv5b.weight")
    last = next((weight for weight in lasts if weight in checkpoint.tensors), "")
    if not name.endswith(".weight") or len(shape) != 2 or not last or not checkpoint.tensors[last].shape:
        return False
    features = len(checkpoint.tensors[last])
    return shape[1] == features or (features > 0 and last == lasts[-1] and shape[1] % features == 0)
