"""One model in one engine, and its answers to every batch."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.engines import Runtime, RuntimeOptions
from exporter.errors import ArtifactError
from exporter.parity.inputs import EDGE_CASES, InputBatch, InputSet
from exporter.results import Placement, Precision
from exporter.timing import timed
from models.progress import Progress, no_progress
from models.specs import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL_PRECISION: tuple[Precision, ...] = ("float32", "float64")
"""What edge cases are asked of."""


@dataclass(frozen=True)
class IOMapping:
    """How a model's inputs and outputs correspond to the pool's and the truth's.

    Attributes:
        inputs: {the pool's name: the model's input}.
        outputs: {the model's name: the truth's}.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class RunSpec:
    """A model to be asked.

    Attributes:
        path: the model file, or what stands for it in messages.
        open: settings -> runtime.
        settings: device, signature and form.
        match: the loaded model's signature -> its ports; raises ArtifactError where there are none.
        skips: kinds of inputs that its engine is not judged on.
    """

    path: Path
    open: Callable[[RuntimeOptions], Runtime]
    settings: RuntimeOptions
    match: Callable[[Signature], IOMapping]
    unsupported_inputs: tuple[str, ...] = ()


def make_feeds(ports: IOMapping, pool: InputSet, rows: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Return some rows under the model's own names, in its dtypes; what float16 cannot hold becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            ports.inputs[name].name: _cast_input(values, ports.inputs[name]) for name, values in pool.take(rows).items()
        }


def _cast_input(values: NDArray[Any], wanted: TensorSpec) -> NDArray[Any]:
    if wanted.dtype == "bfloat16":  # not numpy's own
        import ml_dtypes

        return values.astype(ml_dtypes.bfloat16)
    return values.astype(wanted.dtype)


def select_batches(
    signature: Signature, arithmetic: Precision, pool: InputSet, skips: Sequence[str] = ()
) -> tuple[InputBatch, ...]:
    """Return the batches that a model is run on: of its own size where that is fixed; float32 alone takes the edges.

    Where an output has no free first axis, its rows cannot be told apart: then every row runs alone.
    """
    batches = pool.batches(signature.batch, (*skips, *(() if arithmetic in FULL_PRECISION else EDGE_CASES)))
    if signature.batch is None and not all(out.shape and isinstance(out.shape[0], str) for out in signature.outputs):
        return tuple(batch for batch in batches if len(batch.rows) == 1)
    return batches


def _rename_outputs(path: Path, ports: IOMapping, answers: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the answers under the truth's names.

    Raises:
        ArtifactError: one is not a tensor of numbers.
    """
    named: dict[str, NDArray[Any]] = {}
    for name, values in answers.items():
        if name not in ports.outputs:
            continue
        kind = str(getattr(values, "dtype", type(values).__name__))
        if not re.match(r"(b?float|u?int|bool)", kind):
            raise ArtifactError(f"{path}: its output {name} is {kind}; only tensors of numbers can be compared")
        named[ports.outputs[name]] = np.atleast_1d(values)
    return named


@dataclass(frozen=True)
class RunResult:
    """What a model answered on every batch, and how it ran."""

    trial: RunSpec
    runtime: str
    placement: Placement
    precision: Precision
    batches: tuple[tuple[InputBatch, dict[str, NDArray[Any]]], ...]
    seconds: dict[str, float]


def run_model(
    trial: RunSpec,
    pool: InputSet,
    progress: Progress = no_progress,
    enough: Callable[[Precision, InputBatch, dict[str, NDArray[Any]]], bool] | None = None,
    batches: Sequence[InputBatch] | None = None,
) -> RunResult:
    """Run a model on every batch.

    Args:
        trial: the model and its engine.
        pool: the inputs.
        progress: told at every batch.
        enough: asked after every batch; True ends the run.
        batches: those to run; None for what suits the model.

    Raises:
        UnavailableError: the device is not there.
        ArtifactError: the runtime refuses the file, or its signature does not fit.
        CheckFailedError: the model fails on an input.
    """
    seconds: dict[str, float] = {}
    progress(f"loading {trial.path.name}")
    with contextlib.ExitStack() as stack:
        with timed(seconds, "load"):
            runtime = stack.enter_context(trial.open(trial.settings))
        ports, arithmetic = trial.match(runtime.signature), runtime.precision
        answered: list[tuple[InputBatch, dict[str, NDArray[Any]]]] = []
        seconds["run"] = 0.0
        if batches is None:
            batches = select_batches(runtime.signature, arithmetic, pool, trial.unsupported_inputs)
        for batch in batches:
            if any(pool.names[row] in trial.unsupported_inputs for row in batch.rows):
                continue
            progress(f"running {trial.path.name}: {batch.name}, batch {len(batch.rows)}")
            feeds, spent = make_feeds(ports, pool, batch.rows), dict[str, float]()
            with timed(spent, "run"):
                answers = runtime.run(feeds)
            seconds["run"] += spent["run"]
            answered.append((batch, named := _rename_outputs(trial.path, ports, answers)))
            if enough is not None and enough(arithmetic, batch, named):
                break
        return RunResult(trial, runtime.title, runtime.placement, arithmetic, tuple(answered), seconds)
