"""`benchmark()`: plan, load, run in interleaved rounds, compare."""

import os
import time

from exporter.bench.plan import make_plan
from exporter.bench.runner import BenchRun
from exporter.bench.types import BenchReport, BenchRequest
from exporter.engines import bench_engines
from exporter.errors import UsageError
from exporter.system import available_cpus, environment
from models.progress import Progress, no_progress

METHOD = (
    "each target runs in a process of its own; every round calls all of them, one at a time, in a random order",
    "times are of calls from host memory to host memory, with the inputs drawn once; median, p90 and min are over all "
    "calls",
    "the ratio to the first is the median of the rounds' ratios; its interval inverts the sign test",
    "load: from the file to a model that can be called, median of new processes, interpreter and imports not "
    "counted; first output: with the first call",
    "memory: the process's peak (VmHWM) up to this batch size, less its peak after importing the engine; a file that "
    "is mapped counts",
    "roofline: the fastest float32 matrix product of several sizes in numpy and torch, before and after the rounds; "
    "direct convolution's multiply-adds at that rate are its shortest possible time",
)


def benchmark(request: BenchRequest, progress: Progress = no_progress) -> BenchReport:
    """Measure model files side by side, and other engines on the same network if `request.engines` says so.

    An engine that is absent, crashes or hangs is reported and does not end the run. An artifact that cannot be loaded
    ends it, unless `request.keep_going`; one that fails later is reported, and the report is not `complete`.

    Args:
        request: everything that decides the benchmark.
        progress: called at each step.

    Raises:
        UsageError: options that are invalid, or that the artifacts do not allow.
        ArtifactError: an artifact cannot be read or loaded, or takes other inputs than the first.
        IntegrityError: an artifact is not the one its manifest describes.
        CheckFailedError: the first artifact failed while the others could go on.
        UnavailableError: an artifact's engine, or the device, is not there.
    """
    check_request(request)
    start = time.monotonic()
    with make_plan(request, progress) as plan:
        batches = plan.feeds.batches(request.batches)
        run = BenchRun(request, plan, batches, progress)
        for threads in request.threads or (available_cpus(),):
            run.measure(threads)
    return BenchReport(
        first=next((row.target for row in run.measurements), plan.targets[0].name),
        inputs=plan.feeds.describe(request.seed),
        unit=plan.feeds.unit,
        device=request.device,
        targets=tuple(run.targets.values()),
        measurements=tuple(run.measurements),
        loadings=tuple(run.loadings),
        rooflines=tuple(run.rooflines),
        missing=(*plan.missing, *run.missing),
        method=METHOD,
        notes=(*plan.notes, *run.notes()),
        environment=environment(),
        seconds=time.monotonic() - start,
    )


def check_request(request: BenchRequest) -> None:
    """Refuse, before any work, options that cannot be honoured.

    Raises:
        UsageError: an option has an invalid value; the message names both.
    """
    if not request.artifacts:
        raise UsageError("name an artifact to measure")
    for option, values in (("--batch", request.batches), ("--threads", request.threads)):
        if values is not None and (not values or min(values) < 1 or len(set(values)) < len(values)):
            raise UsageError(f"{option} must be different numbers of at least 1 (got {','.join(map(str, values))})")
    for option, value, least in (
        ("--rounds", request.rounds, 1),
        ("--warmup", request.warmup, 0),
        ("--load-rounds", request.load_rounds, 1),
        ("--seed", request.seed, 0),
    ):
        if value < least:
            raise UsageError(f"{option} must be at least {least} (got {value})")
    if not request.seconds > 0:
        raise UsageError(f"--seconds must be above 0 (got {request.seconds:g})")
    if request.device not in ("cpu", "cuda"):
        raise UsageError(f"--device {request.device}: bench knows cpu and cuda")
    if not request.engines and (request.engine_python or request.engine_model):
        raise UsageError(
            f"{'--engine-python' if request.engine_python else '--engine-model'} is an option of --engines"
        )
    known = [engine.name for engine in bench_engines()]
    for name, interpreter in request.engine_python.items():
        if name not in known:
            raise UsageError(f"--engine-python {name}: no such engine; known are {', '.join(known)}")
        if not (interpreter.is_file() and os.access(interpreter, os.X_OK)):
            raise UsageError(f"--engine-python {name}={interpreter}: no such interpreter; name its bin/python")
