"""The structure of the network whose tensors a checkpoint holds, from the tensors' shapes.

Shapes state the input channels, every width and which layers exist. Of the clip's size they state one number: how many
positions of pool5's output the first linear layer reads: fc6, or fc8 in a network without fc6 and fc7. Which sizes give
that number follows from the pools (`models.pooling`), and so does pool5's convention where only one gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from models.config import BATCH_NORMS, CLIP_SHAPE, MAX_CLASSES, C3DConfig
from models.errors import CheckpointError
from models.pooling import POOL5_CONVENTIONS, Pool5, Variant, format_size, make_pools

Shapes = Mapping[str, tuple[int, ...]]

MAX_PROPOSED_SIZE = (128, 1024, 1024)
"""The most frames, rows and columns that are proposed; `--input-size` takes any."""
MAX_ASPECT = 2.0
"""The longest frames that are proposed, as sides of pool5's output."""
MAX_PROPOSED = 3
"""Sizes that a message proposes for each convention."""


@dataclass(frozen=True)
class Stated:
    """What is known of a network beside its tensors.

    Attributes:
        variant: the variant that the tensors' names or the file's metadata state.
        pool5: the convention that the file, its origin or the user states.
        input_size: (channel, time, height, width) of a clip, or (time, height, width).
    """

    variant: Variant | None = None
    pool5: Pool5 | None = None
    input_size: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Inferred:
    """The structure that follows from a checkpoint's shapes.

    Attributes:
        config: the structure.
        pool5_from_shapes: only this pool5 convention fits the shapes, and nothing states another.
        notes: what was assumed.
    """

    config: C3DConfig
    pool5_from_shapes: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Proposal:
    """Clip sizes that fit: the shortest and the longest along each axis."""

    pool5: Pool5
    ranges: tuple[range, range, range]

    @property
    def usual(self) -> tuple[int, int, int]:
        time, height, width = (
            _usual_length(lengths, published) for lengths, published in zip(self.ranges, CLIP_SHAPE[1:], strict=True)
        )
        return time, height, width


def infer_config(shapes: Shapes, stated: Stated) -> Inferred:
    """Return the structure of the network that has tensors of these shapes.

    What no shape decides is as published. Shapes that no C3D has are left for `load_into` to refuse, tensor by tensor.

    Args:
        shapes: {canonical name: shape as torch lays the tensor out}.
        stated: what is known beside them.

    Raises:
        CheckpointError: a tensor without numbers; or `input_size` does not fit, or is needed because several sizes do;
            the message proposes sizes. It does not name the file.
    """
    if empty := next((name for name, shape in shapes.items() if 0 in shape), ""):
        raise CheckpointError(f"{empty} is {shapes[empty]}: it holds no numbers")
    conv1 = shapes.get("conv1.weight", ())
    base, channels = conv1[:2] if len(conv1) == len(CLIP_SHAPE) + 1 else (C3DConfig().base_channels, CLIP_SHAPE[0])
    for name in ("fc6", "fc7", "fc8"):
        shape = shapes.get(f"{name}.weight")
        if shape is not None and len(shape) != 2:
            raise CheckpointError(f"{name}.weight is {shape}; a linear layer's weight has two axes, (outputs, inputs)")
    linear = {name: shape for name in ("fc6", "fc7", "fc8") if len(shape := shapes.get(f"{name}.weight", ())) == 2}
    batch_norm = any(f"{norm}.weight" in shapes for norm in BATCH_NORMS.values())
    variant, notes = _infer_variant(shapes, linear, stated, 8 * base, batch_norm=batch_norm)
    absent = _absent(shapes, linear, 8 * base)
    if absent and variant != "global-pool":
        reads = "pool5" if "fc6" in absent else "fc6"
        notes = (*notes, f"the checkpoint has no {' and no '.join(absent)}: fc8 reads {reads}")
    config = C3DConfig(
        num_classes=_count_classes(linear),
        batch_norm=batch_norm,
        pool5=stated.pool5 or "symmetric",
        base_channels=base,
        feature_dim=_width("fc6", linear, absent),
        fc7_dim=_width("fc7", linear, absent),
        channels=channels,
        variant=variant,
        linear_batch_norm="bn6.weight" in shapes,
    )
    return _infer_size(config, linear, stated, notes)


def _infer_variant(
    shapes: Shapes, linear: Shapes, stated: Stated, features: int, *, batch_norm: bool
) -> tuple[Variant, tuple[str, ...]]:
    """Return the variant, and what was assumed. `features`: the channels of conv5b."""
    if stated.variant is not None:
        return stated.variant, ()
    if [*linear] == ["fc8"] and linear["fc8"][1] == features:
        return "global-pool", (f"fc8 reads conv5b's {features} channels: pool5 is taken for a global average",)
    if not linear and batch_norm:
        return "global-pool", (
            "the checkpoint ends at conv5b, which does not state how pool5 pools: the global average of "
            "video-clip-order-prediction is assumed; --variant c3d takes the published network's maxima",
        )
    return "c3d", ()


def _count_classes(linear: Shapes) -> int:
    if "fc8" not in linear:
        return 0
    classes = linear["fc8"][0]
    if not 1 <= classes <= MAX_CLASSES:
        raise CheckpointError(f"fc8.weight is {linear['fc8']}: not a plausible class count")
    return classes


def _absent(shapes: Shapes, linear: Shapes, features: int) -> tuple[str, ...]:
    """Return which of fc6 and fc7 the network does not have although it has fc8.

    A layer of which the file has nothing is not the network's where fc8 reads what is left: fc6, or pool5's output.
    Otherwise it is missing from the file, for `load_into` to refuse.
    """
    present = {name.partition(".")[0] for name in shapes}
    if "fc8" not in linear or "fc7" in present:
        return ()
    reads = linear["fc8"][1]
    if "fc6" in present:
        return ("fc7",) if "fc6" in linear and linear["fc6"][0] == reads else ()
    return ("fc6", "fc7") if reads % features == 0 else ()


def _width(name: str, linear: Shapes, absent: tuple[str, ...]) -> int:
    """Return the width of fc6 or fc7; 0 where the network does not have it.

    A layer that is missing from the file has the width that the layer after it reads.
    """
    if name in linear:
        return linear[name][0]
    after = [linear[later][1] for later in ("fc7", "fc8") if later > name and later in linear]
    return after[0] if after and name not in absent else 0


def _infer_size(config: C3DConfig, linear: Shapes, stated: Stated, notes: tuple[str, ...]) -> Inferred:
    channels = config.channels
    given = stated.input_size
    if given is not None and len(given) not in (len(CLIP_SHAPE) - 1, len(CLIP_SHAPE)):
        raise CheckpointError(f"--input-size {format_size(given)}: not CxTxHxW or TxHxW")
    if given is not None and len(given) == len(CLIP_SHAPE) and given[0] != channels:
        raise CheckpointError(f"{name_size(given)}: conv1 reads {channels} channels, not {given[0]}")
    wanted = CLIP_SHAPE[1:] if given is None else given[-3:]
    features = 8 * config.base_channels
    first = "fc6" if config.feature_dim else "fc7" if config.fc7_width else "fc8"
    columns = linear[first][1] if first in linear else 0
    if config.variant == "global-pool" and columns not in (0, features):
        raise CheckpointError(
            f"{first} reads {columns} values, and a global average of {features} channels gives {features}: this is "
            "not the variant global-pool; --variant c3d takes the published pool5"
        )
    if config.variant == "global-pool" or columns == 0 or columns % features:
        sized = resize_config(config, wanted)
        if fault := sized.fault():
            raise CheckpointError(name_size(given) + f": {fault}" if given else fault)
        if given is None and (config.variant == "global-pool" or not linear):
            text = f"the weights take clips of any size: {format_size(sized.clip_shape)} is exported; --input-size"
            notes = (*notes, f"{text} chooses another")
        return Inferred(sized, notes=notes)
    conventions = (config.pool5,) if stated.pool5 or config.variant != "c3d" else POOL5_CONVENTIONS
    possible = [resize_config(config, wanted, pool5) for pool5 in conventions]
    fitting = [one for one in possible if one.fault() is None and one.linear_sizes[first][0] == columns]
    if not fitting:
        proposals = _propose_all(config.variant, conventions, columns // features)
        raise CheckpointError(_ask_for_size(config, first, columns, proposals, possible, given))
    if given is None and stated.pool5 is None and config.variant == "c3d":
        text = (
            f"{first} reads {columns} values: clips of {format_size(fitting[0].clip_shape)} are assumed, as published"
        )
        notes = (*notes, f"{text}; --input-size names another size")
    # where `valid` fits beside `right`, the map's sides are even and both are one pool
    decided = len(possible) > 1 and len({one.pool5 for one in fitting} - {"valid"}) < 2
    return Inferred(fitting[0], decided, notes)


def name_size(given: Sequence[int]) -> str:
    """Return the option as it was given, and how three numbers are read."""
    form = " (read as TxHxW; CxTxHxW names the channels, too)" if len(given) < len(CLIP_SHAPE) else ""
    return f"--input-size {format_size(given)}{form}"


def resize_config(config: C3DConfig, size: Sequence[int], pool5: Pool5 | None = None) -> C3DConfig:
    """Return the configuration for clips of another (time, height, width), and another pool5 convention if given."""
    frames, height, width = size
    return replace(config, frames=frames, height=height, width=width, pool5=pool5 or config.pool5)


def _propose_all(variant: Variant, conventions: Sequence[Pool5], positions: int) -> list[_Proposal]:
    """Return the plausible clip sizes under each convention; `valid` is left out where it equals `right`."""
    found: dict[tuple[bool, tuple[int, int, int]], _Proposal] = {}
    for pool5 in conventions:
        for proposal in _propose(variant, pool5, positions):
            found.setdefault((pool5 == "symmetric", proposal.usual), proposal)
    return [*found.values()]


def _propose(variant: Variant, pool5: Pool5, positions: int) -> list[_Proposal]:
    """Return the plausible clip sizes of which pool5 keeps so many positions: few frames, and nearly square ones."""
    found: list[tuple[float, _Proposal]] = []
    times, rows, columns = (_lengths(variant, pool5, axis, most) for axis, most in enumerate(MAX_PROPOSED_SIZE))
    for time, height in product(times, rows):
        width, rest = divmod(positions, time * height)
        if rest == 0 and width in columns and height <= width <= MAX_ASPECT * height:
            proposal = _Proposal(pool5, (times[time], rows[height], columns[width]))
            found.append((time * (width / height) ** 2, proposal))
    found.sort(key=lambda pair: pair[0])
    return [proposal for _, proposal in found[:MAX_PROPOSED]]


def _lengths(variant: Variant, pool5: Pool5, axis: int, most: int) -> dict[int, range]:
    """Return {length of pool5's output along an axis: the clip's lengths that give it}, from those up to `most`."""
    pools = [pool for pool in make_pools(variant, pool5).values() if pool is not None]
    found: dict[int, range] = {}
    for length in range(1, 2 * most):
        left = length
        for pool in pools:
            left = pool.output_length(axis, left) if left > 0 else 0
        # lengths that give the same output follow one another
        found[left] = range(found[left].start if left in found else length, length + 1)
    return {left: lengths for left, lengths in found.items() if left > 0 and lengths[0] <= most}


def _usual_length(lengths: range, published: int) -> int:
    """Return the published length where it is among `lengths`, otherwise the one that can be halved most often."""
    return published if published in lengths else max(lengths, key=lambda length: length & -length)


def _ask_for_size(
    config: C3DConfig,
    first: str,
    columns: int,
    proposals: list[_Proposal],
    refused: list[C3DConfig],
    given: tuple[int, ...] | None,
) -> str:
    def describe(proposal: _Proposal) -> str:
        usual = format_size((config.channels, *proposal.usual))
        spans = " x ".join(f"{lengths[0]}-{lengths[-1]}" for lengths in proposal.ranges)
        return f"{usual} ({spans}{f', pool5 {proposal.pool5}' * (config.variant == 'c3d')})"

    sizes = "; ".join(map(describe, proposals)) or "no usual size does"
    if given is None:
        otherwise = ""
        if first == "fc8":
            otherwise = "the file has no fc6 and no fc7. Unless they are missing from it, "
        return (
            f"{otherwise}{first} reads {columns} values of a clip, which does not state the clip's size: name it with "
            f"--input-size CxTxHxW. These fit: {sizes}"
        )
    gives = refused[0].fault() or " or ".join(
        dict.fromkeys(f"{one.linear_sizes[first][0]}" for one in refused if one.fault() is None)
    )
    reads = gives if refused[0].fault() else f"{first} would read {gives} values of a clip, but it reads {columns}"
    return f"{name_size(given)}: {reads}. These fit: {sizes}"
