"""Where onnxruntime spends its time on a quantised network, operator by operator, for every form of it.

`python benchmarks/int8_operators.py MODEL.onnx [--rounds 9] [--threads 2] [--openvino INT8.xml]`. MODEL.onnx is a
float32 file of the portable target with one input. It is quantised in each form of `exporter.passes.quantize.plans`,
with ranges of random clips, on which times do not depend. Sessions run in interleaved rounds, with onnxruntime's
profiler; prints the median wall-clock time of every operator, the sum of each layer, the time of a clip, the processor
time of a clip over the threads, and the ratio to onnxruntime's own form, Q/DQ, in each round. `--openvino` adds a
quantised IR, as a whole.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from measure import machine
from numpy.typing import NDArray

from exporter.onnx_io.writer import write_onnx
from exporter.passes.autotune import Measurements, autotune_folder
from exporter.passes.graph import infer_shapes
from exporter.passes.quantize.layers import find_layers
from exporter.passes.quantize.plans import DIRECT, PORTABLE, UNSIGNED, Plan, choose_variants, find_activations
from exporter.passes.quantize.ranges import MIN_MAX, measure_ranges
from exporter.timing import RoundOptions, interleave

SMALLEST_MS = 0.05
"""Operators that take less are only part of their layer's sum."""


def main() -> None:
    """Measure the file of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--openvino", type=Path, help="a quantised IR to measure beside")
    given = parser.parse_args()
    print(machine(), f"onnxruntime {ort.__version__}, {given.threads} threads", sep=", ")
    model = ir.load(given.model)
    infer_shapes(model)
    (source,) = model.graph.inputs
    shape = [size if isinstance(size, int) else 1 for size in source.shape or ()]
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    layers = [layer.name for layer in find_layers(model)]
    with TemporaryDirectory() as folder:
        files = write_plans(model, given.model, x, Path(folder))
        sessions = {name: open_session(path, given.threads, Path(folder)) for name, path in files.items()}
        runs: dict[str, Callable[[], object]] = {
            name: partial(session.run, None, {str(source.name): x}) for name, session in sessions.items()
        }
        if given.openvino:
            runs["OpenVINO"] = open_in_openvino(given.openvino, x, given.threads)
        wall, processor = measure(runs, given.rounds)
        for name, session in sessions.items():
            print_operators(name, read_profile(Path(session.end_profiling())), layers)
    print("\nform                          clip ms  processor ms  ratio to Q/DQ (lowest to highest of the rounds)")
    for name in runs:
        ratios = [one / other for one, other in zip(wall[name], wall[UNSIGNED.name], strict=True)]
        times = f"{1e3 * median(wall[name]):8.1f}  {1e3 * median(processor[name]):12.1f}"
        print(f"{name:28s} {times}  {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def write_plans(model: ir.Model, path: Path, x: NDArray[Any], folder: Path) -> dict[str, Path]:
    """Write the float32 model and every variant of it; return {variant: file}."""
    ranges = measure_ranges(path, find_activations(model), x)[MIN_MAX]
    chosen = choose_variants(model, cache=Measurements(autotune_folder()))
    variants = {name: variant for name, (variant, _) in chosen.items()}
    for name, (variant, times) in chosen.items():
        print(f"{name}: {variant} ({', '.join(f'{key} {ms:.1f} ms' for key, ms in times.items())})")
    direct = Plan("QLinearConv, 3-D", "uint8", quantize_bias=True, variants=dict.fromkeys(variants, DIRECT))
    plans = [
        PORTABLE,
        UNSIGNED,
        *([direct, Plan("QLinearConv", "uint8", quantize_bias=True, variants=variants)] if variants else []),
    ]
    made = {plan.name: plan.apply(model, ranges).model for plan in plans}
    files = {
        name: write_onnx(done, folder, f"{number}.onnx", external_data=False)[0]
        for number, (name, done) in enumerate(made.items())
    }
    return {"float32": path, **files}


def open_session(path: Path, threads: int, folder: Path) -> ort.InferenceSession:
    """Return a session that records a profile."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / path.stem)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def open_in_openvino(path: Path, x: NDArray[Any], threads: int) -> Callable[[], object]:
    """Return a run of an IR in OpenVINO, for latency."""
    openvino = importlib.import_module("openvino")
    model = openvino.Core().read_model(path)
    model.reshape(list(x.shape))
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return lambda: compiled([x], share_inputs=True)


def measure(
    runs: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return {form: wall-clock seconds of each round} and {form: processor seconds of each}."""
    wall: dict[str, list[float]] = {name: [] for name in runs}
    processor: dict[str, list[float]] = {name: [] for name in runs}
    options = RoundOptions(min_rounds=rounds, max_rounds=rounds, warm_up=1)
    for number, name in interleave(list(runs), options):
        start, used = time.perf_counter(), time.process_time()
        runs[name]()
        if number >= options.warm_up:
            wall[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - used)
    return wall, processor


def read_profile(path: Path) -> dict[tuple[str, str], float]:
    """Return {(node, operator): median milliseconds}."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in json.loads(path.read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]].append(event["dur"] / 1e3)
    return {node: median(found[1:] or found) for node, found in times.items()}


def print_operators(name: str, times: Mapping[tuple[str, str], float], layers: list[str]) -> None:
    """Print every operator under the layer it belongs to: the last that was begun."""
    print(f"\n{name}: {sum(times.values()):.1f} ms in operators")
    sums: dict[str, dict[str, float]] = {}
    current = "input"
    for (node, operator), ms in times.items():
        current = next((layer for layer in sorted(layers, key=len, reverse=True) if layer in node), current)
        parts = sums.setdefault(current, {})
        parts[operator] = parts.get(operator, 0) + ms
    for layer, parts in sums.items():
        shown = ", ".join(f"{operator} {ms:.2f}" for operator, ms in parts.items() if ms >= SMALLEST_MS)
        print(f"  {layer:12s} {sum(parts.values()):8.2f}  {shown}")


if __name__ == "__main__":
    main()
