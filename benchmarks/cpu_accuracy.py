"""How far does an optimised artifact stray? Its error against float64, over PyTorch eager's own float32 error.

    python benchmarks/cpu_accuracy.py artifacts/c3d.onnx [more.onnx …]

Draws of every calm kind of input and the real clip, each alone and all in batches of 3, for the network of seed 0. For
each kind: the largest error of any logit of any draw over the largest that eager makes on the same draws, and the same
for the root mean square; then how the ratio spreads over single clips, where both errors are the largest of 101 numbers
and vary by chance.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from measure import machine

from exporter.parity.inputs import make_video_inputs
from exporter.types import ParityOptions
from models.builder import build
from models.config import INPUT_NAME, C3DConfig
from models.options import BuildOptions
from models.preprocessing import UNKNOWN

KINDS = ("random", "uniform", "heavy-tailed", "sparse", "saturated", "zeros", "constant", "pixels", "video")
DRAWS = 12
BATCHES = (1, 3)


def main(paths: list[Path]) -> None:
    """Print a row for each artifact, batch size and kind."""
    print(machine())
    pool = make_video_inputs(C3DConfig().input, UNKNOWN, ParityOptions(input_types=KINDS, samples=DRAWS, seed=5))
    clips = pool.feeds[INPUT_NAME]
    network = build(BuildOptions(seed=0)).network
    with torch.inference_mode():
        eager = np.concatenate([network(torch.from_numpy(clip[None])).numpy() for clip in clips])
        network.double()
        exact = np.concatenate([network(torch.from_numpy(clip[None]).double()).numpy() for clip in clips])
    own = eager - exact
    for path in paths:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for batch in BATCHES:
            starts = range(0, len(clips), batch)
            answers = np.concatenate([session.run(None, {INPUT_NAME: clips[at : at + batch]})[0] for at in starts])  # pyright: ignore
            error = answers - exact
            print(f"{path}, batch {batch}: errors as multiples of eager's")
            for kind in KINDS:
                rows = [row for row, name in enumerate(pool.names) if name == kind]
                ours, eagers = error[rows], own[rows]
                largest = np.abs(ours).max() / np.abs(eagers).max()
                mean = np.sqrt((ours**2).mean() / (eagers**2).mean())
                print(f"    {kind:14s} largest {largest:.2f}, root mean square {mean:.2f}  ({len(rows)} clips)")
            print(f"    single clips   largest {tell(np.abs(error).max(axis=1) / np.abs(own).max(axis=1))}")


def tell(ratios: "np.ndarray") -> str:
    """Return the median, the ninetieth percentile, and the largest."""
    return f"{np.median(ratios):.2f} (nine in ten {np.quantile(ratios, 0.9):.2f}, at most {ratios.max():.2f})"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
