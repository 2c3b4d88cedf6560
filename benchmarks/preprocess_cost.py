"""What does preprocessing inside an artifact cost over the artifact that takes clips?

`python benchmarks/preprocess_cost.py [--sizes 320x240,640x480,1920x1080] [--rounds 15] [--profile jfzhang95]`. C3D with
random weights, one clip of 16 frames, two threads: the ONNX file of each `--target` in onnxruntime, and the TorchScript
variants `plain` and `winograd`. Each round runs the artifact without preprocessing and the one with it at every frame
size, in a random order. Prints medians, and by round the added milliseconds and the ratio with the interval of the sign
test. `--processor` prints processor time on one thread instead of wall time on two: for a machine on which other
programs run too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort
import torch
from measure import machine

from exporter.bench.statistics import paired_ratio
from exporter.formats.export_module import select_outputs
from exporter.formats.torchscript_variants import Variant, compile_variant, make_variant
from exporter.requests import ExportRequest
from exporter.timing import RoundOptions, interleave
from exporter.types import TARGETS, OptimizeOptions, Target
from exporter.workflows.export import export
from models.builder import build
from models.built_model import BuiltModel
from models.preprocessing.files import find_profile
from models.preprocessing.network import with_preprocessing

THREADS = 2
BARE = "clip"
VARIANTS: tuple[Variant, ...] = ("plain", "winograd")

Size = tuple[int, int]
Run = Callable[[], object]


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="320x240,640x480,1920x1080", help="of decoded frames, WIDTHxHEIGHT")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--profile", default="jfzhang95")
    parser.add_argument("--processor", action="store_true", help="processor time, for a machine that is not idle")
    given = parser.parse_args()
    sizes = [parse_size(text) for text in given.sizes.split(",")]
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    threads = 1 if given.processor else THREADS
    torch.set_num_threads(threads)
    model = replace(build(), preprocessing=find_profile(given.profile))
    print(machine())
    print(f"profile {given.profile}, {'processor' if given.processor else 'wall'} time, threads: {threads}, ms")
    print(f"{'artifact':<22}{'frames':>12}{'without':>10}{'with':>10}{'added':>8}{'ratio':>8}  95 % interval")
    clock = time.process_time if given.processor else time.perf_counter
    for name, runs in targets(model, sizes, threads):
        measure(name, runs, given.rounds, clock)


def parse_size(text: str) -> Size:
    """Return (height, width) of `320x240`."""
    width, height = map(int, text.split("x"))
    return height, width


def targets(model: BuiltModel, sizes: list[Size], threads: int) -> Iterator[tuple[str, dict[str, Run]]]:
    """Yield (artifact, {what it is fed: a call}), the artifact without preprocessing first."""
    random = np.random.default_rng(0)
    clip = random.uniform(-100, 100, (1, 3, 16, 112, 112)).astype(np.float32)
    frames = {f"{w}x{h}": random.integers(0, 256, (1, 16, h, w, 3), dtype=np.uint8) for h, w in sizes}
    for target in TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            bare, inside = (open_onnx(model, target, Path(folder), inside, threads) for inside in (False, True))
        runs: dict[str, Run] = {BARE: partial(bare.run, None, {"clip": clip})}
        runs |= {size: partial(inside.run, None, {"frames": values}) for size, values in frames.items()}
        yield f"ONNX, {target}", runs
        del bare, inside, runs
    framed = with_preprocessing(model)
    for variant in VARIANTS:
        scripts = [
            compile_variant(make_variant(select_outputs(one, ("logits",)), one, variant), variant)
            for one in (model, framed)
        ]
        runs = {BARE: partial(scripts[0], torch.from_numpy(clip))}
        runs |= {size: partial(scripts[1], torch.from_numpy(values)) for size, values in frames.items()}
        with torch.inference_mode():
            yield f"TorchScript, {variant}", runs


def open_onnx(model: BuiltModel, target: Target, folder: Path, inside: bool, threads: int) -> ort.InferenceSession:
    """Export to a file, without verification, and open it."""
    request = ExportRequest(
        ("onnx",),
        model,
        optimize=OptimizeOptions(target=target),
        with_preprocess=inside,
        output_dir=folder,
        name="inside" if inside else "bare",
        verify=False,
    )
    path = export(request).artifacts[0].path
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def measure(name: str, runs: dict[str, Run], rounds: int, clock: Callable[[], float]) -> None:
    """Print a row for each frame size."""
    options = RoundOptions(rounds, rounds, warm_up=2)
    seconds: dict[str, list[float]] = {fed: [] for fed in runs}
    for number, fed in interleave(list(runs), options):
        start = clock()
        runs[fed]()
        if number >= options.warm_up:
            seconds[fed].append(clock() - start)
    times = {fed: [1e3 * value for value in found] for fed, found in seconds.items()}
    bare = times.pop(BARE)
    for fed, found in times.items():
        added = median(b - a for a, b in zip(bare, found, strict=True))
        ratio = paired_ratio(found, bare)
        print(
            f"{name:<22}{fed:>12}{median(bare):>10.1f}{median(found):>10.1f}{added:>8.1f}{ratio.value:>8.3f}  "
            f"{ratio.low:.3f} to {ratio.high:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
