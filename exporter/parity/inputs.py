"""Making the inputs that an artifact is verified on: of networks that take video, and of any model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import UsageError, join_limited
from exporter.parity.arrays import read_npz, split_rows
from exporter.parity.frame_inputs import DrawnClip, draw_frames, read_clips
from exporter.parity.input_plan import InputPlan, make_plans, stated_shapes
from exporter.parity.input_set import InputSet
from exporter.parity.input_types import (
    DISCRETE,
    WIDE,
    covering_samples,
    generate,
    is_float,
    select_input_types,
)
from exporter.types import ParityOptions
from exporter.video.packaged import packaged_frames
from exporter.video.sampling import Sampling
from models.built_model import BuiltModel
from models.preprocessing.frames import ClipTransform, FrameTransform
from models.preprocessing.recipe import Preprocessing
from models.specs import Signature, TensorSpec


def make_network_inputs(model: BuiltModel, options: ParityOptions) -> InputSet:
    """Make a network's inputs: with real and random frames where it takes video, of random values elsewhere.

    Raises:
        UsageError, BadInputError, UnavailableError: see `make_video_inputs` and `draw_inputs`.
    """
    if model.preprocessing is not None:
        if model.without_preprocessing is not None:
            return make_frame_inputs(model.input, model.preprocessing, options)
        return make_video_inputs(model.input, model.preprocessing, options, model.mean_cube)
    plan = next(make_plans(Signature((model.input,), ()), options.inputs, batched=True))
    return draw_inputs(plan, options)


def make_video_inputs(
    spec: TensorSpec,
    preprocessing: Preprocessing,
    options: ParityOptions,
    mean_cube: NDArray[np.float32] | None = None,
) -> InputSet:
    """Make the inputs of a network that takes video: synthetic ones, real clips, the user's videos and arrays.

    `pixels` is noise of every pixel value and `video` the real clip of the package, both after `preprocessing`.

    Args:
        spec: the network's input, (batch, channel, time, height, width).
        preprocessing: what the network expects of decoded frames.
        options: seed, samples, videos, arrays, and the input types.
        mean_cube: (3, T, h, w), subtracted instead of the profile's channel means.

    Raises:
        BadInputError: a video cannot be read or is too short, or an array does not fit.
        UnavailableError: videos were given and PyAV is not installed.
        UsageError: an unknown input type, or no inputs.
    """
    random = np.random.default_rng(options.seed)
    input_types = select_input_types(options.input_types)
    shape = tuple(int(size) for size in spec.shape[1:])
    size = shape[1], shape[2], shape[3]
    drawn = [DrawnClip(*made) for made in generate(random, shape, input_types, options.samples)]
    frame_transform, clip_transform = FrameTransform(preprocessing, size[1:]), ClipTransform(preprocessing, mean_cube)
    clips: list[tuple[str, NDArray[Any]]] = []
    if "video" in input_types:
        clips.append(("video", frame_transform.batch(packaged_frames(shape[1]))))
    packaged, notes, names = len(clips), list[str](), {name for name, *_ in clips} | {one.name for one in drawn}
    sampling = Sampling(shape[1], preprocessing.frame_step, short="skip")
    clips += read_clips(options, frame_transform, sampling, names, notes.append)
    if "pixels" in input_types:
        noise = random.integers(0, 256, (shape[1], *size[1:], 3), dtype=np.uint8)
        drawn.append(DrawnClip("pixels", clip_transform(noise)))
    drawn += [
        DrawnClip(name, clip_transform(windows), np.rint(windows).astype(np.uint8), given=number >= packaged)
        for number, (name, windows) in enumerate(clips)
    ]
    return _make_input_set(drawn, spec, options, notes)


def make_frame_inputs(spec: TensorSpec, preprocessing: Preprocessing, options: ParityOptions) -> InputSet:
    """Make the inputs of a network with its preprocessing inside: frames of several sizes, see `draw_frames`.

    Args:
        spec: the network's input, (batch, time, height, width, 3), uint8.
        preprocessing: what it does with them.
        options: seed, samples, videos, arrays, and the input types.

    Raises:
        BadInputError, UnavailableError, UsageError: see `make_video_inputs`.
    """
    notes: list[str] = []
    drawn = [*draw_frames(int(spec.shape[1]), preprocessing.frame_step, options, notes.append)]
    return _make_input_set(drawn, spec, options, notes)


def _make_input_set(
    drawn: Sequence[DrawnClip], spec: TensorSpec, options: ParityOptions, notes: Sequence[str]
) -> InputSet:
    """Return an input set of these rows, and of the user's arrays."""
    inputs = InputSet(
        feeds=tuple({spec.name: np.stack([one.values])} for one in drawn),
        names=tuple(one.name for one in drawn),
        frames={row: one.frames for row, one in enumerate(drawn) if one.frames is not None},
        given=tuple(row for row, one in enumerate(drawn) if one.given),
        batch=options.batch_size,
        notes=tuple(notes),
    )
    return _add_arrays(inputs, (spec,), {spec.name: spec.shape}, options)


def draw_inputs(plan: InputPlan, options: ParityOptions) -> InputSet:
    """Draw the inputs of a model file, and add the user's arrays.

    Where sizes or values are a guess, the user's arrays are the only inputs if there are any.

    Args:
        plan: shapes and values.
        options: seed, samples, arrays, and the input types.

    Raises:
        UsageError: an unknown input type, or no inputs.
        BadInputError: an array does not fit.
    """
    if options.clips:
        raise UsageError(
            "--clip needs a network that takes RGB video; other models take their inputs as --array FILE.npz"
        )
    input_types, samples = select_input_types(options.input_types), max(options.samples, plan.samples)
    if plan.guessed and options.inputs.arrays:
        stated = stated_shapes(plan.specs, options.inputs)
        empty = InputSet((), (), batched=plan.batched, sequences=plan.sequences)
        return _add_arrays(empty, plan.specs, stated, options)
    drawn = [value for value in plan.specs if value.name not in plan.fixed]
    if not any(is_float(value.dtype) for value in drawn):
        kept = (*DISCRETE, WIDE) if plan.wide else DISCRETE
        input_types = [name for name in input_types if name in kept]
        ranges = ((plan.shapes[value.name], value.dtype, plan.values.get(value.name)) for value in drawn)
        samples = max([samples, *(covering_samples(*given) for given in ranges)])
    if options.batch_size is not None and not plan.batched:
        raise UsageError("--batch: the inputs have no batch axis in common, so they are compared one at a time")
    random = np.random.default_rng(options.seed)
    if not plan.specs:
        return InputSet(({},), ("no inputs",), batched=False)
    columns: dict[str, list[NDArray[Any]]] = {}
    names: list[str] = []
    for value in plan.specs:
        shape, within = plan.shapes[value.name], plan.values.get(value.name)
        made = generate(random, shape, input_types, samples, value.dtype, within, plan.wide.get(value.name))
        names = [name for name, _ in made]
        columns[value.name] = [plan.fixed.get(value.name, values) for _, values in made]
    feeds = tuple({name: column[row] for name, column in columns.items()} for row in range(len(names)))
    inputs = InputSet(
        feeds,
        tuple(names),
        batched=plan.batched,
        notes=plan.notes,
        sequences=plan.sequences,
        batch=options.batch_size or plan.batch,
    )
    return _add_arrays(inputs, plan.specs, plan.shapes, options)


def _add_arrays(
    inputs: InputSet, specs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int | str]], options: ParityOptions
) -> InputSet:
    """Add the rows of the user's `.npz` files; the first file decides sizes that `shapes` leaves open.

    Args:
        inputs: those that are there.
        specs: the model's inputs.
        shapes: {input: shape of a feed}, a string for any size.
        options: the files.
    """
    feeds, names = list(inputs.feeds), list(inputs.names)
    for path in options.inputs.arrays:
        rows = split_rows(path, read_npz(path, specs), specs, shapes, batched=inputs.batched)
        shapes = {name: array.shape for name, array in rows[0].items()}
        feeds += rows
        names += [path.name] if len(rows) == 1 else [f"{path.name} row {row}" for row in range(len(rows))]
    if not names:
        raise UsageError("no inputs: --inputs selects none that this model takes, and there is no --clip or --array")
    emptied = tuple(
        value.name
        for value in specs
        if not any(feed[value.name].size for feed in feeds) and not {0, "0"} & {*value.shape}
    )
    notes = inputs.notes
    if options.inputs.arrays and options.inputs.feeds:
        fed = join_limited(tuple(options.inputs.feeds), 4)
        notes += (f"--feed does not apply to the rows of --array, which hold every input ({fed} too)",)
    given = (*inputs.given, *range(len(inputs.names), len(names)))
    return replace(inputs, feeds=tuple(feeds), names=tuple(names), emptied=emptied, notes=notes, given=given)
