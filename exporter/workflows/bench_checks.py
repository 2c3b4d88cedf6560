"""What `bench` refuses before any work, and before torch is imported."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from exporter.bench.deployment.types import DeploymentRequest
from exporter.bench.types import BenchRequest
from exporter.engines import MAX_THREADS, bench_engines
from exporter.errors import UsageError
from exporter.output_targets import check_output_folder
from exporter.requests import ExportRequest
from exporter.workflows.export_checks import MAX_BATCH, check_opset, check_precision


def check_request(request: BenchRequest) -> None:
    """Refuse, before any work, options that cannot be honoured.

    Raises:
        UsageError: an option has an invalid value; the message names both.
    """
    if not request.artifacts:
        raise UsageError("name an artifact to measure")
    for option, values, most in (
        ("--batch", request.batches, MAX_BATCH),
        ("--threads", request.threads, MAX_THREADS),
    ):
        given = ",".join(map(str, values or ()))
        if values is not None and (not values or min(values) < 1 or len(set(values)) < len(values)):
            raise UsageError(f"{option} must be different numbers of at least 1 (got {given})")
        if values is not None and max(values) > most:
            raise UsageError(f"{option} must be at most {most:,} (got {given})")
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


def check_comparison(request: DeploymentRequest) -> None:
    """Refuse, before any work, options that cannot be honoured.

    Raises:
        UsageError: an option has an invalid value; the message names both.
        OutputError: the folder for the artifacts cannot be written to.
    """
    measure_request = request.measure
    check_request(replace(measure_request, artifacts=(Path("artifact"),)))
    threads = measure_request.threads
    if threads is not None and len(threads) > 1:
        raise UsageError(f"--all measures at one thread count (got --threads {','.join(map(str, threads))})")
    if request.export_seconds is not None and not request.export_seconds > 0:
        raise UsageError(f"--export-seconds must be above 0 (got {request.export_seconds:g})")
    if len(set(request.formats)) != len(request.formats):
        raise UsageError(f"name each format once: {', '.join(request.formats)}")
    check_opset(request.opset)
    check_precision(ExportRequest((), precision=replace(request.precision, compute="int8")))
    if request.work_dir is not None:
        check_output_folder(request.work_dir, "--work-dir")
