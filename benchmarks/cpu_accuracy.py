"""The error of optimized artifacts against float64, divided by PyTorch eager's own float32 error.

    python benchmarks/cpu_accuracy.py artifacts/c3d.onnx [more.onnx …]

Samples of every regular input type and the real clip, one by one and in batches of 3, for the network of seed 0. For
each type: the largest error of any logit of any sample over the largest of eager on the same samples, and the same
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
from models.preprocessing.profiles import UNKNOWN

TYPES = ("random", "uniform", "heavy-tailed", "sparse", "saturated", "zeros", "constant", "pixels", "video")
SAMPLES = 12
BATCHES = (1, 3)


def main(paths: list[Path]) -> None:
    """Print a row for each artifact, batch size and input type."""
    print(machine())
    inputs = make_video_inputs(C3DConfig().input, UNKNOWN, ParityOptions(input_types=TYPES, samples=SAMPLES, seed=5))
    clips = inputs.select(range(len(inputs.names)))[INPUT_NAME]
    network = build(BuildOptions(seed=0)).network
    with torch.inference_mode():
        eager = np.concatenate([network(torch.from_numpy(clip[None])).numpy() for clip in clips])
        network.double()
        float64 = np.concatenate([network(torch.from_numpy(clip[None]).double()).numpy() for clip in clips])
    own = eager - float64
    for path in paths:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for batch in BATCHES:
            starts = range(0, len(clips), batch)
            outputs = np.concatenate([session.run(None, {INPUT_NAME: clips[at : at + batch]})[0] for at in starts])  # pyright: ignore
            error = outputs - float64
            print(f"{path}, batch {batch}: errors as multiples of eager's")
            for input_type in TYPES:
                rows = [row for row, name in enumerate(inputs.names) if name == input_type]
                ours, eagers = error[rows], own[rows]
                largest = np.abs(ours).max() / np.abs(eagers).max()
                mean = np.sqrt((ours**2).mean() / (eagers**2).mean())
                print(f"    {input_type:14s} largest {largest:.2f}, root mean square {mean:.2f}  ({len(rows)} clips)")
            print(f"    single clips   largest {describe(np.abs(error).max(axis=1) / np.abs(own).max(axis=1))}")


def describe(ratios: "np.ndarray") -> str:
    """Return the median, the ninetieth percentile, and the largest."""
    return f"{np.median(ratios):.2f} (nine in ten {np.quantile(ratios, 0.9):.2f}, at most {ratios.max():.2f})"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
