"""The cost of an export over torch's own: import torch, build, torch.onnx.export to one file."""

import sys
import tempfile
from pathlib import Path

from measure import BIN, Run, machine, run, spread

RUNS = 7
WEIGHTS_MB = 78_409_573 * 4 / 1e6

IDLE = "import torch"
ALONE = """
import torch
from models import C3D
torch.manual_seed(0)
network = C3D().eval()
torch.onnx.export(network, (torch.zeros(1, 3, 16, 112, 112),), "alone.onnx", dynamo=True, external_data=False,
                  input_names=["clip"], output_names=["logits"], dynamic_shapes=({0: "batch"},),
                  verbose=False)
"""


def main() -> None:
    """Measure, in turns, and print."""
    print(machine())
    ours: list[Run] = []
    alone: list[Run] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idle = run([sys.executable, "-c", IDLE], folder)
        for number in range(RUNS + 1):
            pair = (
                run([str(BIN / "c3d-export"), "--format", "onnx", "--no-verify"], folder),
                run([sys.executable, "-c", ALONE], folder),
            )
            if number:  # the first pair warms the file cache
                ours.append(pair[0])
                alone.append(pair[1])
    print(f"c3d-export --format onnx --no-verify  {spread([r.seconds for r in ours])} s")
    print(f"torch.onnx.export alone               {spread([r.seconds for r in alone])} s")
    ratios = [a.seconds / b.seconds for a, b in zip(ours, alone, strict=True)]
    print(f"ratio, pair by pair                   {spread(ratios)}")
    print(f"interpreter with torch loaded         {idle.megabytes:.0f} MB at its peak")
    for title, runs in (("c3d-export", ours), ("torch alone", alone)):
        over = [(r.megabytes - idle.megabytes) / WEIGHTS_MB for r in runs]
        print(f"peak of {title:<12} over that, in weights of {WEIGHTS_MB:.0f} MB: {spread(over)}")


if __name__ == "__main__":
    main()
