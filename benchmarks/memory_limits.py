"""Every command under limits of its address space, from too little to enough: how does each run end?

A command may succeed (0), say that memory ran out (5), or be ended by a crash inside a library that the supervisor
turns into one line; it must not call that a bug (70) or a bad file (3), print a traceback, hang, or leave a staging
folder. Prints one line for each command, and one for every run that breaks this.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
SECONDS = 240.0
"""A run that takes longer hangs."""
LEVELS = 16
POLL_S = 0.02

NETWORK = ["--weights", "narrow.pth"]
NO_SPEED = ["--no-measure"]
ONE_ROUND = ["--rounds", "1", "--threads", "1"]
MADE = {"torchscript": "made/c3d.pt", "pt2": "made/c3d.pt2", "openvino": "made/c3d.xml"}

COMMANDS: Mapping[str, Sequence[str]] = {
    "inspect checkpoint": ["c3d-export", "inspect", "narrow.pth"],
    "inspect h5": ["c3d-export", "inspect", "weights.h5"],
    "inspect npz": ["c3d-export", "inspect", "weights.npz"],
    "inspect onnx": ["c3d-export", "inspect", "made/c3d.onnx"],
    "convert": ["c3d-export", "convert", "narrow.pth", "-o", "out/c.safetensors"],
    "export onnx": ["c3d-export", "--format", "onnx", *NETWORK, "-o", "out"],
    "export onnx cpu": ["c3d-export", "--format", "onnx", "--target", "cpu", *NETWORK, "-o", "out"],
    "export torchscript": ["c3d-export", "--format", "torchscript", *NETWORK, "-o", "out"],
    "export pt2": ["c3d-export", "--format", "pt2", *NETWORK, "-o", "out"],
    "export openvino": ["c3d-export", "--format", "openvino", *NETWORK, "-o", "out"],
    "verify parity": ["verify", "parity", "made/c3d.onnx"],
    "verify against": ["verify", "parity", "made/c3d.onnx", "--against", "made/c3d.onnx", "--inputs", "quick"],
    "optimize": ["c3d-export", "optimize", "made/c3d.onnx", "-o", "out/o.onnx", *NO_SPEED],
    "predict": ["c3d-export", "predict", "made/c3d.onnx", "bikes.mp4", "--preprocess", "jfzhang95"],
    "features": [
        *("c3d-export", "features", "made/c3d.onnx", "bikes.mp4"),
        *("--preprocess", "jfzhang95", "--layer", "logits", "-o", "out/f"),
    ],
    "features torchscript": [
        *("c3d-export", "features", "made/c3d.pt", "bikes.mp4"),
        *("--preprocess", "jfzhang95", "--layer", "logits", "-o", "out/f-pt"),
    ],
    "bench": ["c3d-export", "bench", "made/c3d.onnx", *ONE_ROUND],
    **{f"bench {name}": ["c3d-export", "bench", path, *ONE_ROUND] for name, path in MADE.items()},
    **{f"verify {name}": ["verify", "parity", path, "--inputs", "quick"] for name, path in MADE.items()},
    **{f"integrity {name}": ["verify", "integrity", path, "--deep"] for name, path in MADE.items()},
    **{
        f"predict {name}": ["c3d-export", "predict", path, "bikes.mp4", "--preprocess", "jfzhang95"]
        for name, path in MADE.items()
    },
}


@dataclass(frozen=True)
class Run:
    """One command under one limit.

    Attributes:
        limit: bytes of address space.
        code: its exit code; None where it hung.
        stderr: what it said.
        left: staging folders that it left.
    """

    limit: int
    code: int | None
    stderr: str
    left: tuple[str, ...]

    @property
    def fault(self) -> str:
        """What is wrong with how it ended; empty where nothing is."""
        lines = self.stderr.strip().splitlines()
        if self.code is None:
            return "hangs"
        if self.left:
            return f"leaves {', '.join(self.left)}"
        if "Traceback" in self.stderr:
            return f"exit {self.code} with a traceback"
        if self.code == 0:
            return ""
        if self.code != 5:
            return f"exit {self.code}"
        return "" if len(lines) == 1 else f"{len(lines)} lines"


def make_inputs(folder: Path, video: Path) -> None:
    """Write a narrow network as a checkpoint in three containers, and as an artifact in four formats; and a video."""
    import h5py
    import numpy as np
    import torch

    from exporter.requests import ExportRequest
    from exporter.workflows.export import export
    from models.builder import build
    from models.options import BuildOptions

    options = BuildOptions(num_classes=5, base_channels=2, feature_dim=8, seed=3)
    built = build(options)
    state = {name: tensor.clone() for name, tensor in built.network.state_dict().items()}
    torch.save(state, folder / "narrow.pth")
    np.savez(folder / "weights.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    with h5py.File(folder / "weights.h5", "w") as file:
        for name, tensor in state.items():
            file.create_dataset(name, data=tensor.numpy(), compression="gzip")
    formats = ("onnx", "torchscript", "pt2", "openvino")
    export(ExportRequest(formats, options, output_dir=folder / "made", verify=False))
    (folder / video.name).write_bytes(video.read_bytes())


def largest_address_space(command: Sequence[str], folder: Path) -> int:
    """Return the address space in bytes of the largest process of a command that runs without a limit."""
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    largest = 0
    while process.poll() is None:
        largest = max([largest, *_address_spaces(process.pid)])
        time.sleep(POLL_S)
    return largest


def run_limited(command: Sequence[str], folder: Path, limit: int) -> Run:
    """Run a command in `folder` with `limit` bytes of address space for each of its processes."""
    before = set(_staging(folder))
    process = subprocess.Popen(
        ["sh", "-c", f'ulimit -v {limit >> 10}; exec "$@"', "-", str(BIN / command[0]), *command[1:]],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
    )
    try:
        _, stderr = process.communicate(timeout=SECONDS)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        process.terminate()
        _, stderr = process.communicate()
        code = None
    return Run(limit, code, stderr, tuple(sorted(set(_staging(folder)) - before)))


def sweep(
    command: Sequence[str], folder: Path, levels: int = LEVELS, report: Callable[[Run], None] = lambda _: None
) -> list[Run]:
    """Run a command under `levels` limits, evenly spaced up to what it takes without one.

    Args:
        command: the program's name and its arguments, for files in `folder`.
        folder: as `make_inputs` filled it.
        levels: number of runs.
        report: called with each run.
    """
    enough = largest_address_space(command, folder)
    runs: list[Run] = []
    for number in range(1, levels + 1):
        runs.append(run_limited(command, folder, enough * number // levels))
        report(runs[-1])
    return runs


def _address_spaces(pid: int) -> Iterator[int]:
    """Yield the peak address space of a process and of those that it started."""
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            status = Path(f"/proc/{current}/status").read_text()
            children = Path(f"/proc/{current}/task/{current}/children").read_text().split()
        except OSError:  # it has ended
            continue
        waiting += map(int, children)
        for line in status.splitlines():
            if line.startswith("VmPeak:"):
                yield int(line.split()[1]) * 1024


def _staging(folder: Path) -> Iterator[str]:
    for path in folder.rglob(".c3d-export-*"):
        yield str(path.relative_to(folder))


def main() -> None:
    """Sweep the commands named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=int, default=LEVELS)
    parser.add_argument("--verbose", action="store_true", help="print every run")
    parser.add_argument("commands", nargs="*", help=", ".join(COMMANDS))
    arguments = parser.parse_args()
    video = Path(__file__).parent.parent / "tests" / "data" / "bikes.mp4"
    faults = 0
    with tempfile.TemporaryDirectory(prefix="memory-limits-") as name:
        folder = Path(name)
        make_inputs(folder, video)
        for title in arguments.commands or COMMANDS:
            shown: list[Run] = []

            def report(run: Run, title: str = title, shown: list[Run] = shown) -> None:
                shown.append(run)
                if run.fault or arguments.verbose:
                    said = run.stderr.strip()[-500:]
                    print(f"  {title} at {run.limit >> 20} MiB: {run.fault or run.code}: {said}", flush=True)

            runs = sweep(COMMANDS[title], folder, arguments.levels, report)
            faults += sum(bool(run.fault) for run in runs)
            counts = Counter(run.code for run in runs)
            print(f"{title:20} {len(runs)} runs up to {runs[-1].limit >> 20} MiB: exit {dict(counts)}", flush=True)
    print(f"{faults} runs at fault")


if __name__ == "__main__":
    main()
