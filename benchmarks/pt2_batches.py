"""What a clip costs in a `.pt2` file of the Winograd variant, by batch size: "pt2 by batch" of benchmarks/results.

    python benchmarks/pt2_batches.py [1 2 4 8]

Programs that loop over the clips (`map`), as the file does, and that process all clips together (`none`), as it did,
beside the TorchScript of the same variant: the full C3D with random weights, each in a process of its own with one
thread. Stated is processor time, the least of `ROUNDS` runs, so that other programs on the machine matter little. New
pages are what the system had to fill with zeros in a run (minor page faults).
"""

import multiprocessing
import resource
import sys
from time import process_time

import torch
from measure import machine

from exporter.formats.export_module import select_outputs
from exporter.formats.exported_program import export_program
from exporter.formats.torchscript_variants import compile_variant, make_variant, random_input
from models.builder import build

NAMES = ("map", "none", "TorchScript")
ROUNDS, WARM_UP = 4, 2


def measure(name: str, batches: list[int]) -> None:
    """Print a row for each batch size."""
    torch.set_num_threads(1)
    model = build()
    module = select_outputs(model, model.default_outputs)
    if name == "TorchScript":
        run = compile_variant(make_variant(module, model, "winograd"), "winograd")
    else:
        assert name in ("map", "none")
        run = export_program(make_variant(module, model, "winograd", name), model, None).module()
    with torch.inference_mode():
        for batch in batches:
            clips = random_input(model, batch)
            times: list[float] = []
            pages = 0
            for _ in range(WARM_UP + ROUNDS):
                before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, process_time()
                run(clips)
                times.append(1e3 * (process_time() - start))
                pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
            least, new = min(times[WARM_UP:]), pages * resource.getpagesize() / 1e6
            print(f"| {name} | {batch} | {least:.0f} | {least / batch:.0f} | {new:,.0f} |", flush=True)


def main() -> None:
    """Measure every program, and print the table."""
    batches = [int(text) for text in sys.argv[1:]] or [1, 2, 4, 8]
    print(machine())
    print("| program | batch | ms of processor time | ms a clip | MB of new pages |\n|---|---|---|---|---|", flush=True)
    context = multiprocessing.get_context("spawn")
    for name in NAMES:
        process = context.Process(target=measure, args=(name, batches))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
