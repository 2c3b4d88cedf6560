"""The inputs that an artifact is verified on.

Rows are drawn once and batches refer to them, so that the costly float64 truth is computed once for each row however
many batches it stands in.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import BadInputError, UsageError
from exporter.types import UNKNOWN_RANK, ParityOptions
from exporter.video.clips import decode, find_videos, packaged_frames, resize
from models.built_model import BuiltModel
from models.preprocessing import Preprocessing
from models.specs import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Generator = Callable[[np.random.Generator, tuple[int, ...]], Floats]

BATCH_SIZES = (2, 3)
"""The larger batches that an artifact with a free batch is run at: an even one and an odd one."""

LARGE = 1e20
"""Far above any pixel, far enough below float32's end that no layer overflows."""
DENORMAL = 1e-40
"""Below the smallest normal float32 (1.2e-38): an engine that flushes such numbers to zero must not go wrong by it."""
SPARSE = 0.01


def _random(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.standard_normal(shape, dtype=np.float32)


def _sparse(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return _random(generator, shape) * (generator.random(shape, dtype=np.float32) < SPARSE) * np.float32(100)


def _impulse(value: float) -> Generator:
    """Draw zeros but for one number, somewhere inside."""

    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        values = np.zeros(shape, np.float32)
        values[tuple(int(generator.integers(0, size)) for size in shape)] = value
        return values

    return draw


RANDOM: dict[str, Generator] = {
    "random": _random,
    "uniform": lambda generator, shape: generator.uniform(-1, 1, shape).astype(np.float32),
    "heavy-tailed": lambda generator, shape: generator.standard_t(3, shape).astype(np.float32) * np.float32(30),
    "sparse": _sparse,
    "saturated": lambda generator, shape: generator.integers(0, 2, shape).astype(np.float32) * 255,
    "impulse": _impulse(255),
    "large": lambda generator, shape: _random(generator, shape) * np.float32(LARGE),
    "denormal": lambda generator, shape: _random(generator, shape) * np.float32(DENORMAL),
    "nan": _impulse(np.nan),
}
"""Kinds that are drawn anew for each of `--samples`."""
CONSTANT: dict[str, float] = {"zeros": 0.0, "constant": 127.0}

INPUT_TYPES = (*RANDOM, *CONSTANT, "pixels", "video")
EDGE_CASES = ("large", "denormal", "nan")
"""What only full float32 can be held to."""


@dataclass(frozen=True)
class InputBatch:
    """A batch that an artifact is run on: its name, and which rows of the pool stand in it."""

    name: str
    rows: tuple[int, ...]


@dataclass
class InputSet:
    """The inputs of a verification, a row each.

    Attributes:
        feeds: {input: (M, …)}.
        names: what each row is.
        frames: {row: (16, height, width, 3) uint8 RGB} of those that are real clips.
    """

    feeds: dict[str, NDArray[Any]]
    names: tuple[str, ...]
    frames: dict[int, NDArray[np.uint8]] = field(default_factory=dict["int", "NDArray[np.uint8]"])

    def take(self, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the feeds of one batch."""
        return {name: values[list(rows)] for name, values in self.feeds.items()}

    def batches(self, batch: int | None, skip: Sequence[str] = ()) -> tuple[InputBatch, ...]:
        """Lay out the batches: each row alone, then batches of 2 and 3 different rows, whose items must not mix.

        Args:
            batch: the artifact's fixed batch size, which rows then fill in turn; None where it is free.
            skip: kinds to leave out.
        """
        rows = [row for row, name in enumerate(self.names) if name not in skip]
        if batch is not None:
            starts = range(0, len(rows), batch)
            filled = [tuple(rows[(start + i) % len(rows)] for i in range(batch)) for start in starts]
            return tuple(InputBatch(self._title(members), members) for members in filled)
        alone = [InputBatch(self.names[row], (row,)) for row in rows]
        calm = [row for row in rows if self.names[row] not in (*EDGE_CASES, *CONSTANT)]
        mixed = [tuple(calm[-size:]) for size in BATCH_SIZES if len(calm) >= size]
        return (*alone, *(InputBatch(self._title(members), members) for members in mixed))

    def _title(self, rows: Sequence[int]) -> str:
        names = list(dict.fromkeys(self.names[row] for row in rows))
        return " + ".join(names if len(names) <= max(BATCH_SIZES) else [names[0], names[1], f"{len(names) - 2} more"])


def make_network_inputs(model: BuiltModel, options: ParityOptions | None = None) -> InputSet:
    """Generate a network's inputs: with real and random frames where it takes video, of random values elsewhere.

    Raises:
        UsageError, BadInputError, UnavailableError: see `make_video_inputs` and `make_inputs`.
    """
    if model.preprocessing is not None:
        return make_video_inputs(model.input, model.preprocessing, options)
    return make_inputs(Signature((model.input,), ()), options or ParityOptions(), {})


def make_video_inputs(spec: TensorSpec, preprocessing: Preprocessing, options: ParityOptions | None = None) -> InputSet:
    """Generate the inputs of a network that takes video: random types, edge cases, real clips, the user's own.

    `pixels` is noise of every pixel value and `video` the real clip that ships with the package, both as
    `preprocessing` gives them; docs/parity.md lists the rest.

    Args:
        spec: the network's input, (batch, channel, time, height, width).
        preprocessing: what the network expects of decoded frames.
        options: seed, samples, videos, arrays, and which types are wanted.

    Raises:
        BadInputError: a video cannot be read or is too short, or an array does not fit.
        UnavailableError: videos were given and PyAV is not installed.
    """
    options = options or ParityOptions()
    generator = np.random.default_rng(options.seed)
    wanted = _wanted(options)
    shape = tuple(int(size) for size in spec.shape[1:])
    made = _synthetic(generator, shape, wanted, options.samples)
    clips: list[tuple[str, NDArray[np.uint8]]] = []
    if "video" in wanted:
        clips.append(("video", resize(packaged_frames(), preprocessing)))
    for path in (video for named in options.clips for video in find_videos(named)):
        taken = {name for name, _ in (*made, *clips)}
        clips.append((path.name if path.name not in taken else str(path), decode(path, preprocessing)))
    if "pixels" in wanted:
        width, height = preprocessing.frame_size(171, 128)
        noise = generator.integers(0, 256, (shape[1], height, width, 3), dtype=np.uint8)
        made.append(("pixels", preprocessing.clip(noise)))
    first = len(made)
    made += [(name, preprocessing.clip(frames)) for name, frames in clips]
    stacked = {spec.name: np.stack([values for _, values in made]) if made else np.zeros((0, *shape), np.float32)}
    frames = {first + number: frames for number, (_, frames) in enumerate(clips)}
    inputs = InputSet(stacked, tuple(name for name, _ in made), frames)
    return _with_arrays(inputs, (spec,), options)


def make_inputs(signature: Signature, options: ParityOptions, shapes: Mapping[str, tuple[int, ...]]) -> InputSet:
    """Draw inputs for a model of any kind, from its signature. The first axis of every input is the batch.

    Where one cannot be drawn (it is not floating-point, or its sizes are free and nobody named them), the user's
    arrays alone are the inputs.

    Args:
        signature: the model's.
        options: seed, samples, arrays.
        shapes: {input: shape with the batch} for inputs whose other sizes are free.

    Raises:
        UsageError: an input that cannot be drawn and no arrays, a shape for no input, or fixed batches that differ.
        BadInputError: an array does not fit.
    """
    if options.clips:
        raise UsageError("--clip is for C3D; other models take their inputs as --array FILE.npz")
    names = [value.name for value in signature.inputs]
    if unknown := [name for name in shapes if name not in names]:
        raise UsageError(f"--shape {unknown[0]}: no such input; there are {', '.join(names)}")
    if (
        len(sizes := {value.shape[0] for value in signature.inputs if value.shape and isinstance(value.shape[0], int)})
        > 1
    ):
        raise UsageError(f"its inputs have no batch axis in common: {signature}; sizes {sorted(sizes)} differ")
    rows: dict[str, tuple[int, ...]] = {}
    for value in signature.inputs:
        if value.name in shapes and not _fits(shapes[value.name][1:], value.shape[1:]):
            raise UsageError(f"--shape {value.name}={'x'.join(map(str, shapes[value.name]))} does not fit {value}")
        given = shapes.get(value.name, value.shape)
        reason = _undrawable(value, given)
        if reason is None:
            rows[value.name] = tuple(int(size) for size in given[1:])
        elif not options.arrays:
            raise UsageError(reason)
    wanted = _wanted(options)
    if len(rows) < len(names):
        return _with_arrays(InputSet({}, ()), signature.inputs, options)
    generator = np.random.default_rng(options.seed)
    drawn = {name: _synthetic(generator, shape, wanted, options.samples) for name, shape in rows.items()}
    kinds = tuple(kind for kind, _ in next(iter(drawn.values()), ()))
    feeds = {name: np.stack([values for _, values in made]) for name, made in drawn.items()} if kinds else {}
    return _with_arrays(InputSet(feeds, kinds), signature.inputs, options)


def _undrawable(value: TensorSpec, shape: tuple[int | str, ...]) -> str | None:
    """Return why random numbers cannot be drawn for an input, and what to do; None where they can."""
    if "float" not in value.dtype:
        return f"{value}: only floating-point inputs can be drawn; give --array FILE.npz"
    if not shape or any(isinstance(size, str) for size in shape[1:]):
        return (
            f"{value}: which sizes? --shape {value.name}=1x3x224x224, say (the first is the batch), or --array FILE.npz"
        )
    return None


def _wanted(options: ParityOptions) -> tuple[str, ...]:
    """Return the kinds asked for, all if none was.

    Raises:
        UsageError: an unknown kind.
    """
    if unknown := [kind for kind in options.input_types or () if kind not in INPUT_TYPES]:
        raise UsageError(f"--inputs {', '.join(unknown)}: no such kind; known are all, quick, {', '.join(INPUT_TYPES)}")
    return INPUT_TYPES if options.input_types is None else options.input_types


def _synthetic(
    generator: np.random.Generator, shape: tuple[int, ...], wanted: Sequence[str], samples: int
) -> list[tuple[str, Floats]]:
    kinds: list[tuple[str, Floats]] = []
    for kind in (*RANDOM, *CONSTANT):
        if kind not in wanted:
            continue
        if kind in CONSTANT:
            kinds.append((kind, np.full(shape, CONSTANT[kind], np.float32)))
        else:
            kinds += [(kind, RANDOM[kind](generator, shape)) for _ in range(samples)]
    return kinds


def _with_arrays(pool: InputSet, inputs: Sequence[TensorSpec], options: ParityOptions) -> InputSet:
    """Add the rows of the user's `.npz` files; without other rows, the first file decides the sizes that are free."""
    feeds, names = {name: [values] for name, values in pool.feeds.items()}, list(pool.names)
    for path in options.arrays:
        given = _read_arrays(path, inputs)
        count = {len(values) for values in given.values()}
        if len(count) != 1 or 0 in count:
            raise BadInputError(f"{path}: its arrays hold different numbers of rows, or none: {sorted(count)}")
        for value in inputs:
            array = given[value.name]
            shape = feeds[value.name][0].shape if value.name in feeds else value.shape
            if not _fits(array.shape[1:], shape[1:]):
                sizes = ", ".join(map(str, shape[1:]))
                raise BadInputError(f"{path}: {value.name} has shape {array.shape}; wanted (rows, {sizes})")
            feeds.setdefault(value.name, []).append(array.astype(np.float32 if "float" in value.dtype else value.dtype))
        rows = count.pop()
        names += [path.name] if rows == 1 else [f"{path.name} row {row}" for row in range(rows)]
    if not names:
        raise UsageError("no inputs: --inputs names none that this model takes, and there is no --clip or --array")
    return InputSet({name: np.concatenate(parts) for name, parts in feeds.items()}, tuple(names), pool.frames)


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    if UNKNOWN_RANK in wanted:
        return True
    same = all(size == other or isinstance(other, str) for size, other in zip(shape, wanted, strict=False))
    return len(shape) == len(wanted) and same


def _read_arrays(path: Path, inputs: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    """Return {input: rows} of an `.npz` file: by name, or the only array for the only input."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            held: dict[str, NDArray[Any]] = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise BadInputError(f"no such file: {path}") from error
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise BadInputError(f"{path}: not an .npz file of arrays{reason}") from error
    wanted = [value.name for value in inputs]
    if len(held) == len(wanted) == 1:
        held = dict(zip(wanted, held.values(), strict=True))
    if missing := [name for name in wanted if name not in held]:
        raise BadInputError(f"{path}: has no array called {', '.join(missing)}; it holds {', '.join(held) or 'none'}")
    taken = {name: held[name] for name in wanted}
    for name, values in taken.items():
        if values.ndim < 1 or values.dtype.kind not in "fiub":
            raise BadInputError(f"{path}: {name} is not an array of numbers: {values.dtype} {values.shape}")
    return taken
