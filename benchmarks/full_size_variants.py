"""Full-size checkpoints of other variants and geometries, exported and verified by the command line.

    python benchmarks/full_size_variants.py [NAME …]

Each checkpoint is built layer by layer as its origin does (`tests/support/helpers/variants.py`), with the published
channel widths and random weights, and deleted afterwards. Prints a row for each: exit code, seconds, the float64
reference's agreement as `--json` states it. An export takes a minute or two and several GB of memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measure import BIN, machine
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from helpers import variants

variants.BASE, variants.WIDTH, variants.CLASSES = 64, 4096, 101
CONVOLUTIONS = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
NORMS = tuple(name.replace("conv", "bn") for name in CONVOLUTIONS)
HEAD = ("fc6", "fc7", "fc8")
IN_GROUPS = ("group1.0", "group2.0", "group3.0", "group3.3", "group4.0", "group4.3", "group5.0", "group5.3")
NORMS_IN_GROUPS = ("group1.1", "group2.1", "group3.1", "group3.4", "group4.1", "group4.4", "group5.1", "group5.4")

Layers = dict[str, tuple[str, ...]]

NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], Layers, tuple[str, ...]]] = {
    "global-pool": (
        lambda: variants.global_pool(norm=True),
        {"conv": CONVOLUTIONS, "norm": NORMS, "linear": ("linear",)},
        (),
    ),
    "efficient-3dcnns": (
        lambda: variants.efficient(16, 112),
        {
            "conv": IN_GROUPS,
            "norm": (*NORMS_IN_GROUPS, "fc1.1", "fc2.1"),
            "linear": ("fc1.0", "fc2.0", "fc.0"),
        },
        (),
    ),
    "3x16x128x160": (
        lambda: variants.plain(3, 5 * 6, variants.SYMMETRIC),
        {"conv": CONVOLUTIONS, "linear": HEAD},
        ("--input-size", "3x16x128x160"),
    ),
    "fc8 after fc6": (
        lambda: variants.plain(3, 4 * 4, variants.SYMMETRIC, (variants.WIDTH,)),
        {"conv": CONVOLUTIONS, "linear": ("fc6", "fc8")},
        (),
    ),
    "pool5 valid": (
        lambda: variants.plain(3, 3 * 3, nn.MaxPool3d(2)),
        {"conv": CONVOLUTIONS, "linear": HEAD},
        ("--pool5", "valid"),
    ),
}
"""{name: (the origin's network, its layers' names in the checkpoint, options that the shapes do not state)}."""


def export(name: str, folder: Path) -> str:
    """Write one checkpoint, export it, and return the table's row."""
    make, layers, options = NETWORKS[name]
    network = make()
    variants.randomize(network)
    checkpoint = folder / "checkpoint.pth"
    torch.save(variants.named_state(network, layers), checkpoint)
    del network
    command = [BIN / "c3d-export", "--format", "onnx", "--weights", checkpoint, "--json", *options]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        return f"| {name} | {done.returncode} | {seconds:.0f} | {done.stderr.strip()[:200]} | |"
    (report,) = json.loads(done.stdout)["parity"]["reports"]
    used = max(row["budget_used"] for row in report["comparisons"])
    return f"| {name} | {done.returncode} | {seconds:.0f} | {len(report['comparisons'])} passed | {used:.2f} |"


def main(names: list[str]) -> None:
    """Export the networks of these names, or all."""
    print(f"{machine()}\n\n| network | exit code | seconds | comparisons | largest share of the tolerance |")
    print("|---|---|---|---|---|")
    for name in names or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            print(export(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
