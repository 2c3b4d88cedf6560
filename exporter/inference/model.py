"""A model that is opened for video: its engine, its preprocessing, its class names, and what its outputs mean."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from exporter.artifacts.files import data_files, sha256_file
from exporter.artifacts.loading import LoadedArtifact
from exporter.engines import MAX_THREADS, find_engine
from exporter.engines.base import Runtime, RuntimeOptions
from exporter.errors import ArtifactError, CheckFailedError, UsageError
from exporter.formats import load_artifact, runtime_options
from exporter.inference.clip_input import ClipInput, clip_signature, read_clip_input
from exporter.inference.outputs import choose_class_names, describe_outputs, select_outputs
from exporter.inference.predictions import ModelRecord
from exporter.inference.preprocessing import VideoPreprocessing, choose_preprocessing
from exporter.inference.turns import takes_turns
from exporter.inference.types import InferenceOptions
from exporter.onnx_io.dtypes import numpy_dtype
from exporter.parity.io_mapping import map_by_manifest
from models.specs import OutputSpec

GPU_BATCH = 8
"""Clips in one call on a device other than the CPU, unless another number is asked for. On a CPU one clip at a time is
as fast as several, and takes the least memory."""


class VideoModel:
    """A model in an engine, for clips of videos. A context manager: the engine loads the file on entry.

    Made by `open_video_model`.

    Attributes:
        path: the model file.
        outputs: what `run` returns, in order.
        class_names: a name for each class; None where they are not known.
        size: (time, height, width) of the network's clip.
        takes_frames: whether preprocessing is inside the model file: frames of any size go in.
        preprocessing: the profile, for the network's own size of frames.
        transform: what decoding does to each frame: (height, width, 3) uint8 RGB to the crop that the network sees;
            None where preprocessing is inside the model.
        to_input: returns what `run` takes for the frames of one clip, as `transform` returned them.
        batch: clips in one call.
        fixed_batch: whether the model takes no other number of clips.
        takes_turns: whether decoders rest while it runs, see `takes_turns`.
        notes: what the user should know about how it runs.
        checkpoint: what the file was exported from for this run, as the user named it; None for a model file.
    """

    checkpoint: str | None = None

    def __init__(
        self,
        artifact: LoadedArtifact,
        options: InferenceOptions,
        clip_input: ClipInput,
        preprocessing: VideoPreprocessing,
        outputs: tuple[OutputSpec, ...],
        class_names: tuple[str, ...] | None,
    ) -> None:
        self.path, self.outputs, self.class_names = artifact.path, outputs, class_names
        self.fixed_batch = clip_input.batch is not None
        self.notes = (*artifact.notes, *preprocessing.notes)
        self.size, self.takes_frames = clip_input.size, clip_input.takes_frames
        self.preprocessing = preprocessing.profile
        self.transform, self.to_input = preprocessing.transform, preprocessing.to_clip
        self._artifact, self._input = artifact, clip_input
        self._engine = find_engine(artifact.format, options.engine)
        device = self._engine.choose_device(options.device)
        self.batch = clip_input.batch or options.batch or (1 if device == "cpu" else GPU_BATCH)
        self.takes_turns = takes_turns(device, options.threads)
        runtime = replace(
            runtime_options(artifact, device),
            threads=options.threads,
            input_shapes=self._fixed_shapes(),
            rest_between_runs=self.takes_turns,
        )
        self._runtime: Runtime = self._engine.open(artifact.path, runtime)

    def _fixed_shapes(self) -> dict[str, tuple[int, ...]] | None:
        """Return the shape that an engine may compile for: a full batch; None where frames of any size go in."""
        if self.takes_frames:
            return None
        spec = self._input.spec
        lead = (self.batch, 1) if self._input.singleton else (self.batch,)
        return {spec.name: (*lead, 3, *self.size)}

    @property
    def runtime_options(self) -> RuntimeOptions:
        """How the engine is opened."""
        return self._runtime.options

    @property
    def files(self) -> tuple[Path, ...]:
        """The model file, and those of its folder that hold weights of it.

        Raises:
            ArtifactError: it cannot be read.
        """
        return (self.path, *data_files(self.path, self._artifact.format))

    def at(self, path: Path) -> VideoModel:
        """Return the same model, not loaded, whose files were copied elsewhere; before it is entered it can be pickled.

        Args:
            path: the copied model file, with its other files beside it.
        """
        moved = copy(self)
        moved.path, moved._artifact = path, replace(self._artifact, path=path, states=())
        moved._runtime = self._engine.open(path, replace(self._runtime.options, states=()))
        return moved

    def run(self, clips: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return {output: (len(clips), …)}.

        Args:
            clips: what `to_input` returns, of one shape; at most `batch` where the batch size is fixed. A smaller batch
                is then filled up with copies of the last clip, whose outputs are dropped.

        Raises:
            CheckFailedError: the model fails, or does not return a row for each clip.
        """
        count = len(clips)
        padding = [clips[-1]] * (self.batch - count if self.fixed_batch else 0)
        spec = self._input.spec
        dtype = numpy_dtype(spec.dtype)
        values = clips[0][np.newaxis] if len(clips) + len(padding) == 1 else np.stack([*clips, *padding])
        values = np.ascontiguousarray(values).astype(dtype, copy=False)
        if self._input.singleton:
            values = values[:, np.newaxis]
        returned = self._runtime.run({spec.name: values})
        outputs = {output.name: returned[output.name] for output in self.outputs}
        for name, rows in outputs.items():
            if not np.ndim(rows) or len(rows) != count + len(padding):
                raise CheckFailedError(
                    f"{self.path}: {name} has the shape {np.shape(rows)} for {count + len(padding)} clips; an output "
                    "with a row for each clip is needed"
                )
        return {name: rows[:count] for name, rows in outputs.items()}

    def record(self) -> ModelRecord:
        """Return the model as results record it."""
        manifest = self._artifact.manifest
        listed = manifest.files if manifest is not None else ()  # loading compared the file with it
        return ModelRecord(
            path=str(self.path),
            sha256=next((file.sha256 for file in listed if file.path == self.path.name), "") or sha256_file(self.path),
            engine=self._runtime.description,
            network=manifest.network.description if manifest is not None else "",
            clip=self.size,
            preprocessing=self.preprocessing.name,
            preprocessing_inside=self.takes_frames,
            recipe=self.preprocessing.describe(*self.size[1:]),
            mean=self.preprocessing.mean_cube and self.preprocessing.mean_cube.sha256,
            checkpoint=self.checkpoint,
        )

    def __enter__(self) -> Self:
        """Load the model.

        Raises:
            UnavailableError: the device or the engine is not there.
            ArtifactError: the engine rejects the file, or it is not what its manifest says.
        """
        self._engine.require_device(self._runtime.options.device)
        self._runtime.load()
        try:
            self._check()
        except BaseException:
            self._runtime.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the model; after work without an error, its files must still be those that were hashed.

        Raises:
            IntegrityError: a file was replaced or written to.
        """
        self._runtime.close()
        if kind is None:
            self._artifact.require_unchanged()

    def _check(self) -> None:
        """Compare the loaded model with its manifest, and note where it runs."""
        if self._artifact.manifest is not None:
            map_by_manifest(self.path, self._runtime.signature, self._artifact.manifest.signature)
        elif node := self._runtime.random_node:
            raise ArtifactError(
                f"{self.path}: draws random numbers at {node}, so every run would give other numbers; export it in "
                "inference mode (model.eval())"
            )
        placement = self._runtime.placement
        if placement.fallback_nodes:
            self.notes += (
                f"{len(placement.fallback_nodes)} of {placement.nodes} nodes run on the CPU, not on {placement.device}",
            )


def open_video_model(path: str | Path, options: InferenceOptions | None = None) -> VideoModel:
    """Return a model file for clips of videos; nothing is loaded before it is entered.

    Args:
        path: an artifact of any format, with or without preprocessing inside, or another tool's ONNX file of a network
            that takes clips (batch, 3, time, height, width).
        options: engine, device, preprocessing, class names, outputs.

    Raises:
        ArtifactError: it cannot be read, or takes something else than clips.
        IntegrityError: it is not the file that its manifest describes.
        UsageError: the preprocessing is not known and `options` names none, the number of class names is not that of
            the classes, or options that the model does not allow.
        BadInputError: a file that `options` name is bad.
    """
    options = options or InferenceOptions()
    artifact = load_artifact(Path(path), options)
    _check_options(options)
    clip_input = read_clip_input(artifact.path, clip_signature(artifact), artifact.manifest)
    if clip_input.batch is not None and options.batch not in (None, clip_input.batch):
        raise UsageError(f"--batch {options.batch}: {artifact.path.name} takes {clip_input.batch} clips in one call")
    signature = clip_signature(artifact)
    outputs = select_outputs(describe_outputs(artifact, signature), options.outputs, artifact)
    return VideoModel(
        artifact,
        options,
        clip_input,
        choose_preprocessing(artifact, clip_input, options),
        outputs,
        choose_class_names(artifact, outputs, options),
    )


def _check_options(options: InferenceOptions) -> None:
    if options.batch is not None and options.batch < 1:
        raise UsageError(f"--batch must be at least 1 (got {options.batch})")
    if options.threads is not None and not 1 <= options.threads <= MAX_THREADS:
        raise UsageError(f"--threads must be between 1 and {MAX_THREADS:,} (got {options.threads:,})")
