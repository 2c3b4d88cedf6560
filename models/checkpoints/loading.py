"""From a checkpoint file to a network's parameters, with every tensor accounted for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from models.checkpoints.detection import LayoutMatch, detect_networks, select_layouts
from models.checkpoints.info import CheckpointInfo
from models.checkpoints.layout import Layout
from models.checkpoints.readers import read_file
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.selection import Candidate, choose, find_candidates
from models.checkpoints.sources import ResolvedSource, resolve
from models.checkpoints.unsupported import identify_unsupported
from models.config import CLASSIFIER_KEYS, C3DConfig, InputSize
from models.errors import CheckpointError, join_limited
from models.pooling import Pool5, Variant
from models.preprocessing import Preprocessing
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from models.c3d import C3D

CASTABLE = (torch.float16, torch.bfloat16, torch.float64)
"""Dtypes that are converted to float32 and reported: the first two exactly, float64 by rounding."""

NUM_BATCHES_TRACKED = "num_batches_tracked"
"""BatchNorm's training counter: in eval mode nothing reads it, so a file may have it or not."""

TRAINING_STATE = re.compile(
    rf"(^|[./])({NUM_BATCHES_TRACKED}|global_step|iterations?|(train_)?step|epoch|beta[12]_power)(:0)?$"
    r"|(^|/)(optimi[sz]er(_weights)?/|updater/)|/(Adam(_1)?|Momentum|RMSProp(_1)?|Adagrad)$"
)
"""Names of training state: the optimizer's tensors and counters. They are ignored and reported."""


FC6 = "fc6.weight"
"""Its columns are in the order in which the origin flattens pool5."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose layout is known, not yet loaded into a network.

    Attributes:
        file: where it is, and where it came from.
        raw: its tensors under its own names, its container and hash.
        found: the layout that was detected, and the prefix of its names in this file.
        chosen: the network of the file that it is.
        tensors: {canonical name: tensor as torch lays it out}; fc6 reads pool5 in the order of the file.
        unexpected_keys: the file's tensors that the origin's table does not know.
        ignored_keys: those of them that only training needs.
    """

    file: ResolvedSource
    raw: ReadResult
    found: LayoutMatch
    chosen: Candidate
    tensors: dict[str, Tensor]
    unexpected_keys: tuple[str, ...]
    ignored_keys: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def layout(self) -> Layout:
        """The layout that was detected."""
        return self.found.layout

    @property
    def pool5(self) -> Pool5 | None:
        """The pool5 convention of its weights: as the file states it, otherwise as its layout does."""
        return self.raw.pool5 or self.layout.pool5

    @property
    def preprocessing(self) -> Preprocessing:
        """The profile that its weights expect: as the file states it, otherwise as its layout does."""
        return self.raw.preprocessing or self.layout.preprocessing

    @property
    def variant(self) -> Variant | None:
        """The variant that the names belong to; None where several have them."""
        return self.layout.variant

    @property
    def input_size(self) -> InputSize | None:
        """(channel, time, height, width) of a clip, where the file states it."""
        return None

    def tensors_for(self, config: C3DConfig) -> dict[str, Tensor]:
        """Return `tensors` as a network of this structure takes them: fc6 reads pool5 in torch's order."""
        if FC6 not in self.tensors or self.tensors[FC6].dim() != 2:
            return self.tensors
        return self.tensors | {FC6: self.layout.order_fc6(self.tensors[FC6], config.pool5_shape)}


def read_checkpoint(source: str | Path, layout: str = "auto", progress: Progress = no_progress) -> Checkpoint:
    """Read a checkpoint and name its tensors canonically.

    Args:
        source: a file, `https://…[#sha256=…]` or `hf://owner/repo/file[@revision]`.
        layout: an origin's name, or `auto` to detect it.
        progress: called while something is downloaded.

    Raises:
        CheckpointError: not available, unreadable, of no known origin, or of several that only
            `layout` can distinguish.
        UsageError: no such layout, or an unsupported type of address.
        UnavailableError: a library is missing that reads such files or fetches from there.
    """
    select_layouts(layout)
    file, raw = read_raw(source, progress)
    return remap_keys(file, raw, layout)


def read_raw(source: str | Path, progress: Progress = no_progress) -> tuple[ResolvedSource, ReadResult]:
    """Find a checkpoint, download it if need be, and read its tensors under their own names.

    Raises:
        CheckpointError: not available, unreadable, or not the file that its SHA-256 names.
        UsageError: an unsupported type of address.
        UnavailableError: a library is missing that reads such files or fetches from there.
    """
    file = resolve(source, progress)
    raw = read_file(file.path)
    if file.sha256 is not None and raw.sha256 != file.sha256:
        raise CheckpointError(
            f"{file.path}: has the wrong hash: SHA-256 {raw.sha256[:16]}…, not {file.sha256[:16]}…; "
            "remove it to download it again"
        )
    return file, raw


def remap_keys(file: ResolvedSource, raw: ReadResult, layout: str = "auto") -> Checkpoint:
    """Detect a file's layout and give its tensors the network's names and axes.

    Raises:
        CheckpointError: of no known origin, or of several that only `layout` can distinguish.
        UsageError: no such layout.
    """
    chosen = _choose_network(file.path, raw, layout)
    found = _unambiguous_match(file.path, chosen)
    tensors: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in raw.tensors.items():
        canonical = found.canonical(name)
        if canonical is None:
            unknown.append(name)
        elif canonical in tensors:
            raise CheckpointError(f"{file.path}: holds {canonical} twice, the second time as {name}")
        else:
            tensors[canonical] = found.layout.to_torch(canonical, tensor)
    inside = [name for name in unknown if name.startswith(found.prefix)]
    ignored = tuple(name for name in inside if TRAINING_STATE.search(name))
    unexpected = tuple(name for name in inside if name not in ignored)
    return Checkpoint(file, raw, found, chosen, tensors, unexpected, ignored)


def _choose_network(path: Path, raw: ReadResult, layout: str) -> Candidate:
    """Return the network of the file to load.

    Raises:
        CheckpointError: the file holds no C3D of the layout, or several, none of which is the usual one.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in raw.tensors.items()}
    candidates = find_candidates(raw.contents, detect_networks(shapes, select_layouts(layout)))
    other = None if any(one.matches[0].fits for one in candidates) else identify_unsupported(shapes)
    if other is not None:
        raise CheckpointError(f"{path}: {other}")
    if not shapes:
        raise CheckpointError(f"{path}: {_without_tensors(raw.content)}")
    if not candidates:
        examples = [f"{name} {shape}" for name, shape in shapes.items()]
        wanted = "any known C3D layout" if layout == "auto" else f"the layout {layout}"
        raise CheckpointError(f"{path}: its tensors are not those of {wanted}; it has {join_limited(examples, 4)}")
    try:
        return choose(candidates)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _without_tensors(content: object) -> str:
    kind = type(content).__name__
    keys = join_limited(map(str, cast("Mapping[Any, Any]", content))) if isinstance(content, Mapping) else ""
    return f"holds a {kind}{f' with the keys {keys}' if keys else ''}, but no tensors"


def _unambiguous_match(path: Path, chosen: Candidate) -> LayoutMatch:
    """Return the one layout that matches a network.

    Raises:
        CheckpointError: several do.
    """
    first, *others = chosen.matches
    if others:
        found = (first, *others)
        reported = "; ".join(f"--layout {fit.layout.name} ({fit.layout.disambiguation})" for fit in found)
        raise CheckpointError(
            f"{path}: names and shapes fit {len(found)} origins whose numbers mean different things, so its layout "
            f"must be named: {reported}"
        )
    return first


def load_into(network: C3D, source: str | Path | Checkpoint, *, new_head: bool = False) -> CheckpointInfo:
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
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(NUM_BATCHES_TRACKED)}
    tensors = checkpoint.tensors_for(network.config)
    given = {name: value for name, value in tensors.items() if not name.endswith(NUM_BATCHES_TRACKED)}
    if new_head and any(name not in given or given[name].shape != wanted[name].shape for name in CLASSIFIER_KEYS):
        given = {name: value for name, value in given.items() if name not in CLASSIFIER_KEYS}
        reinitialized = CLASSIFIER_KEYS
    else:
        reinitialized = ()
    _check_names(checkpoint, wanted, given, reinitialized)
    _check_shapes(checkpoint, wanted, given)
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
        ignored_keys=checkpoint.ignored_keys,
        pool5=checkpoint.pool5,
        url=checkpoint.file.url,
    )


def _check_names(
    checkpoint: Checkpoint, wanted: dict[str, Tensor], given: dict[str, Tensor], reinitialized: tuple[str, ...]
) -> None:
    unexpected = [name for name in given if name not in wanted]
    if unexpected and all(name.startswith("bn") for name in unexpected):
        raise CheckpointError(
            f"{checkpoint.path}: holds BatchNorm layers ({join_limited(unexpected, 3)}) that this network has not"
        )
    unexpected += checkpoint.unexpected_keys
    if unexpected:
        raise CheckpointError(
            f"{checkpoint.path}: {len(unexpected)} tensors do not belong to C3D ({checkpoint.layout.name} layout): "
            f"{join_limited(unexpected)}"
        )
    missing = [name for name in wanted if name not in given and name not in reinitialized]
    if missing and set(missing) <= set(CLASSIFIER_KEYS):
        raise CheckpointError(
            f"{checkpoint.path}: holds no {' and no '.join(missing)}, the network's is "
            f"{tuple(wanted[missing[0]].shape)}; --new-head (new_head=True) initialises fc8 freshly"
        )
    if missing:
        hint = "; is it a checkpoint without BatchNorm?" if all(name.startswith("bn") for name in missing) else ""
        raise CheckpointError(
            f"{checkpoint.path}: {len(missing)} of {len(wanted)} tensors are missing: {join_limited(missing)}{hint}"
        )


def _check_shapes(checkpoint: Checkpoint, wanted: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    wrong = {name: tensor for name, tensor in given.items() if tensor.shape != wanted[name].shape}
    reported = [
        f"{name} is {tuple(value.shape)}, the network's is {tuple(wanted[name].shape)}" for name, value in wrong.items()
    ]
    if wrong and set(wrong) <= set(CLASSIFIER_KEYS):
        raise CheckpointError(
            f"{checkpoint.path}: {reported[0]}: another class count; leave --num-classes out to take the file's, or "
            "--new-head (new_head=True) initialises fc8 freshly"
        )
    if wrong:
        raise CheckpointError(f"{checkpoint.path}: {len(wrong)} tensors have another shape: {join_limited(reported)}")


def _to_valid_float32(checkpoint: Checkpoint, name: str, tensor: Tensor) -> Tensor:
    """Return the tensor as contiguous float32, or refuse it."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        raise CheckpointError(f"{checkpoint.path}: {name} has a shape but no values (saved from the meta device)")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in (torch.float32, *CASTABLE):
        raise CheckpointError(f"{checkpoint.path}: {name} is {dtype} ({tensor.layout}); weights must be floats")
    value = tensor.detach().to(torch.float32).contiguous()
    # A sum costs a quarter of checking each value; if it is finite, so are all values.
    if not torch.isfinite(value.sum()) and not (finite := torch.isfinite(value)).all():
        where = tuple((~finite).nonzero()[0].tolist())
        raise CheckpointError(
            f"{checkpoint.path}: {name} holds {value[where].item()} at {where}; weights must be finite"
        )
    return value
