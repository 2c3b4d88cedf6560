"""One model in one engine, and its answers to every batch."""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import ArtifactError
from exporter.parity.inputs import EDGES, InputBatch, InputPool
from exporter.runtimes import Runtime, Settings
from exporter.timing import timed
from exporter.types import Signature, TensorSpec
from exporter.verdicts import Arithmetic, Placement
from models.errors import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL: tuple[Arithmetic, ...] = ("float32", "float64")
"""What edge cases are asked of."""


@dataclass(frozen=True)
class Ports:
    """How a model's inputs and outputs correspond to the pool's and the truth's.

    Attributes:
        inputs: {the pool's name: the model's input}.
        outputs: {the model's name: the truth's}.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Trial:
    """A model to be asked.

    Attributes:
        path: the model file, or what stands for it in messages.
        open: settings -> runtime.
        settings: device, signature and form.
        match: the loaded model's signature -> its ports; raises ArtifactError where there are none.
        skips: kinds of inputs that its engine is not judged on.
    """

    path: Path
    open: Callable[[Settings], Runtime]
    settings: Settings
    match: Callable[[Signature], Ports]
    skips: tuple[str, ...] = ()


def feeds_of(ports: Ports, pool: InputPool, rows: tuple[int, ...]) -> "dict[str, NDArray[Any]]":
    """Return some rows under the model's own names, in its dtypes; what float16 cannot hold becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {ports.inputs[name].name: _as(values, ports.inputs[name]) for name, values in pool.take(rows).items()}


def _as(values: "NDArray[Any]", wanted: TensorSpec) -> "NDArray[Any]":
    if wanted.dtype == "bfloat16":  # not numpy's own
        import ml_dtypes

        return values.astype(ml_dtypes.bfloat16)
    return values.astype(wanted.dtype)


def batches_for(
    signature: Signature, arithmetic: Arithmetic, pool: InputPool, skips: Sequence[str] = ()
) -> tuple[InputBatch, ...]:
    """Return the batches that a model is run on: of its own size where that is fixed; float32 alone takes the edges.

    Where an output has no free first axis, its rows cannot be told apart: then every row runs alone.
    """
    batches = pool.batches(signature.batch, (*skips, *(() if arithmetic in FULL else EDGES)))
    if signature.batch is None and not all(out.shape and isinstance(out.shape[0], str) for out in signature.outputs):
        return tuple(batch for batch in batches if len(batch.rows) == 1)
    return batches


def _named(path: Path, ports: Ports, answers: "Mapping[str, Any]") -> "dict[str, NDArray[Any]]":
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
class Answers:
    """What a model answered on every batch, and how it ran."""

    trial: Trial
    runtime: str
    placement: Placement
    arithmetic: Arithmetic
    batches: "tuple[tuple[InputBatch, dict[str, NDArray[Any]]], ...]"
    seconds: dict[str, float]


def ask(
    trial: Trial,
    pool: InputPool,
    progress: Progress = quiet,
    enough: "Callable[[Arithmetic, InputBatch, dict[str, NDArray[Any]]], bool] | None" = None,
    batches: Sequence[InputBatch] | None = None,
) -> Answers:
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
        ports, arithmetic = trial.match(runtime.signature), runtime.arithmetic
        answered: list[tuple[InputBatch, dict[str, NDArray[Any]]]] = []
        seconds["run"] = 0.0
        if batches is None:
            batches = batches_for(runtime.signature, arithmetic, pool, trial.skips)
        for batch in batches:
            if any(pool.names[row] in trial.skips for row in batch.rows):
                continue
            progress(f"running {trial.path.name}: {batch.name}, batch {len(batch.rows)}")
            feeds, spent = feeds_of(ports, pool, batch.rows), dict[str, float]()
            with timed(spent, "run"):
                answers = runtime.run(feeds)
            seconds["run"] += spent["run"]
            answered.append((batch, named := _named(trial.path, ports, answers)))
            if enough is not None and enough(arithmetic, batch, named):
                break
        return Answers(trial, runtime.title, runtime.placement, arithmetic, tuple(answered), seconds)
