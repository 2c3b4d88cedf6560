"""What each form of a TorchScript file costs, saves and errs: the table "TorchScript on CPU" of docs/benchmarks.md.

    python benchmarks/torchscript_forms.py             batch 1
    python benchmarks/torchscript_forms.py 1 4         batches 1 and 4

PyTorch eager, every form as it comes back from its file, and the plain one through `torch.jit.optimize_for_inference`,
in turns: nobody always runs behind the same one. Ratios are taken round by round. Errors are of the logits against
float64, on random numbers and on the packaged video, as multiples of eager's own.
"""

import sys
import tempfile
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np
import torch
from measure import machine

from exporter.formats.prepare import prepare
from exporter.formats.torchscript_forms import FORM_NAMES, LOADED, formed, frozen
from exporter.parity.inputs import draw_clips
from exporter.types import ParityOptions
from models.builder import build
from models.preprocessing import UNKNOWN

ROUNDS, WARM_UP, SETTLE = 9, 1, 0.03


def rounds(runs: dict[str, Any], clips: torch.Tensor) -> dict[str, list[float]]:
    """Return {name: milliseconds of each round}."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(WARM_UP + ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            sleep(SETTLE)
            start = perf_counter()
            runs[name](clips)
            taken[name].append(1e3 * (perf_counter() - start))
    return {name: times[WARM_UP:] for name, times in taken.items()}


def errors(runs: dict[str, Any], inputs: dict[str, torch.Tensor]) -> dict[str, str]:
    """Return {name: root mean square and largest error on each input, as multiples of eager's}."""
    network = build(seed=0).network.double()
    said: dict[str, list[str]] = {name: [] for name in runs}
    for kind, clips in inputs.items():
        truth = network(clips.double())
        own = runs["eager"](clips).double() - truth
        for name, run in runs.items():
            off = run(clips).double() - truth
            mean, largest = (off.norm() / own.norm()).item(), (off.abs().max() / own.abs().max()).item()
            said[name].append(f"{kind} {mean:.2f} / {largest:.2f}")
    return {name: ", ".join(parts) for name, parts in said.items()}


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    batches = [int(argument) for argument in sys.argv[1:]] or [1]
    network = build(seed=0).network
    module = prepare(network, ("logits",))
    runs: dict[str, Any] = {"eager": network}
    costs = {"eager": ""}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for name in FORM_NAMES:
            path = Path(folder) / f"{name}.pt"
            torch.jit.save(frozen(formed(module, name)), str(path))
            start = perf_counter()
            runs[name] = torch.jit.load(str(path))
            costs[name] = f"{path.stat().st_size / 1e6:.0f} MB, load {perf_counter() - start:.2f} s"
            if name == "plain":
                runs[LOADED] = torch.jit.optimize_for_inference(torch.jit.load(str(path)).eval())
                costs[LOADED] = "not savable"
            path.unlink()
        pool = draw_clips(UNKNOWN, ParityOptions(kinds=("random", "video")))
        drawn = {kind: torch.from_numpy(np.asarray(pool.feeds["clip"][i : i + 1])) for i, kind in enumerate(pool.names)}
        print(machine(), f"torch {torch.__version__}, {torch.get_num_threads()} threads", sep=", ")
        print("errors as multiples of eager's, root mean square / largest")
        for name, said in errors(runs, drawn).items():
            print(f"  {name:24s} {said}", flush=True)
        for batch in batches:
            print(f"batch {batch}: median (least) ms, times as fast as eager and as plain, {ROUNDS} rounds")
            taken = rounds(runs, torch.randn(batch, 3, 16, 112, 112, generator=torch.Generator().manual_seed(1)))
            for name, times in taken.items():
                gains = [
                    median(slow / fast for slow, fast in zip(taken[first], times, strict=True))
                    for first in ("eager", "plain")
                ]
                print(
                    f"  {name:24s} {median(times):6.0f} ({min(times):.0f})  {gains[0]:.2f}  {gains[1]:.2f}"
                    f"  {costs[name]}"
                )


if __name__ == "__main__":
    main()
