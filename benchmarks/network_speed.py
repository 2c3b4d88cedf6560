"""Is an optimised network faster than its original in onnxruntime, and than the original in OpenVINO?

Every file is optimised, or taken from the folder if it was before, and timed beside its original in interleaved rounds,
batch 1. OpenVINO computes in float32 too. Ratios are per round, to the optimised file. Another call continues.

    python benchmarks/network_speed.py NETWORKS/*.onnx --optimized OPTIMIZED --into speed.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from measure import machine
from pieces import Pieces

from exporter import BenchReport, BenchRequest, OptimizeRequest, benchmark, optimize

ROUNDS, SECONDS = 15, 45.0
ORIGINAL, OPENVINO = "original", "OpenVINO"


def main() -> None:
    """Measure the files that are left, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.onnx")
    parser.add_argument("--optimized", type=Path, required=True, help="folder for the optimised files")
    parser.add_argument("--into", type=Path, required=True, help="file of the results so far")
    parser.add_argument(
        "--openvino", type=Path, metavar="PYTHON", help="interpreter that has OpenVINO, if not this one"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time; another call continues")
    given = parser.parse_args()
    done = json.loads(given.into.read_text()) if given.into.is_file() else {}
    kept = Pieces(given.into, time.monotonic() + given.seconds, done)
    given.optimized.mkdir(parents=True, exist_ok=True)
    for file in given.files:
        if file.stem not in kept.done and not kept.over:
            kept.keep(file.stem, measure(file, given.optimized / file.name, given.openvino))
    print(machine())
    print(table(kept.done))


def measure(file: Path, optimized: Path, openvino: Path | None) -> dict[str, Any]:
    """Return {target: median seconds, ratio to the optimised file and its interval}, and what bench noted."""
    if not optimized.exists():
        optimize(OptimizeRequest(file, optimized, verify=False))  # corpus.py verifies it
    request = BenchRequest(
        (optimized, file),
        batches=(1,),
        rounds=ROUNDS,
        seconds=SECONDS,
        load_rounds=1,
        engines=True,
        engine_model=file,
        engine_python={} if openvino is None else {"openvino": openvino},
    )
    report = benchmark(request)
    targets = {"optimized": report.targets[0].name, ORIGINAL: report.targets[1].name, OPENVINO: OPENVINO}
    return {name: _row(report, target) for name, target in targets.items()} | {"notes": list(report.notes)}


def _row(report: BenchReport, target: str) -> dict[str, float | None] | None:
    """Return a target's figures, None where it did not run."""
    for row in report.measurements:
        if row.target == target:
            figures = {"median": row.median, "ratio": row.ratio.value, "low": row.ratio.low, "high": row.ratio.high}
            return figures | {"difference": row.difference}
    return None


def table(done: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| network | optimized, ms | onnxruntime, original, ms | OpenVINO, ms | original / optimized, 95 % "
        "| OpenVINO / optimized, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in done.items():
        times = [rows[target] and f"{rows[target]['median'] * 1e3:.0f}" for target in ("optimized", ORIGINAL, OPENVINO)]
        ratios = [
            rows[target] and f"{rows[target]['ratio']:.2f} ({rows[target]['low']:.2f} to {rows[target]['high']:.2f})"
            for target in (ORIGINAL, OPENVINO)
        ]
        lines.append(f"| {name} | {' | '.join(cell or 'does not run' for cell in (*times, *ratios))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
