"""What a benchmark is asked and what it found: frozen dataclasses. Nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.load_checks import LoadChecks
from exporter.types import Device, InputOptions
from models.built_model import BuiltModel
from models.options import BuildOptions

DEFAULT_BATCHES = (1, 4)


@dataclass(frozen=True)
class BenchRequest(LoadChecks):
    """Everything that decides a benchmark, and what the artifacts must be (`LoadChecks`).

    Attributes:
        artifacts: model files, the first of which is what the others are compared with.
        batches: batch sizes; None for 1 and 4, or the model's own where it is fixed.
        threads: thread counts; None for the number of available CPUs.
        rounds: rounds of every target for each batch size and thread count.
        warmup: calls before the first round that do not count.
        seconds: no round begins after so many seconds of one batch size and thread count, once three are done.
        load_rounds: how often each target is loaded in a new process.
        seed: seed of the inputs and of the order within rounds.
        device: where targets run.
        engines: add the other engines that are installed.
        engine_python: {engine: interpreter} for engines that live in an environment of their own.
        keep_going: an artifact that cannot be loaded, or fails, is reported, and the others are measured.
        inputs: those that the user gives, by the names of the first artifact.
        engine_model: the graph that engines run, where the first artifact is a rewritten one without a manifest.
        reference: the checkpoint, if it is not where the manifest says; or the network itself.
    """

    artifacts: tuple[Path, ...]
    batches: tuple[int, ...] | None = None
    threads: tuple[int, ...] | None = None
    rounds: int = 20
    warmup: int = 2
    seconds: float = 120.0
    load_rounds: int = 3
    seed: int = 0
    device: Device = "cpu"
    engines: bool = False
    engine_python: Mapping[str, Path] = field(default_factory=dict[str, Path])
    keep_going: bool = False
    inputs: InputOptions = field(default_factory=InputOptions)
    engine_model: Path | None = None
    reference: BuildOptions | BuiltModel = field(default_factory=BuildOptions)


@dataclass(frozen=True)
class TargetInfo:
    """A target that ran: its name in the tables, its engine with version, its model file, whether it is an engine."""

    name: str
    engine: str
    file: str
    added: bool


@dataclass(frozen=True)
class Ratio:
    """Time relative to the first target's: the median of the rounds' ratios, and an interval for it.

    Attributes:
        value: 2 is twice the first's time.
        low: lower end of the interval.
        high: upper end.
        confidence: confidence level of the interval: at least 0.95, less where there were too few rounds.
    """

    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Measurement:
    """One target at one batch size and thread count. Times are seconds for a whole batch.

    Attributes:
        target: its name.
        batch: inputs in a batch.
        threads: thread count of the engine.
        rounds: rounds that were run.
        calls: timed calls in all of them.
        median: over all calls.
        p90: the 90th percentile of all calls, linearly interpolated.
        minimum: the fastest call.
        throughput: inputs a second, batch / median.
        ratio: its time relative to the first target's.
        memory: bytes; the process's peak so far beyond its peak after importing the engine. None where not known.
        difference: its outputs' largest distance from the first's, relative to the first's largest number. None for
            the first, and where their outputs have different sizes.
    """

    target: str
    batch: int
    threads: int
    rounds: int
    calls: int
    median: float
    p90: float
    minimum: float
    throughput: float
    ratio: Ratio
    memory: int | None
    difference: float | None


@dataclass(frozen=True)
class Loading:
    """How long a target takes to be ready, each time in a new process, interpreter and imports not counted.

    Attributes:
        target: its name.
        threads: thread count of the engine.
        loads: seconds from the file to a model that can be called, one for each process.
        first_outputs: the same with the first call, of the first batch size, so that deferred initialisation counts.
        load: the median of `loads`.
        first_output: the median of `first_outputs`.
    """

    target: str
    threads: int
    loads: tuple[float, ...]
    first_outputs: tuple[float, ...]
    load: float
    first_output: float


@dataclass(frozen=True)
class Skipped:
    """A target that did not run, or not to the end, why, and the exit code of an artifact's error."""

    target: str
    reason: str
    added: bool
    exit_code: int = 1


@dataclass(frozen=True)
class LowerBound:
    """The least seconds that direct convolution takes for a batch, and its multiply-adds."""

    batch: int
    multiply_adds: int
    seconds: float


@dataclass(frozen=True)
class Roofline:
    """This machine's matrix products, and what they allow direct convolution to reach.

    Attributes:
        threads: thread count of the matrix product.
        rate: the fastest float32 product's operations a second (a multiply-add is two).
        product: library and size of that product.
        counted: the graph whose multiply-adds were counted; None where there was no plain one.
        bounds: one for each batch size; empty without a graph.
        uncounted: nodes of the graph that multiply and could not be counted, because their sizes are not known.
    """

    threads: int
    rate: float
    product: str
    counted: str | None
    bounds: tuple[LowerBound, ...]
    uncounted: tuple[str, ...]


@dataclass(frozen=True)
class BenchReport:
    """What a benchmark found.

    Attributes:
        first: the target that ratios refer to.
        inputs: a description of the inputs, the same for every target.
        unit: what one input is called in the plural.
        device: where targets ran.
        targets: what ran, in order.
        measurements: ordered by threads, then batch, then target.
        loadings: ordered by threads, then target.
        rooflines: one for each thread count; empty on a GPU.
        missing: what did not run.
        method: how the figures were measured, a sentence each.
        notes: what a reader must know to judge the figures.
        environment: versions, processor, system.
        seconds: duration of the whole benchmark.
    """

    first: str
    inputs: str
    unit: str
    device: Device
    targets: tuple[TargetInfo, ...]
    measurements: tuple[Measurement, ...]
    loadings: tuple[Loading, ...]
    rooflines: tuple[Roofline, ...]
    missing: tuple[Skipped, ...]
    method: tuple[str, ...]
    notes: tuple[str, ...]
    environment: dict[str, str]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every artifact that was named ran to the end; an absent engine does not count."""
        return all(absent.added for absent in self.missing)

    @property
    def exit_code(self) -> int:
        """0 if it is complete, else the exit code of the first artifact that did not run."""
        return next((absent.exit_code for absent in self.missing if not absent.added), 0)

    def of(self, threads: int, batch: int) -> tuple[Measurement, ...]:
        """Return the measurements of one thread count and batch size."""
        return tuple(row for row in self.measurements if (row.threads, row.batch) == (threads, batch))
