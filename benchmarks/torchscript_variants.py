"""What each variant of a TorchScript file costs, and its error: the table "TorchScript on CPU" of benchmarks/results.

    python benchmarks/torchscript_variants.py             batch 1
    python benchmarks/torchscript_variants.py 1 4         batches 1 and 4

Measured are PyTorch eager, every variant as loaded from its file, and the plain one after
`torch.jit.optimize_for_inference`, in interleaved rounds. Each has its own process, so that none profits from memory
that another's allocator keeps. Ratios are taken round by round. Errors are of the logits against float64, by input
type, as multiples of eager's own error on the same clip.
"""

import multiprocessing
import resource
import sys
import tempfile
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import torch
from measure import machine

from exporter.formats.export_module import select_outputs
from exporter.formats.torchscript_variants import OPTIMIZE_FOR_INFERENCE, VARIANTS, compile_variant, make_variant
from exporter.parity.inputs import make_video_inputs
from exporter.types import ParityOptions
from models.builder import build
from models.config import INPUT_NAME, C3DConfig
from models.preprocessing.profiles import UNKNOWN

NAMES = ("eager", *VARIANTS, OPTIMIZE_FOR_INFERENCE)
INPUT_TYPES, DRAWS = ("random", "video", "impulse"), 4
ROUNDS, WARM_UP, COOLDOWN_S = 15, 3, 0.03


def load(name: str, folder: Path) -> Any:
    """Return what is measured."""
    if name == "eager":
        return build().network
    if name == OPTIMIZE_FOR_INFERENCE:
        return torch.jit.optimize_for_inference(torch.jit.load(str(folder / "plain.pt")).eval())
    return torch.jit.load(str(folder / f"{name}.pt"))


def serve(pipe: Connection, name: str, folder: Path, batch: int) -> None:
    """Run once for each true message, and reply with the milliseconds and the megabytes of newly mapped memory."""
    warnings.simplefilter("ignore")
    run = load(name, folder)
    clips = torch.randn(batch, 3, 16, 112, 112, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        while pipe.recv():
            before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, perf_counter()
            run(clips)
            taken = 1e3 * (perf_counter() - start)
            pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
            pipe.send((taken, pages * resource.getpagesize() / 1e6))


def rounds(folder: Path, batch: int) -> dict[str, list[tuple[float, float]]]:
    """Return {name: (milliseconds, megabytes) of each round}."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name in NAMES:
        pipes[name], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, name, folder, batch), daemon=True).start()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for turn in range(WARM_UP + ROUNDS):
        shift = turn % len(NAMES)
        for name in NAMES[shift:] + NAMES[:shift]:
            sleep(COOLDOWN_S)
            pipes[name].send(True)
            taken[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(False)
    return {name: times[WARM_UP:] for name, times in taken.items()}


def errors(folder: Path) -> None:
    """Print, by input_type, the median of the clips' root mean squares and the largest of their largest errors."""
    pool = make_video_inputs(C3DConfig().input, UNKNOWN, ParityOptions(input_types=INPUT_TYPES, samples=DRAWS))
    clips = [torch.from_numpy(feed[INPUT_NAME]) for feed in pool.feeds]
    network = build().network
    single = [network(clip) for clip in clips]
    network.double()
    exact = [network(clip.double()) for clip in clips]
    for name in NAMES:
        run, said = load(name, folder), list[str]()
        off = [run(clip) - golden for clip, golden in zip(clips, exact, strict=True)]
        own = [output - golden for output, golden in zip(single, exact, strict=True)]
        for input_type in INPUT_TYPES:
            rows = [row for row, drawn in enumerate(pool.names) if drawn == input_type]
            mean = median((off[row].norm() / own[row].norm()).item() for row in rows)
            largest = max((off[row].abs().max() / own[row].abs().max()).item() for row in rows)
            said.append(f"{input_type} {mean:.2f} / {largest:.2f}")
        print(f"  {name:24s} {', '.join(said)}", flush=True)


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    batches = [int(argument) for argument in sys.argv[1:]] or [1]
    print(machine(), f"torch {torch.__version__}, {torch.get_num_threads()} threads", sep=", ")
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder, model = Path(name), build()
        module = select_outputs(model, ("logits",))
        for variant in VARIANTS:
            path = folder / f"{variant}.pt"
            torch.jit.save(compile_variant(make_variant(module, model, variant), variant), str(path))
            start = perf_counter()
            torch.jit.load(str(path))
            print(f"  {variant:24s} {path.stat().st_size / 1e6:.0f} MB, load {perf_counter() - start:.2f} s")
        for batch in batches:
            print(f"batch {batch}: median (least) ms, times as fast as eager and as plain, new memory, {ROUNDS} rounds")
            taken = rounds(folder, batch)
            for variant, turns in taken.items():
                times = [time for time, _ in turns]
                gains = [
                    median(slow / fast for (slow, _), fast in zip(taken[first], times, strict=True))
                    for first in ("eager", "plain")
                ]
                print(
                    f"  {variant:24s} {median(times):6.0f} ({min(times):.0f})  {gains[0]:.2f}  {gains[1]:.2f}"
                    f"  {median(new_memory for _, new_memory in turns):.0f} MB",
                    flush=True,
                )
        print(f"errors as multiples of eager's, root mean square / largest, {DRAWS} draws of each input_type")
        errors(folder)


if __name__ == "__main__":
    main()
