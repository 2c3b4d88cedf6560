"""The float64 reference of `verify parity` on a Ray cluster.

Each worker opens the network once, and takes one input at a time, such as the first frames of a video.
The reference is what a comparison takes most of its time for. The artifact itself runs on this machine, so that its
outputs do not depend on the cluster.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from exporter.engines.base import Runtime
from exporter.errors import LimitError, UsageError
from exporter.inference.ray_pool import Lost, Task, map_on_ray
from exporter.inference.types import RayOptions
from exporter.parity.golden import GoldenOutputs, RowOutputs, RunRows
from exporter.parity.input_set import InputSet
from exporter.parity.sources import GoldenSource, NetworkSource
from exporter.results import ReferencePrecision
from models.built_model import BuiltModel
from models.progress import Progress, no_progress

NETWORK_ONLY = "--runner ray computes the reference of a network; with --against FILE, take --runner local"


def reference_on_ray(options: RayOptions, progress: Progress = no_progress) -> RunRows:
    """Return what computes rows of a reference on the workers of a cluster, each with one thread.

    Args:
        options: the cluster, and how many workers.
        progress: called when a row is done.
    """
    return partial(_run_rows, options, progress)


def _run_rows(
    options: RayOptions, progress: Progress, source: GoldenSource, rows: Sequence[InputSet]
) -> Generator[RowOutputs]:
    """Yield the outputs of each row.

    Raises:
        UsageError: the reference is a model file.
        LimitError: the workers that took a row ended, most likely because their memory was not enough.
        UnavailableError: Ray is not installed, or there is no cluster at the address.
    """
    if not isinstance(source, NetworkSource):
        raise UsageError(NETWORK_ONLY)
    # what only an export needs may not be picklable
    model = replace(source.model, fuse=None, conv_hints={}, without_preprocessing=None)
    with closing(map_on_ray(partial(_open_reference, model), rows, options, progress=progress)) as results:
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, Lost):
                raise LimitError(f"the reference of {row.names[0]}: {result.reason}; --workers takes fewer at once")
            yield result


def _open_reference(model: BuiltModel, folder: Path) -> Task:
    """Open the network in a worker; return a function from an input set of one row to its outputs."""
    return partial(_compute, _LoadedNetwork(model))


def _compute(source: NetworkSource, row: InputSet) -> RowOutputs:
    golden = GoldenOutputs(source, row)
    golden.compute([0])
    return golden.row(0)


class _LoadedNetwork(NetworkSource):
    """A network that stays loaded in both precisions."""

    def __init__(self, model: BuiltModel) -> None:
        super().__init__(model)
        self._loaded: dict[ReferencePrecision, Runtime] = {}

    def open(
        self, precision: ReferencePrecision, *, all_outputs: bool = False, extra_outputs: tuple[str, ...] = ()
    ) -> AbstractContextManager[Runtime]:
        """See `GoldenSource`; what is opened is not closed."""
        if precision not in self._loaded:
            self._loaded[precision] = super().open(precision).__enter__()
        return nullcontext(self._loaded[precision])
