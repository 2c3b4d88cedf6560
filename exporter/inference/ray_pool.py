"""A function over many items on many machines, through Ray Data: worker processes that each take one item at a time.

A worker that ends in the middle of an item, whatever the reason, is started again, and its item is done again; an item
on which workers end `ATTEMPTS` times is lost, and the others go on. Results come in the order of the items.
"""

from __future__ import annotations

import contextlib
import pickle
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import C3DExportError, UsageError
from exporter.inference.ray_cluster import connect
from exporter.inference.types import RayOptions
from exporter.temporary_folders import temporary_folder
from models.errors import count
from models.progress import Progress, no_progress

ATTEMPTS = 3
"""How many workers may end on an item before it is given up."""


@dataclass(frozen=True)
class WorkerNeeds:
    """What one worker uses.

    Attributes:
        cpus: processors, which is also how many threads it should use.
        gpus: GPUs.
    """

    cpus: int = 1
    gpus: int = 0


@dataclass(frozen=True)
class Lost:
    """An item without a result: every worker that took it ended."""

    reason: str = f"{ATTEMPTS} worker processes ended while they worked on it"


Task = Callable[[Any], Any]
"""From an item to its result."""
OpenTask = Callable[[Path], Task]
"""From a folder with the files that were sent along to a task. The files are removed when it has returned."""


def map_on_ray(
    open_task: OpenTask,
    items: Sequence[Any],
    options: RayOptions,
    needs: WorkerNeeds | None = None,
    files: Mapping[str, Path] | None = None,
    progress: Progress = no_progress,
) -> Generator[Any | Lost]:
    """Yield the result of each item, in order.

    Args:
        open_task: opens the task in each worker, once. It, the items and the results are pickled; what they refer to by
            name is imported in the worker, so every machine needs this package. (What the caller's script defines is
            sent along.)
        items: the items.
        options: the cluster, and how many workers.
        needs: what a worker occupies; None for one processor.
        files: {name: path} of files that the task needs. They are read once, and reach each machine through Ray.
        progress: called when a result arrives.

    Yields:
        the task's result, or `Lost`. When the caller stops iterating, the workers stop.

    Raises:
        UnavailableError: Ray is not installed, or there is no cluster at the address.
        UsageError: the cluster has not the processors or GPUs of a single worker.
        C3DExportError: one that the task raises.
        RuntimeError: any other exception of the task, with its traceback.
    """
    if not items:
        return
    progress("starting Ray")
    needs = needs or WorkerNeeds()
    with connect(options.address) as ray:
        workers = min(_count_room(ray.cluster_resources(), needs), len(items), options.workers or len(items))
        shipped = ray.put((ray.cloudpickle.dumps(open_task), _read(files or {})))
        progress(f"starting {count(workers, 'worker')} on Ray")
        expected = 0
        with contextlib.closing(_outcomes(items, [shipped], workers, needs)) as outcomes:
            for number, kind, value in outcomes:
                while expected < number:  # Ray Data leaves out what no worker completes
                    yield Lost()
                    expected += 1
                if kind == "error":
                    raise value
                if kind == "bug":
                    raise RuntimeError(f"in a worker: {value}")
                expected += 1
                progress(f"{expected} of {len(items)} done on {count(workers, 'worker')}")
                yield value
        for _ in range(expected, len(items)):
            yield Lost()


def _read(files: Mapping[str, Path]) -> dict[str, NDArray[np.uint8]]:
    """Return files as arrays, which workers map from Ray's shared memory without a copy."""
    return {name: np.fromfile(path, np.uint8) for name, path in files.items()}


def _count_room(resources: Mapping[str, float], needs: WorkerNeeds) -> int:
    """Return how many workers the cluster has room for.

    Raises:
        UsageError: for not even one.
    """
    room: list[int] = []
    for name, key, needed in (("processor", "CPU", needs.cpus), ("GPU", "GPU", needs.gpus)):
        there = int(resources.get(key, 0))
        if needed > there:
            raise UsageError(f"--runner ray: a worker needs {count(needed, name)}, and the cluster has {there}")
        if needed:
            room.append(there // needed)
    return min(room)


def _outcomes(
    items: Sequence[Any], shipped: Sequence[Any], workers: int, needs: WorkerNeeds
) -> Generator[tuple[int, str, Any]]:
    """Yield (position, kind, value) for each item that a worker completed, in order."""
    from ray.data import ActorPoolStrategy, from_items  # pyright: ignore[reportMissingImports] - an extra

    rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _configure()
        data = from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            # inside a list it stays a reference, which outlives the worker that is started again
            fn_constructor_args=(shipped,),
            batch_size=1,
            batch_format="numpy",
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            # one item at a time: one that waits in a worker that ends would use up its attempts as well
            compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": ATTEMPTS - 1},
        )
    for batch in data.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
        for number, outcome in zip(batch["number"], batch["outcome"], strict=True):
            yield (int(number), *pickle.loads(outcome))  # noqa: S301 - made by our worker


def _configure() -> None:
    """Set what Ray Data does with errors and order, for the datasets that are made from now on."""
    from ray.data import DataContext  # pyright: ignore[reportMissingImports] - an extra

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.max_errored_blocks = -1


class _Worker:
    """An actor of Ray Data. An exception becomes a result: only a process that ends makes Ray try again."""

    def __init__(self, shipped: Sequence[Any]) -> None:
        import ray  # pyright: ignore[reportMissingImports] - an extra

        self._task: Task | None = None
        self._failure: tuple[str, Any] | None = None
        open_task, files = ray.get(shipped[0])
        try:
            with temporary_folder() as folder:
                for name, content in files.items():
                    content.tofile(folder / name)
                self._task = pickle.loads(open_task)(folder)  # noqa: S301 - made by `map_on_ray`
        except Exception as error:  # noqa: BLE001 - it is raised again by the process that reads the results
            self._failure = _failure(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the outcome of the one item of a batch."""
        try:
            outcome = self._failure or ("result", self._task(pickle.loads(batch["item"][0])))  # noqa: S301 # pyright: ignore
        except Exception as error:  # noqa: BLE001 - as above
            outcome = _failure(error)
        return {"number": batch["number"], "outcome": [pickle.dumps(outcome)]}


def _failure(error: Exception) -> tuple[str, Any]:
    if isinstance(error, C3DExportError):
        return "error", error
    return "bug", "".join(traceback.format_exception(error))
