"""How far do sound engines stray? The largest error of each over PyTorch float32's own, for many clips and networks.

The verdict allows `exporter.parity.tolerance.FACTOR`; the largest ratio seen here says how far a false alarm is. Every
clip's truth is computed once and serves all engines, batches and thread counts.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import machine
from pieces import Pieces, pieces

from exporter.artifact import Artifact
from exporter.formats.torchscript import OPTIMIZE_OPTION
from exporter.parity.inputs import draw_clips
from exporter.parity.judge import judge
from exporter.parity.reference import Subject
from exporter.parity.tolerance import FACTOR
from exporter.parity.trials import Trial, ask
from exporter.parity.truth import NetworkTruth, Truth
from exporter.parity.verify import trial_of
from exporter.pipeline import export
from exporter.selftest.runner import CLEAN
from exporter.types import ExportRequest, ParityOptions
from models import build
from models.builder import BuiltNetwork
from models.spec import NetworkConfig

NETWORKS = (
    NetworkConfig(),
    NetworkConfig(487, pool5="right"),
    NetworkConfig(batch_norm=True),
    NetworkConfig(51),
    NetworkConfig(10, batch_norm=True, pool5="right"),
)
"""The seed of each is its place."""
DRAWS = 6
"""Of each kind of `CLEAN`, for each network."""


def main() -> None:
    """Measure what is left, and print what is known."""
    kept = pieces(__doc__ or "")
    for seed, config in enumerate(NETWORKS):
        left = [draw for draw in range(DRAWS) if f"network {seed} draw {draw}" not in kept.done]
        if not left or kept.over:
            continue
        with tempfile.TemporaryDirectory() as name:
            request = ExportRequest(
                ("onnx", "torchscript"), output_dir=Path(name), verify=False, seed=seed, num_classes=config.num_classes,
                batch_norm=config.batch_norm, pool5=config.pool5,
            )  # fmt: skip
            artifacts = export(request).artifacts
            built = build(config.num_classes, batch_norm=config.batch_norm, pool5=config.pool5, seed=seed)
            for draw in left:
                if kept.over:
                    break
                kept.keep(f"network {seed} draw {draw}", measure(artifacts, built, 1000 * seed + draw + 1))
    print(machine())
    tell(kept)


def measure(artifacts: tuple[Artifact, ...], built: BuiltNetwork, seed: int) -> dict[str, list[float]]:
    """Return {engine: the ratio to PyTorch's own error in each comparison}, inf for an alarm of another kind."""
    pool = draw_clips(built.preprocessing, ParityOptions(seed=seed, kinds=CLEAN))
    truth = Truth(NetworkTruth(built), pool)
    ratios: dict[str, list[float]] = {}
    for engine, trial in trials(artifacts, built):
        report = judge(ask(trial, pool), truth, ParityOptions())
        ratios[engine] = [
            FACTOR * row.share if row.passed else max(FACTOR * row.share, np.nextafter(FACTOR, np.inf))
            for row in report.comparisons
        ]
    return ratios


def trials(artifacts: tuple[Artifact, ...], built: BuiltNetwork) -> Iterator[tuple[str, Trial]]:
    """Give each engine, and onnxruntime on one thread too."""
    onnx, script = (Subject(made.path, made.manifest.format, made.manifest, ()) for made in artifacts)
    default = trial_of(onnx, ParityOptions(), built.config)
    yield "onnxruntime", default
    yield "onnxruntime, 1 thread", replace(default, settings=replace(default.settings, threads=1))
    for engine, optimised in (("TorchScript", False), ("optimize_for_inference", True)):
        artifacts[1].manifest.options[OPTIMIZE_OPTION] = optimised
        yield engine, trial_of(script, ParityOptions(), built.config)


def tell(kept: Pieces) -> None:
    """Print the spread of each engine's ratios, and the alarms."""
    ratios: dict[str, list[float]] = {}
    for drawn in kept.done.values():
        for engine, values in drawn.items():
            ratios.setdefault(engine, []).extend(values)
    for engine, values in ratios.items():
        print(
            f"{engine:<24} {len(values)} runs, ratio to PyTorch float32: median {np.median(values):.2f}, "
            f"99th percentile {np.percentile(values, 99):.2f}, largest {max(values):.2f}"
        )
    every = [value for values in ratios.values() for value in values]
    print(f"{len(every)} runs, {sum(value > FACTOR for value in every)} alarms at a factor of {FACTOR:g}")


if __name__ == "__main__":
    main()
