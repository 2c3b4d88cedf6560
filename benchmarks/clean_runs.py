"""How far do sound engines stray? The largest error of each over PyTorch float32's own, for many clips and networks.

The verdict allows `exporter.parity.compare.FACTOR`; the largest ratio seen here says how far a false alarm is.
"""

import tempfile
from pathlib import Path

import numpy as np
from measure import machine

from exporter.parity.compare import FACTOR, compare
from exporter.parity.inputs import draw_clips
from exporter.parity.reference import Subject
from exporter.parity.truth import compute_truth
from exporter.parity.verify import ask
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
                pool = draw_clips(built.preprocessing, seed=1000 * seed + draw)
                answers = {
                    engine: ask(subject, built.config, pool, ParityOptions()) for engine, subject in engines.items()
                }
                script.manifest.options["optimize_for_inference"] = True
                answers["optimize_for_inference"] = ask(engines["TorchScript"], built.config, pool, ParityOptions())
                script.manifest.options["optimize_for_inference"] = False
                truth = compute_truth(built.network, pool.clips)
                for engine, answer in answers.items():
                    for batch, outputs in answer.batches:
                        places = list(batch.clips)
                        exact, single = truth.exact["logits"][places], truth.torch["logits"][places]
                        row = compare(batch.name, "logits", outputs["logits"], exact, single)
                        shares.setdefault(engine, []).append(FACTOR * row.max_error / row.budget)
                        alarms += not row.passed
    for engine, values in shares.items():
        print(
            f"{engine:<24} {len(values)} comparisons, ratio to PyTorch float32: median {np.median(values):.2f}, "
            f"99th percentile {np.percentile(values, 99):.2f}, largest {max(values):.2f}"
        )
    print(f"alarms at a factor of {FACTOR:g}: {alarms}")


if __name__ == "__main__":
    main()
