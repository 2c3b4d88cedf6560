"""A file of any origin becomes a `Checkpoint`: one network under canonical names, every other tensor accounted for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from models.checkpoints.biases import zero_biases
from models.checkpoints.contents import unwrap
from models.checkpoints.detection import LayoutMatch, select_layouts
from models.checkpoints.extra_tensors import (
    ExtraTensors,
    below,
    check_norms,
    classify_extra_tensors,
    describe_kernels,
    is_ignored,
)
from models.checkpoints.key_map import parse_key_map
from models.checkpoints.last_linear import describe_last
from models.checkpoints.layout import Layout
from models.checkpoints.networks import name_layers
from models.checkpoints.pickled_modules import find_pool5
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.reading import find_network, read_raw
from models.checkpoints.selection import Candidate, list_options
from models.checkpoints.sources import ResolvedSource
from models.checkpoints.unbuilt import check_unbuilt_layers
from models.class_names import get_class_names
from models.config import CLASSIFIER_KEYS, C3DConfig, InputSize
from models.errors import CheckpointError, UsageError, join_limited, naming
from models.options import WeightSelection
from models.pooling import Pool5, Variant
from models.preprocessing.profiles import UNKNOWN
from models.preprocessing.recipe import Preprocessing
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_SELECTION = WeightSelection()
BY_POSITION = "its weights were taken by position, the order of the layers in the graph: their names are not known"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose layout is known, not yet loaded into a network.

    Attributes:
        file: where it is, and where it came from.
        raw: its tensors under its own names, its container and hash.
        found: the layout that was detected, and the prefix of its names in this file.
        chosen: the network of the file that it is.
        others: the file's other networks.
        tensors: {canonical name: tensor as torch lays it out}; the first linear layer reads pool5 in the order of the
            file.
        extra: what else the file holds, and why it is left out.
        selection: which of the file's tensors these are, so that they are found again.
        named_layout: whether the user named the layout.
        assumed: what was assumed of the tensors, a sentence each.
    """

    file: ResolvedSource
    raw: ReadResult
    found: LayoutMatch
    chosen: Candidate
    others: tuple[Candidate, ...]
    tensors: dict[str, Tensor]
    extra: ExtraTensors
    selection: WeightSelection
    named_layout: bool = False
    assumed: tuple[str, ...] = ()

    def check_patterns(self) -> None:
        """Raise a UsageError for a pattern of `--ignore` that leaves nothing out."""
        key, extra = self.chosen.key, self.extra
        for pattern in self.selection.ignore:
            not_built = any(is_ignored(name, key, (pattern,)) for name in self.raw.contents.unbuilt)
            if not not_built and not any(fnmatchcase(name, unwrap(pattern)) for name in extra.ignored):
                raise UsageError(
                    f"{self.path}: --ignore {pattern}: only the network's own tensors have such names, or none"
                )

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
        """The pool5 convention of its weights: as the file states it, otherwise as a proven layout does."""
        proven = self.named_layout or self._is_proven
        return self.stated_pool5 or (self.layout.pool5 if proven else None)

    @property
    def stated_pool5(self) -> Pool5 | None:
        """The pool5 convention that the file itself states, in metadata, a graph or a pickled module."""
        return self.raw.conventions.pool5 or find_pool5(self.raw.content, self.found.prefix)

    @property
    def preprocessing(self) -> Preprocessing:
        """The profile that its weights expect: as the file states it, otherwise as a proven layout does."""
        return self.raw.conventions.preprocessing or (self.layout.preprocessing if self._is_proven else UNKNOWN)

    @property
    def class_list(self) -> str | None:
        """The known list (`models.class_names`) of a proven layout's classes; None where the order is not certain."""
        return self.layout.class_lists.get(self.num_classes) if self._is_proven else None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """A name for each class: as the file states them, otherwise as a proven layout does.

        Raises:
            CheckpointError: the file states another number of names than its fc8 has outputs.
        """
        if (stated := self.raw.conventions.class_names) is None:
            return get_class_names(self.class_list) if self.class_list else None
        if self.num_classes not in (0, len(stated)):
            raise CheckpointError(
                f"{self.path}: states {len(stated)} class names; its fc8 has {self.num_classes} outputs"
            )
        return stated if self.num_classes else None

    @property
    def _is_proven(self) -> bool:
        """Whether names, container, class count and content prove the layout; the user's word replaces all but one.

        The class count still has to be one that the origin published, so that fine-tuned weights claim nothing.
        """
        layout = replace(self.layout, containers=(), written_by=None) if self.named_layout else self.layout
        return layout.is_proven(self.raw.container, self.num_classes, self.raw.content)

    @property
    def states_conventions(self) -> bool:
        """Whether the file itself states what its names do not: this project wrote it, or it holds a graph."""
        return self.raw.conventions.pool5 is not None or self.raw.conventions.preprocessing is not None

    @property
    def variant(self) -> Variant | None:
        """The variant: as the file states it, otherwise as its names do; None where neither does."""
        return self.raw.conventions.variant or self.layout.variant

    @property
    def input_size(self) -> InputSize | None:
        """(channel, time, height, width) of a clip, where the file states it."""
        return self.raw.conventions.input_size

    @property
    def num_classes(self) -> int:
        """fc8's outputs in the file; 0 where it has no fc8."""
        weight = self.tensors.get(CLASSIFIER_KEYS[0])
        return 0 if weight is None or weight.dim() == 0 else int(weight.shape[0])

    def tensors_for(self, config: C3DConfig) -> dict[str, Tensor]:
        """Return `tensors` as a network of this structure takes them: its first linear layer in torch's order."""
        first = f"{next(iter(config.linear_sizes), '')}.weight"  # fc6, or fc8 where that reads pool5
        if first not in self.tensors or self.tensors[first].dim() != 2:
            return self.tensors
        return self.tensors | {first: self.layout.order_fc6(self.tensors[first], config.pool5_shape)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found where, what was assumed, and what was left out."""
        found: list[str] = []
        if self.others:
            every = (self.chosen, *self.others)
            found.append(
                f"the file holds {len(every)} networks; this is the one {self.chosen.place}, another is taken by "
                f"{list_options(self.others, every)}"
            )
        elif self.chosen.key or self.chosen.prefix:
            found.append(f"its tensors are {self.chosen.place}")
        if self.layout.written_by is not None and not self.named_layout:
            what = "pool5, preprocessing and order of classes"
            found.append(
                f"what is beside the weights shows this origin: its {what} are taken; --layout identity takes none"
            )
        heads = [name for name, canonical in self.found.mapped.items() if canonical == CLASSIFIER_KEYS[0]]
        if self.selection.key_map:
            mapped = [f"{name} is {canonical}" for name, canonical in self.found.mapped.items()]
            found.append(f"by --key-map: {join_limited(mapped, 4)}")
        elif heads:
            found.append(f"{heads[0].removeprefix(self.found.prefix)} is taken for {CLASSIFIER_KEYS[0]}")
        if any(name.startswith("bn") for name in self.tensors) and not self.states_conventions:
            found.append("BatchNorm's epsilon is not in the file: 1e-5, PyTorch's default, is taken")
        return (*found, *self.assumed, *self.extra.notes())


def read_checkpoint(
    source: str | Path,
    layout: str = "auto",
    progress: Progress = no_progress,
    selection: WeightSelection = DEFAULT_SELECTION,
    sha256: str | None = None,
) -> Checkpoint:
    """Read a checkpoint and name its tensors canonically.

    Args:
        source: a file, `https://…[#sha256=…]` or `hf://owner/repo/file[@revision]`.
        layout: an origin's name, or `auto` to detect it.
        progress: called while something is downloaded.
        selection: which of its tensors are the network's.
        sha256: the hash that the file must have.

    Raises:
        CheckpointError: not available, unreadable, of another hash, of no known origin, of several that only `layout`
            can distinguish, or several networks of which none is the usual one.
        UsageError: no such layout, key, prefix or name in it, or an unsupported type of address.
        UnavailableError: a library is missing that reads such files or fetches from there.
    """
    select_layouts(layout)
    parse_key_map(selection.key_map)
    file, raw = read_raw(source, progress, sha256)
    with naming(file.path):
        checkpoint = remap_keys(file, raw, layout, selection)
    checkpoint.check_patterns()
    return checkpoint


def remap_keys(
    file: ResolvedSource, raw: ReadResult, layout: str = "auto", selection: WeightSelection = DEFAULT_SELECTION
) -> Checkpoint:
    """Detect a file's layout and give its tensors the network's names and axes.

    Raises:
        CheckpointError: of no known origin, of several that only `layout` can distinguish, or several networks of
            which none is the usual one.
        UsageError: no such layout, key or prefix, or a key map of names that the file has not.
    """
    raw = name_layers(raw, layout, parse_key_map(selection.key_map))
    candidates, chosen, found = find_network(raw, layout, selection)
    from models.checkpoints.tensors import load_tensor, make_zeros  # torch: all that can be refused before, was

    tensors: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in raw.tensors.items():
        canonical = found.canonical(name)
        if canonical is None:
            unknown.append(name)
        elif canonical in tensors:
            raise CheckpointError(f"holds {canonical} twice, the second time as {name}")
        else:
            tensors[canonical] = found.layout.to_torch(canonical, load_tensor(tensor))
    others = tuple(one for one in candidates if one is not chosen)
    extra = classify_extra_tensors(unknown, found, chosen, others, selection.ignore)
    check_unbuilt_layers(raw, found.prefix, lambda name: is_ignored(name, chosen.key, selection.ignore))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_norms(extra, chosen.key, raw.shapes, shapes)
    last = describe_last(found, shapes, raw.tensors)
    outside = {own: shape for name, shape in raw.shapes.items() if (own := below(chosen.key, name)) in extra.outside}
    biases, notes = zero_biases(shapes, outside)
    tensors |= {name: make_zeros(length) for name, length in biases.items()}
    notes = (*(BY_POSITION,) * raw.is_by_position, *last, *notes, *describe_kernels(outside, shapes))
    effective = replace(selection, key=chosen.key, prefix=chosen.prefix)
    return Checkpoint(file, raw, found, chosen, others, tensors, extra, effective, layout != "auto", notes)
