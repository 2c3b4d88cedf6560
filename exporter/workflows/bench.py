"""`benchmark()`: plan, load, run in interleaved rounds, compare."""

import time

from exporter.bench.plan import make_plan
from exporter.bench.runner import BenchRun
from exporter.bench.types import BenchReport, BenchRequest
from exporter.system import available_cpus, environment
from exporter.workflows.bench_checks import check_request
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
