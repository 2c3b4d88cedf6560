"""Errors of correct artifacts, divided by PyTorch float32's own, for many inputs and networks.

`exporter.parity.tolerance.ERROR_FACTOR` is the largest ratio that passes; the largest ratio here shows the margin to a
false positive. The reference of every input is computed once for all engines, batches and thread counts.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import machine
from pieces import Pieces, pieces

from exporter.artifacts.files import Artifact
from exporter.artifacts.loading import LoadedArtifact
from exporter.formats.torchscript import OPTIMIZE_OPTION
from exporter.parity.evaluate import evaluate
from exporter.parity.execution import RunSpec, run_model
from exporter.parity.golden import GoldenOutputs
from exporter.parity.inputs import make_network_inputs
from exporter.parity.run_specs import make_run_spec
from exporter.parity.sources import NetworkSource
from exporter.parity.tolerance import ERROR_FACTOR
from exporter.requests import ExportRequest
from exporter.types import ParityOptions
from exporter.workflows.export import export
from exporter.workflows.self_test import CLEAN_INPUTS
from models import build
from models.builder import BuiltModel
from models.config import C3DConfig
from models.options import BuildOptions

NETWORKS = (
    C3DConfig(),
    C3DConfig(487, pool5="right"),
    C3DConfig(batch_norm=True),
    C3DConfig(51),
    C3DConfig(10, batch_norm=True, pool5="right"),
)
"""The seed of each is its index."""
SAMPLES = 6
"""Samples of each input type, for each network."""


def main() -> None:
    """Measure what is left, and print what is known."""
    kept = pieces(__doc__ or "")
    for seed, config in enumerate(NETWORKS):
        left = [sample for sample in range(SAMPLES) if f"network {seed} draw {sample}" not in kept.done]
        if not left or kept.over:
            continue
        options = BuildOptions(config.num_classes, config.batch_norm, config.pool5, seed)
        with tempfile.TemporaryDirectory() as name:
            request = ExportRequest(
                ("onnx", "torchscript"),
                output_dir=Path(name),
                verify=False,
                model=options,
            )
            artifacts = export(request).artifacts
            built = build(options)
            for sample in left:
                if kept.over:
                    break
                kept.keep(f"network {seed} draw {sample}", measure(artifacts, built, 1000 * seed + sample + 1))
    print(machine())
    describe(kept)


def measure(artifacts: tuple[Artifact, ...], built: BuiltModel, seed: int) -> dict[str, list[float]]:
    """Return {engine: the ratio to PyTorch's own error in each comparison}, above the factor where it fails."""
    inputs = make_network_inputs(built, ParityOptions(seed=seed, input_types=CLEAN_INPUTS))
    golden = GoldenOutputs(NetworkSource(built), inputs)
    ratios: dict[str, list[float]] = {}
    golden.compute(range(len(inputs.names)))
    for engine, spec in run_specs(artifacts, built):
        report = evaluate(run_model(spec, inputs), golden, ParityOptions())
        ratios[engine] = [
            ERROR_FACTOR * row.budget_used
            if row.passed
            else max(ERROR_FACTOR * row.budget_used, np.nextafter(ERROR_FACTOR, np.inf))
            for row in report.comparisons
        ]
    return ratios


def run_specs(artifacts: tuple[Artifact, ...], built: BuiltModel) -> Iterator[tuple[str, RunSpec]]:
    """Yield each engine, and onnxruntime on one thread too."""
    onnx, script = (LoadedArtifact(made.path, made.manifest.format, made.manifest, ()) for made in artifacts)
    default = make_run_spec(onnx, ParityOptions(), built)
    yield "onnxruntime", default
    yield "onnxruntime, 1 thread", replace(default, settings=replace(default.settings, threads=1))
    for engine, optimized in (("TorchScript", False), ("optimize_for_inference", True)):
        artifacts[1].manifest.options[OPTIMIZE_OPTION] = optimized
        yield engine, make_run_spec(script, ParityOptions(), built)


def describe(kept: Pieces) -> None:
    """Print the spread of each engine's ratios, and the false positives."""
    ratios: dict[str, list[float]] = {}
    for sample in kept.done.values():
        for engine, values in sample.items():
            ratios.setdefault(engine, []).extend(values)
    for engine, values in ratios.items():
        print(
            f"{engine:<24} {len(values)} runs, ratio to PyTorch float32: median {np.median(values):.2f}, "
            f"99th percentile {np.percentile(values, 99):.2f}, largest {max(values):.2f}"
        )
    every = [value for values in ratios.values() for value in values]
    failed = sum(value > ERROR_FACTOR for value in every)
    print(f"{len(every)} runs, {failed} false positives at a factor of {ERROR_FACTOR:g}")


if __name__ == "__main__":
    main()
