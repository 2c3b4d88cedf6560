"""The inputs that an artifact is verified on.

Rows are made once and batches refer to them, so the float64 reference of a row is computed once however many batches
contain it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import UsageError
from exporter.parity.arrays import read_rows, shape_fits
from exporter.parity.input_types import CONSTANT, EDGE_CASES, generate, select_input_types
from exporter.types import ParityOptions
from exporter.video.clips import PACKAGED_SIZE, decode, find_videos, packaged_frames, resize
from models.built_model import BuiltModel
from models.preprocessing import Preprocessing
from models.specs import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_SIZES = (2, 3)
"""The larger batches for an artifact with a dynamic batch: an even size and an odd one."""


@dataclass(frozen=True)
class InputBatch:
    """A batch that an artifact is run on: its name, and the rows of the input set that it consists of."""

    name: str
    rows: tuple[int, ...]


@dataclass
class InputSet:
    """The inputs of a verification, one row each.

    Attributes:
        feeds: {input: (rows, …)}, float32 or the input's integer dtype.
        names: the name of each row.
        frames: {row: (time, height, width, 3) uint8 RGB} for the rows that are real clips.
    """

    feeds: dict[str, NDArray[Any]]
    names: tuple[str, ...]
    frames: dict[int, NDArray[np.uint8]] = field(default_factory=dict["int", "NDArray[np.uint8]"])

    def select(self, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the feeds of some rows, {input: (len(rows), …)}."""
        return {name: values[list(rows)] for name, values in self.feeds.items()}

    def regular(self, rows: Sequence[int]) -> bool:
        """Return whether none of the rows is an edge case."""
        return not {self.names[row] for row in rows} & {*EDGE_CASES}

    def batches(self, batch: int | None, skip: Sequence[str] = ()) -> tuple[InputBatch, ...]:
        """Return the batches: every row on its own, then 2 and 3 different rows, whose items must not interact.

        Args:
            batch: the artifact's fixed batch size, which the rows then fill in order; None where it is dynamic.
            skip: input types to leave out.
        """
        rows = [row for row, name in enumerate(self.names) if name not in skip]
        if batch is not None:
            starts = range(0, len(rows), batch)
            groups = [tuple(rows[(start + i) % len(rows)] for i in range(batch)) for start in starts]
        else:
            varied = [row for row in rows if self.names[row] not in (*EDGE_CASES, *CONSTANT)]
            mixed = [tuple(varied[-size:]) for size in BATCH_SIZES if len(varied) >= size]
            groups = [*((row,) for row in rows), *mixed]
        return tuple(InputBatch(self._batch_name(group), group) for group in groups)

    def _batch_name(self, rows: Sequence[int]) -> str:
        names = list(dict.fromkeys(self.names[row] for row in rows))
        return " + ".join(names if len(names) <= max(BATCH_SIZES) else [names[0], names[1], f"{len(names) - 2} more"])


def make_network_inputs(model: BuiltModel, options: ParityOptions | None = None) -> InputSet:
    """Make a network's inputs: with real and random frames where it takes video, of random values elsewhere.

    Raises:
        UsageError, BadInputError, UnavailableError: see `make_video_inputs` and `make_inputs`.
    """
    if model.preprocessing is not None:
        return make_video_inputs(model.input, model.preprocessing, options)
    return make_inputs(Signature((model.input,), ()), options or ParityOptions(), {})


def make_video_inputs(spec: TensorSpec, preprocessing: Preprocessing, options: ParityOptions | None = None) -> InputSet:
    """Make the inputs of a network that takes video: synthetic ones, real clips, the user's videos and arrays.

    `pixels` is noise of every pixel value and `video` the real clip of the package, both after `preprocessing`.

    Args:
        spec: the network's input, (batch, channel, time, height, width).
        preprocessing: what the network expects of decoded frames.
        options: seed, samples, videos, arrays, and the input types.

    Raises:
        BadInputError: a video cannot be read or is too short, or an array does not fit.
        UnavailableError: videos were given and PyAV is not installed.
        UsageError: an unknown input type, or no inputs.
    """
    options = options or ParityOptions()
    random = np.random.default_rng(options.seed)
    input_types = select_input_types(options.input_types)
    shape = tuple(int(size) for size in spec.shape[1:])
    made = generate(random, shape, input_types, options.samples)
    clips: list[tuple[str, NDArray[np.uint8]]] = []
    if "video" in input_types:
        clips.append(("video", resize(packaged_frames(), preprocessing)))
    for path in (video for named in options.clips for video in find_videos(named)):
        taken = {name for name, _ in (*made, *clips)}
        clips.append((path.name if path.name not in taken else str(path), decode(path, preprocessing)))
    if "pixels" in input_types:
        width, height = preprocessing.frame_size(*PACKAGED_SIZE)
        noise = random.integers(0, 256, (shape[1], height, width, 3), dtype=np.uint8)
        made.append(("pixels", preprocessing(noise)))
    frames = {len(made) + number: frames for number, (_, frames) in enumerate(clips)}
    made += [(name, preprocessing(frames)) for name, frames in clips]
    feeds = {spec.name: np.stack([values for _, values in made])} if made else {}
    return _add_arrays(InputSet(feeds, tuple(name for name, _ in made), frames), (spec,), options)


def make_inputs(signature: Signature, options: ParityOptions, shapes: Mapping[str, tuple[int, ...]]) -> InputSet:
    """Make random inputs for any model from its signature. The first axis of every input is the batch.

    Where one input cannot be generated (it is not floating-point, or its sizes are dynamic and not given), the user's
    arrays are the only inputs.

    Args:
        signature: the model's signature.
        options: seed, samples, arrays, and the input types.
        shapes: {input: shape with the batch} for inputs with other dynamic sizes.

    Raises:
        UsageError: an input that cannot be generated and no arrays, a shape for no input, fixed batch sizes that
            differ, or an unknown input type.
        BadInputError: an array does not fit.
    """
    if options.clips:
        raise UsageError("--clip needs a network that takes video; other models take their inputs as --array FILE.npz")
    names = [value.name for value in signature.inputs]
    if unknown := [name for name in shapes if name not in names]:
        raise UsageError(f"--shape {unknown[0]}: no such input; there are {', '.join(names)}")
    sizes = {value.shape[0] for value in signature.inputs if value.shape and isinstance(value.shape[0], int)}
    if len(sizes) > 1:
        raise UsageError(f"its inputs have no batch axis in common: {signature}; sizes {sorted(sizes)} differ")
    items: dict[str, tuple[int, ...]] = {}
    for value in signature.inputs:
        if value.name in shapes and not shape_fits(shapes[value.name][1:], value.shape[1:]):
            raise UsageError(f"--shape {value.name}={'x'.join(map(str, shapes[value.name]))} does not fit {value}")
        shape = shapes.get(value.name, value.shape)
        reason = _not_generated_reason(value, shape)
        if reason is None:
            items[value.name] = tuple(int(size) for size in shape[1:])
        elif not options.arrays:
            raise UsageError(reason)
    input_types = select_input_types(options.input_types)
    if len(items) < len(names):
        return _add_arrays(InputSet({}, ()), signature.inputs, options)
    random = np.random.default_rng(options.seed)
    made = {name: generate(random, shape, input_types, options.samples) for name, shape in items.items()}
    row_names = tuple(name for name, _ in next(iter(made.values()), ()))
    feeds = {name: np.stack([values for _, values in rows]) for name, rows in made.items()} if row_names else {}
    return _add_arrays(InputSet(feeds, row_names), signature.inputs, options)


def _not_generated_reason(value: TensorSpec, shape: tuple[int | str, ...]) -> str | None:
    """Return why random numbers cannot be generated for an input, and what to do; None where they can."""
    if "float" not in value.dtype:
        return f"{value}: random values are made for floating-point inputs only; give --array FILE.npz"
    if not shape or any(isinstance(size, str) for size in shape[1:]):
        return (
            f"{value}: its sizes are dynamic; give them as --shape {value.name}=1x3x224x224, say (the first is the "
            "batch), or inputs as --array FILE.npz"
        )
    return None


def _add_arrays(inputs: InputSet, specs: Sequence[TensorSpec], options: ParityOptions) -> InputSet:
    """Add the rows of the user's `.npz` files; without other rows, the first file decides the dynamic sizes."""
    feeds, names = {name: [values] for name, values in inputs.feeds.items()}, list(inputs.names)
    for path in options.arrays:
        rows = read_rows(path, specs, {name: parts[0].shape for name, parts in feeds.items()})
        for name, values in rows.items():
            feeds.setdefault(name, []).append(values)
        count = len(next(iter(rows.values())))
        names += [path.name] if count == 1 else [f"{path.name} row {row}" for row in range(count)]
    if not names:
        raise UsageError("no inputs: --inputs selects none that this model takes, and there is no --clip or --array")
    return InputSet({name: np.concatenate(parts) for name, parts in feeds.items()}, tuple(names), inputs.frames)
