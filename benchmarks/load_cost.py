"""What loading a checkpoint costs over reading its bytes and copying them once; each in a process of its own, in turns.

The files hold random weights of the real shapes, as `tests/support/helpers/origins.py` writes them. Loading means all
of it:
reading, hashing, checking, recognising, turning axes, and putting the tensors into a network.
"""

import json
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from measure import machine, spread

if TYPE_CHECKING:
    from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

RUNS = 5
PROLOGUE = """
import json, sys, time
import torch
from models import build
from models.options import BuildOptions
from models.checkpoints.readers import READERS
import h5py
torch.zeros(1).sum()
peak = lambda: next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before, start = peak(), time.perf_counter()
"""
LOAD = PROLOGUE + "network = build(BuildOptions(weights=sys.argv[1], layout=sys.argv[2]))\n"
READ = PROLOGUE + "content = open(sys.argv[1], 'rb').read(); copied = bytearray(content)\n"
EPILOGUE = "print(json.dumps([time.perf_counter() - start, (peak() - before) / 1e6]))\n"


def measured(code: str, *arguments: str) -> tuple[float, float]:
    """Run code in a process of its own; return its seconds and its peak memory over the start, in MB."""
    done = subprocess.run(
        [sys.executable, "-c", code + EPILOGUE, *arguments], capture_output=True, text=True, check=True
    )
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes


def files() -> dict[str, tuple[str, str, Callable[[Path], object]]]:
    """Return {kind: (file name, layout, its writer)}."""
    import torch
    from helpers import origins
    from helpers.mxnet_params import write_params
    from helpers.tf_checkpoint import write_v1
    from safetensors.torch import save_file

    state = origins.canonical()
    keras = origins.keras_state(origins.keras_kernel, origins.channels_last_rows, state)
    torch_state = origins.tensors(state)
    return {
        "torch zip": ("c3d.pth", "auto", lambda path: torch.save(torch_state, path)),
        "torch legacy": (
            "c3d.pickle",
            "auto",
            lambda p: torch.save(torch_state, p, _use_new_zipfile_serialization=False),
        ),
        "pickle (Paddle)": ("c3d.pdparams", "auto", lambda path: path.write_bytes(pickle.dumps(state, 4))),
        "torch zip in tar": ("c3d.tar", "auto", lambda path: write_tar(path, torch_state)),
        "MXNet": ("c3d.params", "auto", lambda path: write_params(path, state)),
        "safetensors": ("c3d.safetensors", "auto", lambda path: save_file(torch_state, path)),
        "caffemodel": ("c3d.caffemodel", "auto", lambda path: origins.write_caffe(path, state, "C3D-v1.0", "-1")),
        "Keras, every axis turned": ("c3d.h5", "c3d-keras-tf", lambda path: origins.write_keras(path, keras, 1)),
        "TensorFlow V1, the same": ("c3d.model", "hx173149-tf", lambda path: write_v1(path, origins.tf_names(keras))),
    }


def write_tar(path: Path, state: "dict[str, Tensor]") -> None:
    """Write a torch file into a tar archive."""
    import io
    import tarfile

    import torch

    stream = io.BytesIO()
    torch.save(state, stream)
    entry = tarfile.TarInfo("c3d.pth")
    entry.size = stream.tell()
    stream.seek(0)
    with tarfile.open(path, "w") as archive:
        archive.addfile(entry, stream)


def main() -> None:
    """Measure, in turns, and print."""
    print(machine())
    for kind, (name, layout, write) in files().items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(path)
            size = path.stat().st_size / 1e6
            runs = [(measured(LOAD, str(path), layout), measured(READ, str(path))) for _ in range(RUNS)]
        ratio = spread([load[0] / read[0] for load, read in runs])
        peak = statistics.median(load[1] for load, _ in runs) / size
        print(f"{kind:<26}{spread([load[0] for load, _ in runs])} s, {ratio} of read and copy, peak {peak:.2f} of it")


if __name__ == "__main__":
    main()
