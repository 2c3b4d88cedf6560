"""How far does an optimised artifact stray? Its error against float64, over PyTorch eager's own float32 error.

    python benchmarks/cpu_accuracy.py artifacts/c3d.onnx [more.onnx …]

Several draws of every calm kind of input and the real clip, each alone and all in batches of 3, for the network of seed
0. Ratios of the largest error and of the root mean square, by kind.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from measure import machine

from exporter.parity.inputs import draw_clips
from exporter.types import INPUT, ParityOptions
from models.builder import build
from models.preprocessing import UNKNOWN

KINDS = ("random", "uniform", "heavy-tailed", "sparse", "saturated", "zeros", "constant", "pixels", "video")
DRAWS = 4
BATCHES = (1, 3)


def main(paths: list[Path]) -> None:
    """Print a row for each artifact, batch size and kind."""
    print(machine())
    pool = draw_clips(UNKNOWN, ParityOptions(kinds=KINDS, samples=DRAWS, seed=5))
    clips = pool.feeds[INPUT]
    network = build(seed=0).network
    with torch.inference_mode():
        eager = np.concatenate([network(torch.from_numpy(clip[None])).numpy() for clip in clips])
        network.double()
        exact = np.concatenate([network(torch.from_numpy(clip[None]).double()).numpy() for clip in clips])
    own = eager - exact
    for path in paths:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for batch in BATCHES:
            starts = range(0, len(clips), batch)
            answers = np.concatenate([session.run(None, {INPUT: clips[at : at + batch]})[0] for at in starts])  # pyright: ignore
            error = answers - exact
            largest = np.abs(error).max(axis=1) / np.abs(own).max(axis=1)
            mean = np.sqrt((error**2).mean(axis=1) / (own**2).mean(axis=1))
            print(f"{path}, batch {batch}: largest error {tell(largest)}, root mean square {tell(mean)} of eager's")
            for kind in KINDS:
                rows = [row for row, name in enumerate(pool.names) if name == kind]
                print(f"    {kind:14s} largest {tell(largest[rows])}, root mean square {tell(mean[rows])}")


def tell(ratios: "np.ndarray") -> str:
    """Return the median and the largest."""
    return f"{np.median(ratios):.2f} (at most {ratios.max():.2f})"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
