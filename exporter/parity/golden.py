"""The truth: a model in float64, and beside it what its own float32 makes of the same inputs.

A source is what the truth is computed from: the network that an artifact was exported from, or another model file. The
rows go in one at a time, which bounds memory and gives each its own error.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from exporter.artifacts.manifest import sha256_file
from exporter.engines import Runtime, RuntimeOptions, find_engine
from exporter.engines.pytorch import PyTorchRuntime
from exporter.errors import OutputError
from exporter.onnx_io.external_data import external_files
from exporter.onnx_io.precision import detect_precision
from exporter.parity.inputs import InputSet
from exporter.types import FormatName
from models.builder import state_sha256
from models.built_model import BuiltModel
from models.progress import Progress, no_progress
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Answers = dict[str, NDArray[Any]]

ReferencePrecision = Literal["single", "exact"]
CACHE_VERSION = 1
"""Goes up when the same key would hold other numbers."""


class GoldenSource(Protocol):
    """What the truth is computed from."""

    title: str
    """The truth, for people."""
    reference: str
    """Whose float32 error is the measure, for people."""

    layers: Mapping[str, str]
    """{output: the layer whose value it is}, for outputs that are not called like their layer."""
    features: frozenset[str]
    """Outputs that are no class scores, of which no highest classes are compared."""

    def key(self) -> str:
        """Return a text that is the same only for the same answers: weights, structure, library versions."""
        ...

    def open(self, precision: ReferencePrecision, *, all_outputs: bool = False) -> AbstractContextManager[Runtime]:
        """Open it in float32 (`single`) or float64 (`exact`); `expose` answers every layer."""
        ...


class NetworkSource:
    """A built network in PyTorch."""

    title = "the network in float64 (PyTorch)"
    reference = "PyTorch float32"

    def __init__(self, built: BuiltModel) -> None:
        self.built = built
        self.layers: Mapping[str, str] = {output.name: output.layer for output in built.outputs if output.layer}
        self.features = frozenset(output.name for output in built.outputs if output.kind == "features")
        self._key = ""

    def key(self) -> str:
        """Return the state's hash with the structure, torch's version and the processor's kind."""
        import torch

        if not self._key:
            state = state_sha256(self.built.network)
            structure = f"{self.built.architecture} {sorted(self.built.settings.items())}"
            self._key = f"{state} {structure} torch {torch.__version__} {_processor()}"
        return self._key

    def open(self, precision: ReferencePrecision, *, all_outputs: bool = False) -> AbstractContextManager[Runtime]:
        """See `GoldenSource`."""
        dtype = "float32" if precision == "single" else "float64"
        return PyTorchRuntime(self.built, dtype, RuntimeOptions(all_outputs=all_outputs))


class FileSource:
    """A model file: its graph in float64, and as the measure its own engine, or its graph in float32.

    Its own engine where the file computes in float32 itself; float32 where it does so in fewer bits, whose errors would
    be a budget for anything.
    """

    def __init__(
        self,
        path: Path,
        form: FormatName,
        signature: Signature | None = None,
        features: frozenset[str] = frozenset(),
    ) -> None:
        self.path, self.signature, self.features = path, signature, features
        self.format: FormatName = form
        self.title = f"{path.name} in float64"
        self.layers: Mapping[str, str] = {}
        self.as_it_is = form == "onnx" and detect_precision(path) == "float32"
        self.reference = f"float32 {path.name}"
        self._key = ""

    def key(self) -> str:
        """Return the hash of the file and its data, with the versions of what runs it and the processor's kind."""
        if not self._key:
            from importlib.metadata import version

            versions = " ".join(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxruntime"))
            files = (self.path, *(external_files(self.path) if self.format == "onnx" else ()))
            self._key = f"{' '.join(map(sha256_file, files))} {versions} {_processor()}"
        return self._key

    def open(self, precision: ReferencePrecision, *, all_outputs: bool = False) -> AbstractContextManager[Runtime]:
        """See `TruthSource`."""
        engine = find_engine(self.format)
        settings = RuntimeOptions(signature=self.signature, all_outputs=all_outputs)
        if precision == "exact":
            return engine.open_float64(self.path, settings)
        return (engine.open if self.as_it_is else engine.open_float32)(self.path, settings)


@dataclass
class GoldenOutputs:
    """The answers for the rows of a pool, computed when first asked for.

    Attributes:
        source: what they are computed from.
        pool: the inputs.
        cache: folder that keeps them by hash of source and input, or None.
        progress: told at every row.
        seconds: what computing them took so far.
        computed: rows that were not found in the cache.
    """

    source: GoldenSource
    pool: InputSet
    cache: Path | None = None
    progress: Progress = no_progress
    seconds: float = 0.0
    computed: int = 0
    _rows: dict[int, tuple[Answers, Answers]] = field(default_factory=dict[int, "tuple[Answers, Answers]"])

    def ensure(self, rows: Iterable[int]) -> None:
        """Compute what is still missing of `rows`: all in float32, then all in float64.

        Raises:
            OutputError: the cache cannot be written to.
        """
        start = perf_counter()
        missing = [row for row in dict.fromkeys(rows) if row not in self._rows and not self._recall(row)]
        if missing:
            answered = {precision: self._run(precision, missing) for precision in ("single", "exact")}
            for row in missing:
                self._rows[row] = (answered["single"][row], answered["exact"][row])
                self._keep(row)
            self.computed += len(missing)
        self.seconds += perf_counter() - start

    def adopt(self, other: GoldenOutputs, rows: Sequence[int]) -> None:
        """Take computed rows of a truth from the same source: this pool's row i is the other's `rows[i]`."""
        self._rows |= {row: other._rows[old] for row, old in enumerate(rows)}

    def single(self, output: str, rows: Sequence[int]) -> NDArray[Any]:
        """Return float32's answers (N, …)."""
        return np.concatenate([self._rows[row][0][output] for row in rows])

    def exact(self, output: str, rows: Sequence[int]) -> NDArray[np.float64]:
        """Return float64's answers (N, …)."""
        return np.concatenate([self._rows[row][1][output] for row in rows])

    def layers(self, row: int) -> tuple[Answers, Answers]:
        """Return every layer's value for one row, (1, …) each, in the order computed: float32's and float64's.

        Layers are what the two have in common of floating-point numbers.
        """
        reported = {}
        for precision in ("single", "exact"):
            self.progress(f"every layer in {_NAMES[precision]}")
            with self.source.open(precision, all_outputs=True) as runtime:
                reported[precision] = self._ask(runtime, row)
        single, exact = reported["single"], reported["exact"]
        names = [name for name, values in exact.items() if values.dtype.kind == "f" and values.size]
        names = [name for name in names if name in single and single[name].shape == exact[name].shape]
        return {name: single[name] for name in names}, {name: exact[name] for name in names}

    def _run(self, precision: ReferencePrecision, rows: Sequence[int]) -> dict[int, Answers]:
        answered: dict[int, Answers] = {}
        with self.source.open(precision) as runtime:
            for number, row in enumerate(rows, start=1):
                self.progress(f"truth in {_NAMES[precision]}, input {number} of {len(rows)}: {self.pool.names[row]}")
                answered[row] = self._ask(runtime, row)
        return answered

    def _ask(self, runtime: Runtime, row: int) -> Answers:
        """Run one row, as often as a fixed batch wants it, and keep one answer of each."""
        size = runtime.signature.batch or 1
        answers = {name: np.atleast_1d(values) for name, values in runtime.run(self.pool.take((row,) * size)).items()}
        return {name: values[:1] if len(values) == size > 1 else values for name, values in answers.items()}

    def _path(self, row: int) -> Path | None:
        if self.cache is None:
            return None
        digest = hashlib.sha256(f"{CACHE_VERSION} {self.source.key()}".encode())
        for name, values in self.pool.take([row]).items():
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        return self.cache / f"{digest.hexdigest()[:40]}.npz"

    def _recall(self, row: int) -> bool:
        """Take a row from the cache; a file that cannot be read is as good as none."""
        path = self._path(row)
        if path is None or not path.is_file():
            return False
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                held = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            return False
        single, exact = (
            {name.removeprefix(prefix): values for name, values in held.items() if name.startswith(prefix)}
            for prefix in ("single/", "exact/")
        )
        if not single or single.keys() != exact.keys():
            return False
        self._rows[row] = (single, exact)
        return True

    def _keep(self, row: int) -> None:
        path = self._path(row)
        if path is None:
            return
        single, exact = self._rows[row]
        held = {f"single/{name}": values for name, values in single.items()}
        held |= {f"exact/{name}": values for name, values in exact.items()}
        part = path.with_suffix(f".{secrets.token_hex(8)}.part")  # another process may be keeping the same row
        try:
            with part.open("wb") as stream:
                np.savez(stream, **held)  # pyright: ignore[reportArgumentType] - its stub takes the keyword allow_pickle for one of ours
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OutputError(f"--cache {path.parent}: cannot be written to: {error.strerror}") from error


def require_cache(folder: Path) -> None:
    """Make the cache's folder, before anything is computed for it.

    Raises:
        OutputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"--cache {folder}: cannot be written to: {error.strerror}") from error


def _processor() -> str:
    """Return the instructions that torch uses: float32's last bits depend on them."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


_NAMES: dict[ReferencePrecision, str] = {"single": "float32", "exact": "float64"}
