"""Golden outputs: a model in float64, and the float32 baseline on the same inputs.

The source is the network that an artifact was exported from, or another model file. Rows are run one at a time, which
bounds memory and gives every row its own error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Runtime
from exporter.errors import BadInputError, OutputError
from exporter.output_targets import check_output_folder
from exporter.parity.arrays import load_arrays
from exporter.parity.feeds import as_rows, parse_outputs, run_rows
from exporter.parity.input_set import Arrays, InputSet
from exporter.parity.sequences import NO_ITEMS
from exporter.parity.sources import GoldenSource
from exporter.results import PRECISIONS, ReferencePrecision
from exporter.timing import timed
from models.paths import atomic_open, make_folders
from models.progress import Progress, no_progress

T = TypeVar("T")

NOTES = "notes"
"""The part of a cached file that holds `GoldenOutputs.notes`."""
CACHE_VERSION = 5
"""Changes when cached files of the same key would hold other numbers, or hold them under other names."""


RowOutputs = tuple[dict[str, Arrays], tuple[str, ...]]
"""{precision: {output: values}} of one row, and notes about how the source was run."""
RunRows = Callable[[GoldenSource, Sequence[InputSet]], Iterable[RowOutputs]]
"""From a source, and input sets of one row each, to the row's outputs, in order."""


@dataclass(eq=False)
class GoldenOutputs:
    """The source's outputs on the rows of an input set, in float32 and float64.

    Attributes:
        source: the model.
        inputs: the rows.
        cache: a folder that keeps outputs by hash of source and input; None for no cache.
        progress: called at every row.
        seconds: the time that computing took so far.
        computed: the number of rows that were not found in the cache.
        notes: what a report must say about how the source was run; known after `compute`.
        run_rows: computes rows on other machines; None computes them in this process.
    """

    source: GoldenSource
    inputs: InputSet
    cache: Path | None = None
    progress: Progress = no_progress
    seconds: float = 0.0
    computed: int = 0
    notes: tuple[str, ...] = ()
    run_rows: RunRows | None = None
    _rows: dict[int, dict[str, Arrays]] = field(default_factory=dict[int, dict[str, Arrays]])
    _layers: tuple[int, tuple[Arrays, Arrays]] = (-1, ({}, {}))
    _kept: dict[Hashable, Any] = field(default_factory=dict[Hashable, Any])

    @cached_property
    def _source_key(self) -> str:
        return self.source.key()

    def compute(self, rows: Iterable[int]) -> None:
        """Compute the rows that are not there yet: all in float32, then all in float64.

        Raises:
            OutputError: the cache cannot be written to.
        """
        spent: dict[str, float] = {}
        with timed(spent, "reference"):
            missing = [row for row in dict.fromkeys(rows) if row not in self._rows and not self._load_cached(row)]
            if missing and self.run_rows is not None:
                sets = [self.inputs.only(row) for row in missing]
                for row, (outputs, notes) in zip(missing, self.run_rows(self.source, sets), strict=True):
                    self._rows[row] = outputs
                    self._add_notes(notes)
                    self._store(row)
            elif missing:
                outputs = {precision: self._run(precision, missing) for precision in PRECISIONS}
                for row in missing:
                    self._rows[row] = {precision: outputs[precision][row] for precision in PRECISIONS}
                    self._store(row)
            self.computed += len(missing)
        self.seconds += spent["reference"]

    def run_once(self, precision: ReferencePrecision, inputs: InputSet) -> Arrays:
        """Return the source's outputs on an input set of one row, which are not kept."""
        return replace(self, inputs=inputs, run_rows=None, _rows={}, _kept={})._run(precision, [0])[0]

    def row(self, row: int) -> RowOutputs:
        """Return the outputs of a computed row, and the notes about how the source was run."""
        return self._rows[row], self.notes

    def float32(self, output: str, rows: Sequence[int]) -> NDArray[Any]:
        """Return the float32 baseline of computed rows, (N, …); of a whole input (1, *shape of the output).

        A sequence has an item in each row (`sequences.unpack`); an output that the reference does not have is empty.
        """
        return np.concatenate([self._rows[row]["float32"].get(output, NO_ITEMS) for row in rows])

    def float64(self, output: str, rows: Sequence[int]) -> NDArray[np.float64]:
        """Return the float64 reference of computed rows, as `float32` does."""
        return np.concatenate([self._rows[row]["float64"].get(output, NO_ITEMS) for row in rows])

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returned for a key, for as long as this reference is there: it depends on it alone."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def layers(self, row: int) -> tuple[Arrays, Arrays]:
        """Return the value of every layer for one row, (1, …) each, in the order computed: in float32 and in float64.

        Layers are the floating-point values that both have, in the same shape. Those of the last row are kept.
        """
        if row != self._layers[0]:
            self._layers = row, self._run_layers(row)
        return self._layers[1]

    def _run_layers(self, row: int) -> tuple[Arrays, Arrays]:
        found: dict[str, Arrays] = {}
        for precision in PRECISIONS:
            self.progress(f"every layer in {precision}")
            with self.source.open(precision, all_outputs=True) as runtime:
                found[precision] = self._run_row(runtime, row)
        float32, float64 = found["float32"], found["float64"]
        names = [name for name, values in float64.items() if _is_float_array(values) and values.size]
        names = [name for name in names if name in float32 and float32[name].shape == float64[name].shape]
        return {name: float32[name] for name in names}, {name: float64[name] for name in names}

    def _run(self, precision: ReferencePrecision, rows: Sequence[int]) -> dict[int, Arrays]:
        outputs: dict[int, Arrays] = {}
        with self.source.open(precision) as runtime:
            for number, row in enumerate(rows, start=1):
                self.progress(f"reference in {precision}, input {number} of {len(rows)}: {self.inputs.names[row]}")
                found = self._run_row(runtime, row)
                outputs[row] = found if self.inputs.batched else as_rows(found, batched=False)
            self._add_notes(runtime.notes)
        return outputs

    def _add_notes(self, notes: Iterable[str]) -> None:
        self.notes = tuple(dict.fromkeys((*self.notes, *notes)))

    def _run_row(self, runtime: Runtime, row: int) -> Arrays:
        """Run one row, repeated to fill a fixed batch, and keep one item of each output."""
        rows = self.inputs.fill(row, runtime.signature.batch)
        size = len(rows)
        outputs = parse_outputs(run_rows(runtime, self.inputs, rows), self.source)
        if self.inputs.batched:
            outputs = as_rows(outputs, batched=True)
        if size == 1:
            return outputs
        return {name: values[:1] if len(values) == size else values for name, values in outputs.items()}

    def _cache_path(self, row: int) -> Path | None:
        if self.cache is None:
            return None
        whole = "" if self.inputs.batched else " whole"
        digest = hashlib.sha256(f"{CACHE_VERSION} {self._source_key}{whole}".encode())
        for name, values in self.inputs.feeds[row].items():
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            text = values.dtype == object
            digest.update(repr(values.tolist()).encode() if text else np.ascontiguousarray(values).tobytes())
        return self.cache / f"{digest.hexdigest()[:40]}.npz"

    def _load_cached(self, row: int) -> bool:
        """Take a row from the cache. A file that cannot be read is treated as missing."""
        path = self._cache_path(row)
        if path is None or not path.is_file():
            return False
        loaded: dict[str, Arrays] = {part: {} for part in (*PRECISIONS, NOTES)}
        try:
            for name, values in load_arrays(path, ".npz").items():
                precision, _, output = name.partition("/")
                loaded[precision][output] = values
        except (BadInputError, KeyError):
            return False
        shapes = [{name: values.shape for name, values in loaded[part].items()} for part in PRECISIONS]
        notes = loaded.pop(NOTES).get("all")
        if notes is None or notes.ndim != 1 or not shapes[0] or shapes[0] != shapes[1]:
            return False
        self._add_notes(map(str, notes))
        self._rows[row] = loaded
        return True

    def _store(self, row: int) -> None:
        path = self._cache_path(row)
        if path is None:
            return
        arrays = {
            f"{precision}/{name}": v for precision, values in self._rows[row].items() for name, v in values.items()
        }
        arrays[f"{NOTES}/all"] = np.array(self.notes, np.str_)
        try:
            with atomic_open(path) as stream:
                np.savez(stream, allow_pickle=False, **arrays)
        except OSError as error:
            raise OutputError(f"--cache {path.parent}: cannot be written to: {error.strerror}") from error


def _is_float_array(values: Any) -> bool:
    """Return whether a value is an array of floating-point numbers, and not a sequence."""
    return isinstance(values, np.ndarray) and values.dtype.kind == "f"


def require_cache(folder: Path) -> None:
    """Make the cache's folder, before anything is computed for it.

    Raises:
        OutputError: it cannot be made or written to.
    """
    check_output_folder(folder, "--cache")
    try:
        make_folders(folder)
    except OSError as error:
        raise OutputError(f"--cache {folder}: cannot be written to: {error.strerror}") from error
