"""The tensors of a file that are not the network's: each is left out for a reason that is reported, or refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

from models.checkpoints.contents import unwrap
from models.checkpoints.detection import LayoutMatch
from models.checkpoints.layout import Shapes
from models.checkpoints.selection import OPTIMIZER, Candidate
from models.errors import CheckpointError, count, join_limited

NUM_BATCHES_TRACKED = "num_batches_tracked"
"""BatchNorm's training counter: in eval mode nothing reads it, so a file may have it or not."""

COUNTERS = re.compile(
    rf"(^|[./])({NUM_BATCHES_TRACKED}|global_step|iterations?|(train_)?step|epoch|beta[12]_power)(:0)?$"
)
"""Names of counters."""

OPTIMIZER_SLOT = re.compile(r"(^|/)updater/|/(Adam(_1)?|Momentum|RMSProp(_1)?|Adagrad)$")
"""Names of an optimizer's tensors in chainer and TensorFlow 1."""

TRAINING_STATE = (
    "n_averaged",  # torch.optim.swa_utils.AveragedModel
    "num_updates",  # EMA helpers
    "decay",
    "criterion.*",
    "loss.*",
    "loss_fn.*",
    "metric*",
    "*_metric.*",
    "*_metrics.*",
    "train_acc*",
    "val_acc*",
    "test_acc*",
    "queue",  # MoCo
    "queue_ptr",
    "*.queue",
    "*.queue_ptr",
)
"""Patterns of what training keeps beside a network in the same dict, and inference does not need."""


@dataclass(frozen=True)
class ExtraTensors:
    """What a file holds beside the network's tensors, each tensor once.

    Attributes:
        unexpected: tensors under the network's prefix that no table knows: an error.
        training: training counters, reported by name.
        optimizer: number of the optimizer's tensors.
        outside: training state, tensors outside the prefix, and the origin's further parts.
        ignored: tensors that `--ignore` left out.
    """

    unexpected: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    optimizer: int = 0
    outside: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def notes(self) -> tuple[str, ...]:
        """Return what was left out, one sentence for each kind."""
        found: list[str] = []
        if self.training:
            them = "it" if len(self.training) == 1 else "them"
            found.append(f"left out, because only training needs {them}: {join_limited(self.training, 3)}")
        if self.optimizer:
            found.append(f"left out: {count(self.optimizer, 'tensor')} of the optimizer")
        if self.outside:
            found.append(f"left out: {count(len(self.outside), 'other tensor')}, {join_limited(self.outside, 3)}")
        if self.ignored:
            found.append(f"left out by --ignore: {count(len(self.ignored), 'tensor')}, {join_limited(self.ignored, 3)}")
        return tuple(found)


def classify_extra_tensors(
    names: Iterable[str], match: LayoutMatch, chosen: Candidate, others: Sequence[Candidate], ignore: Sequence[str]
) -> ExtraTensors:
    """Return why each tensor that the layout does not know is left out, or that it must not be.

    Args:
        names: paths of the file's tensors that are not the network's.
        match: the layout and the prefix.
        chosen: the network that is loaded.
        others: the other networks of the file.
        ignore: patterns of `--ignore`, for names below the key.
    """
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_kind(name, match, chosen, others, ignore), []).append(below(chosen.key, name))
    shown = {kind: tuple(found) for kind, found in kinds.items()}
    return ExtraTensors(
        shown.get("unexpected", ()),
        shown.get("training", ()),
        len(shown.get("optimizer", ())),
        shown.get("outside", ()),
        shown.get("ignored", ()),
    )


def check_norms(extra: ExtraTensors, key: str, every: Shapes, tensors: Shapes) -> None:
    """Refuse to leave out BatchNorm layers that are the convolutions', in a list beside them.

    Args:
        extra: what is left out.
        key: the network's key.
        every: {path: shape} of the file.
        tensors: {canonical name: shape} of the network.

    Raises:
        CheckpointError: the network has no BatchNorm, and as many as it has convolutions, of their widths, are beside
            it.
    """
    widths = sorted(shape[0] for name, shape in tensors.items() if name.startswith("conv") and len(shape) > 1)
    names = [name for name in extra.outside if name.endswith("running_mean")]
    found = {below(key, name): shape for name, shape in every.items()}
    sizes = sorted(prod(found[name]) for name in names)
    if names and sizes == widths and not any(name.startswith("bn") for name in tensors):
        norms = join_limited((name.rpartition(".")[0] for name in names), 3)
        raise CheckpointError(
            f"BatchNorm layers beside the convolutions have their widths: {norms}. --key-map OLD=bn1 (bn2, "
            "bn3a, …) for each takes them, if each follows its convolution"
        )


def describe_kernels(left_out: Shapes, tensors: Shapes) -> tuple[str, ...]:
    """Return a note on kernels outside the network that have the shape of one of its convolutions; () if none have.

    Args:
        left_out: {the file's name: shape} outside the network.
        tensors: {canonical name: shape} of the network.
    """
    own = {shape for name, shape in tensors.items() if name.startswith("conv") and len(shape) == 5}
    alike = [name for name, shape in left_out.items() if shape in own]
    if not alike:
        return ()
    what = "has the shape" if len(alike) == 1 else "have the shapes"
    return (
        f"{join_limited(alike, 3)} {what} of C3D's kernels, left out: if one belongs between C3D's layers, this is "
        "another network",
    )


def is_ignored(name: str, key: str, patterns: Iterable[str]) -> bool:
    """Return whether a pattern of `--ignore`, which is for names below the key, matches a tensor's path."""
    return any(fnmatchcase(below(key, name), unwrap(pattern)) for pattern in patterns)


def _kind(name: str, match: LayoutMatch, chosen: Candidate, others: Sequence[Candidate], ignore: Sequence[str]) -> str:
    if is_ignored(name, chosen.key, ignore):
        return "ignored"
    if OPTIMIZER.search(name) or OPTIMIZER_SLOT.search(name):
        return "optimizer"
    if any(_belongs(name, one.matches[0], match) for one in others):
        return "networks"
    if COUNTERS.search(name):
        return "training"
    inside = name.startswith(match.prefix)
    own = name.removeprefix(match.prefix)
    if not inside or any(fnmatchcase(own, pattern) for pattern in (*TRAINING_STATE, *match.layout.extras)):
        return "outside"
    return "unexpected"


def _belongs(name: str, other: LayoutMatch, match: LayoutMatch) -> bool:
    """Return whether a tensor is another network's: one of its tensors, or under a prefix that is its alone."""
    under = name.startswith(other.prefix) and not match.prefix.startswith(other.prefix)
    return under or other.canonical(name) is not None


def below(key: str, name: str) -> str:
    """Return a path below the key, as the dict calls the tensor."""
    return name.removeprefix(f"{key}.") if key else name
