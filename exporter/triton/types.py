"""What is asked of a Triton model repository, and what was written. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from exporter.load_checks import LoadChecks

TritonBackend = Literal["onnxruntime", "openvino", "pytorch"]
"""Triton's name of the engine that runs the model file."""
TRITON_BACKENDS: tuple[TritonBackend, ...] = get_args(TritonBackend)

InstanceKind = Literal["auto", "cpu", "gpu"]
"""Where a model's instances run; `auto` leaves it to the server: each GPU, or the CPU where there is none."""
INSTANCE_KINDS: tuple[InstanceKind, ...] = get_args(InstanceKind)

DEFAULT_MAX_BATCH = 8
DEFAULT_QUEUE_DELAY_US = 5000
"""A clip takes a hundred milliseconds on a CPU: the wait for others adds little."""


@dataclass(frozen=True)
class TritonRequest(LoadChecks):
    """Everything that decides a model in a Triton repository, and what the artifact must be (`LoadChecks`).

    Attributes:
        artifact: the model file: ONNX, TorchScript or OpenVINO.
        repository: the folder of models that the server is given; created if missing.
        name: the model's name; None for the artifact's.
        backend: the engine; None for the format's first: onnxruntime, pytorch, openvino.
        version: the version's number; None for the next one.
        max_batch: the largest batch that the server makes of requests; None for `DEFAULT_MAX_BATCH`, and for no batches
            with OpenVINO, whose backend runs every batch at the largest size.
        preferred_batches: batch sizes for which the server does not wait any longer; none leaves it to the largest.
        queue_delay_us: microseconds that a request waits for others.
        instances: copies of the model on each device.
        kind: where they run.
        threads: of each instance, on a CPU; None leaves it to the engine.
        warm_up: run a clip of zeros before the server says that it is ready.
        labels: class names, a known list's name or a file; None for the artifact's own.
        overwrite: replace another model of that name, or a version that is there.
    """

    artifact: Path
    repository: Path
    name: str | None = None
    backend: TritonBackend | None = None
    version: int | None = None
    max_batch: int | None = None
    preferred_batches: tuple[int, ...] = ()
    queue_delay_us: int = DEFAULT_QUEUE_DELAY_US
    instances: int = 1
    kind: InstanceKind = "auto"
    threads: int | None = None
    warm_up: bool = True
    labels: str | Path | tuple[str, ...] | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class TritonResult:
    """A model in a Triton repository.

    Attributes:
        folder: the model's folder.
        version: the number of the version with this artifact.
        is_new: whether that version was written; no, where it was there already with the same bytes.
        backend: the engine.
        max_batch_size: the largest batch that the server makes; 0 where it makes none.
        config: the text of config.pbtxt.
        files: what was written, in the order of writing.
        notes: what the user should know.
    """

    folder: Path
    version: int
    is_new: bool
    backend: TritonBackend
    max_batch_size: int
    config: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
