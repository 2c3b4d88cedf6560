"""What `verify parity` costs over the forward passes it must make, in one process each, interleaved."""

import sys
import tempfile
from pathlib import Path

from measure import BIN, machine, run, spread

RUNS = 3
PASSES = """
import sys
import numpy as np, onnxruntime, torch
from models import C3D

torch.manual_seed(0)
network = C3D().eval()
session = onnxruntime.InferenceSession(sys.argv[1])
rng = np.random.default_rng(0)
clips = rng.standard_normal((4, 3, 16, 112, 112), dtype=np.float32)
for batch in ([0], [1], [2], [3], [0, 1], [0, 1, 2]):
    session.run(None, {"clip": clips[batch]})
with torch.inference_mode():
    for clip in clips:
        network(torch.from_numpy(clip[None]))
    network.double()
    for clip in clips:
        network(torch.from_numpy(clip[None]).double())
"""


def main() -> None:
    """Measure in interleaved rounds, and print."""
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([str(BIN / "c3d-export"), "--format", "onnx", "--no-verify"], folder)
        model = str(folder / "artifacts" / "c3d.onnx")
        pairs = [
            (
                run([str(BIN / "verify"), "parity", "--inputs", "quick"], folder),
                run([sys.executable, "-c", PASSES, model], folder),
            )
            for _ in range(RUNS)
        ]
    print(f"verify parity                          {spread([a.seconds for a, _ in pairs])} s")
    print(f"build, load and the same passes only   {spread([b.seconds for _, b in pairs])} s")
    print(f"ratio, pair by pair                    {spread([a.seconds / b.seconds for a, b in pairs])}")
    print(f"peak memory                            {spread([a.megabytes for a, _ in pairs])} MB")


if __name__ == "__main__":
    main()
