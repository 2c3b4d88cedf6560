"""How far do sound engines stray? The largest error of each over PyTorch float32's own, for many clips and networks.

The verdict allows `exporter.parity.tolerance.FACTOR`; the largest ratio seen here says how far a false alarm is.
"""

import tempfile
from pathlib import Path

import numpy as np
from measure import machine

from exporter.parity.inputs import draw_clips
from exporter.parity.judge import judge
from exporter.parity.reference import Subject
from exporter.parity.tolerance import FACTOR
from exporter.parity.trials import ask
from exporter.parity.truth import NetworkTruth, Truth
from exporter.parity.verify import trial_of
from exporter.pipeline import export
from exporter.types import ExportRequest, ParityOptions
from models import build

NETWORKS = 3
DRAWS = 4


def main() -> None:
    """Measure and print."""
    print(machine())
    shares: dict[str, list[float]] = {}
    alarms = 0
    for seed in range(NETWORKS):
        with tempfile.TemporaryDirectory() as name:
            request = ExportRequest(("onnx", "torchscript"), output_dir=Path(name), verify=False, seed=seed)
            onnx, script = export(request).artifacts
            engines = {
                "onnxruntime": Subject(onnx.path, "onnx", onnx.manifest, ()),
                "TorchScript": Subject(script.path, "torchscript", script.manifest, ()),
            }
            script.manifest.options["optimize_for_inference"] = False
            for draw in range(DRAWS):
                built = build(seed=seed)
                options = ParityOptions(seed=1000 * seed + draw)
                pool = draw_clips(built.preprocessing, options)
                answers = {
                    engine: ask(trial_of(subject, options, built.config), pool) for engine, subject in engines.items()
                }
                script.manifest.options["optimize_for_inference"] = True
                answers["optimize_for_inference"] = ask(trial_of(engines["TorchScript"], options, built.config), pool)
                script.manifest.options["optimize_for_inference"] = False
                truth = Truth(NetworkTruth(built), pool)
                for engine, answer in answers.items():
                    report = judge(answer, truth, options)
                    shares.setdefault(engine, []).extend(FACTOR * row.share for row in report.comparisons)
                    alarms += sum(not row.passed for row in report.comparisons)
    for engine, values in shares.items():
        print(
            f"{engine:<24} {len(values)} comparisons, ratio to PyTorch float32: median {np.median(values):.2f}, "
            f"99th percentile {np.percentile(values, 99):.2f}, largest {max(values):.2f}"
        )
    print(f"alarms at a factor of {FACTOR:g}: {alarms}")


if __name__ == "__main__":
    main()
