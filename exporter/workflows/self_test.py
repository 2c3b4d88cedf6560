"""`self_test()`: inject every fault of the table into an artifact, one at a time; the parity check must detect each.

A faulty copy that passes in float32 is run in float64 too. If it passes there as well, the fault is smaller than the
error budget; otherwise the check did not detect it. The same faults are injected into small networks that end in
labels, masks and indices, and networks that draw random numbers must be refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.rebuilding import rebuild_network
from exporter.errors import UsageError
from exporter.fault_injection.results import SelfTestOptions, SelfTestReport
from exporter.formats import load_artifact
from exporter.isolation.worker import file_at_work
from exporter.onnx_io.precision import detect_precision
from exporter.parity.claims import FULL_PRECISION
from exporter.system import environment
from exporter.temporary_folders import temporary_folder
from exporter.timing import timed
from exporter.types import QUICK, ParityOptions
from models.built_model import BuiltModel
from models.options import BuildOptions
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from exporter.fault_injection.faults import FaultType
    from exporter.parity.input_set import InputSet

CLEAN_INPUTS = ("random", "uniform", "heavy-tailed", "sparse", "saturated", "impulse", "pixels")
"""The input types that the artifact without a fault is run on, made anew from each seed."""
DEFAULT_CLEAN_RUNS = 14


def self_test(
    artifact: str | Path,
    options: SelfTestOptions | None = None,
    reference: BuildOptions | BuiltModel | None = None,
    progress: Progress = no_progress,
) -> SelfTestReport:
    """Test the parity check on one ONNX artifact, which is not changed.

    Args:
        artifact: an ONNX file of this project, or of another network that `reference` describes.
        options: which faults, and what else is tested.
        reference: the checkpoint, where the manifest does not say; or the network itself.
        progress: called at each step.

    Raises:
        ArtifactError: the artifact cannot be read.
        IntegrityError: it is not the file that its manifest describes.
        CheckFailedError: it does not pass parity itself, so the self-test would prove nothing.
        UsageError: it is not ONNX, its weights have fewer bits than float32, or no fault type has the name asked for.
    """
    options = options or SelfTestOptions()
    loaded = _load_onnx(Path(artifact))
    # torch is imported for a file that is taken
    from exporter.fault_injection.harness import OPTIONS, set_up
    from exporter.fault_injection.runner import clean_runs, list_faults, run_faults
    from exporter.fault_injection.samples import run_samples
    from exporter.fault_injection.split import temp_folder
    from exporter.parity.inputs import make_network_inputs
    from exporter.parity.run_specs import make_run_spec
    from exporter.workflows.verify import golden_outputs

    fault_types = _select_fault_types(options.only)
    seconds: dict[str, float] = {}
    with timed(seconds, "reference"):
        progress("building the network")
        model, _ = rebuild_network(loaded, reference or BuildOptions())
        golden = golden_outputs(model, ParityOptions(seed=options.seed, input_types=QUICK), progress)
        golden.compute(range(len(golden.inputs.names)))
    with file_at_work(loaded.path), temporary_folder(temp_folder(loaded.path)) as folder:
        with timed(seconds, "original"):
            spec = make_run_spec(loaded, OPTIONS, model)
            harness = set_up(loaded, golden, spec, folder, progress)
        with timed(seconds, "faults"):
            faults = list_faults(harness.graph, fault_types, quick=options.quick)
            results = run_faults(harness, faults, options, progress)

    with timed(seconds, "samples"), temporary_folder() as folder:
        samples = run_samples(fault_types, options, folder, progress)

    def make_inputs(seed: int, number: int) -> InputSet:
        return make_network_inputs(model, ParityOptions(seed=seed, input_types=CLEAN_INPUTS[:number]))

    with timed(seconds, "clean"):
        clean = clean_runs(harness, make_inputs, options.seed, _number_of_clean_runs(options), progress)
    loaded.require_unchanged()
    return SelfTestReport(
        artifact=str(loaded.path),
        runtime=harness.original.engine,
        tolerance=harness.report.tolerance,
        inputs=golden.inputs.names,
        fault_types=len({result.kind for result in results}),
        faults=results,
        clean=clean,
        seconds=seconds,
        environment=environment(),
        samples=samples,
    )


def _select_fault_types(only: str | None) -> tuple[FaultType, ...]:
    from exporter.fault_injection.faults import FAULTS

    selected = tuple(row for row in FAULTS if only is None or only.lower() in row.name.lower())
    if not selected:
        raise UsageError(f"--only {only}: no fault type has that in its name; docs/reference/faults.md lists them")
    return selected


def _load_onnx(path: Path) -> LoadedArtifact:
    loaded = load_artifact(path, takes=("onnx",))
    if loaded.format != "onnx":
        raise UsageError(
            f"{path}: faults are injected into ONNX graphs, not into {loaded.format} files; export the same "
            "network with --format onnx and test the check on that"
        )
    precision = detect_precision(path)
    if precision not in FULL_PRECISION:
        raise UsageError(
            f"{path}: faults are compared with float32's error budget, and this file is {precision}; export the same "
            "network with --precision fp32 and test the check on that"
        )
    return loaded


def _number_of_clean_runs(options: SelfTestOptions) -> int:
    if options.clean_runs is not None:
        return options.clean_runs
    return 0 if options.quick else DEFAULT_CLEAN_RUNS
