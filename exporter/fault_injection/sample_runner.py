"""Injects faults into the self-test's own small networks, each of which is its own reference."""

from collections.abc import Sequence
from pathlib import Path

import onnx

from exporter.artifacts.loading import LoadedArtifact
from exporter.errors import ArtifactError, CheckFailedError
from exporter.fault_injection.faults import FaultType
from exporter.fault_injection.harness import OPTIONS, set_up
from exporter.fault_injection.results import SampleResult, SelfTestOptions
from exporter.fault_injection.runner import list_faults, run_faults
from exporter.fault_injection.samples import SAMPLES, Sample
from exporter.onnx_io.signature import read_signature
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_plan import make_plans
from exporter.parity.inputs import draw_inputs
from exporter.parity.run_specs import make_file_run_spec
from exporter.parity.sources import FileSource
from exporter.types import InputOptions, ParityOptions
from models.progress import Progress, no_progress

INPUT_TYPES = ("random", "uniform", "saturated", "zeros")


def run_samples(
    fault_types: Sequence[FaultType],
    options: SelfTestOptions,
    folder: Path,
    progress: Progress = no_progress,
    samples: Sequence[Sample] = SAMPLES,
) -> tuple[SampleResult, ...]:
    """Inject every fault that applies into each of the small networks.

    Args:
        fault_types: rows of the table.
        options: `quick` and `seed`; layers are not located.
        folder: an empty folder.
        progress: called at each step.
        samples: the networks.
    """
    return tuple(_run_sample(sample, fault_types, options, folder / sample.name, progress) for sample in samples)


def _run_sample(
    sample: Sample, fault_types: Sequence[FaultType], options: SelfTestOptions, folder: Path, progress: Progress
) -> SampleResult:
    folder.mkdir()
    path = folder / "sample.onnx"
    reference = folder / "reference.onnx"
    model = sample.build(options.seed)
    onnx.save(model, reference)
    onnx.save(sample.store(model), path)
    artifact = LoadedArtifact(path, "onnx", None, ())
    signature = read_signature(path)
    plan = next(make_plans(signature, InputOptions(), batched=True))
    inputs = draw_inputs(plan, ParityOptions(seed=options.seed, input_types=INPUT_TYPES))
    golden = GoldenOutputs(FileSource(reference, "onnx"), inputs)
    try:
        harness = set_up(artifact, golden, make_file_run_spec(artifact, OPTIONS, signature), folder, progress)
    except ArtifactError as error:
        return SampleResult(sample.name, sample.repeatable, False, str(error))
    except CheckFailedError:
        return SampleResult(sample.name, sample.repeatable, False, None)
    faults = list_faults(harness.graph, fault_types, quick=options.quick)
    found = run_faults(harness, faults, SelfTestOptions(seed=options.seed), progress)
    return SampleResult(sample.name, sample.repeatable, True, None, found)
