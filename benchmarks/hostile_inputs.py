"""Inputs that claim too much, nest too deeply, or repeat too often, for every reader; what refusing each one costs.

Each case is a small file and a command. It must end with exit code 3 and one line, within 2 s of processor time after
the imports, and within `2 x file + 512 MiB` of memory over the process that imported everything.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from hostile import checkpoints, containers_of_weights, documents, media, onnx_models
from hostile.case import Case, Result
from hostile.wire import IN_OUT, message, onnx, onnx_node

DEADLINE_S = 60.0
"""Of processor time, after which a case counts as hanging."""
ADDRESS_SPACE = 12 << 30


def all_cases() -> Iterator[Case]:
    """Yield every case."""
    for family in (checkpoints, containers_of_weights, onnx_models, documents, media):
        yield from family.cases()


def run(case: Case, folder: Path) -> Result:
    """Run a case in a child of this process, which has imported everything."""
    path = folder / case.name
    case.write(path)
    size = sum(entry.stat().st_size for entry in folder.glob(f"{case.name}*"))
    if case.name.startswith("external"):
        (folder / "w.bin").write_bytes(bytes(16))
    stderr = folder / "stderr"
    start = folder / "resident"
    child = os.fork()
    if child == 0:
        _run_here(case, path, stderr)
    deadline = time.monotonic() + DEADLINE_S * 4
    while True:
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    told = stderr.read_text(errors="backslashreplace") if stderr.exists() else ""
    for entry in folder.glob(f"{case.name}*"):
        entry.unlink()
    before = int(start.read_text())
    seconds = used.ru_utime + used.ru_stime
    return Result(case, os.waitstatus_to_exitcode(status), seconds, (used.ru_maxrss << 10) - before, size, told)


def _run_here(case: Case, path: Path, stderr: Path) -> None:
    from exporter.cli import main

    try:
        (path.parent / "resident").write_text(str(_resident()))
        resource.setrlimit(resource.RLIMIT_CPU, (int(DEADLINE_S), int(DEADLINE_S)))
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + ADDRESS_SPACE, held + ADDRESS_SPACE))
        os.chdir(path.parent)
        with stderr.open("wb") as stream:
            os.dup2(stream.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = [part.replace("{folder}", str(path.parent)).replace("{}", path.name) for part in case.command]
        main.run_here(sys.argv[0])
    except SystemExit as end:
        os._exit(int(end.code or 0) if not isinstance(end.code, str) else 1)
    except BaseException:  # noqa: BLE001 - a defect of the tool, which the parent counts
        traceback.print_exc()
        os._exit(99)


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def warm_up(folder: Path) -> None:
    """Import what commands import, in this process, and write the valid models that some cases need."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    import torch

    torch.set_num_threads(1)

    verbs = ("export", "inspect", "verify", "optimize", "predict", "convert")
    for module in (*(f"workflows.{verb}" for verb in verbs), "reports.console", "cli.main"):
        import_module(f"exporter.{module}")
    import_module("models.builder")
    import_module("models.checkpoints.readers")
    for library in ("av", "onnxruntime", "openvino"):
        import_module(library)
    from exporter.requests import ExportRequest
    from exporter.workflows.export import export
    from models.options import BuildOptions

    options = BuildOptions(num_classes=5, base_channels=2, feature_dim=8, seed=3)
    export(ExportRequest(("onnx",), options, output_dir=folder, name="ok5", verify=False))
    (folder / "ok.onnx").write_bytes(onnx(message(1, onnx_node()) + IN_OUT + message(2, b"g")))


def describe(result: Result) -> str:
    """Return a line for a result."""
    fault = f"FAULT {result.fault}" if result.fault else ""
    return (
        f"{result.case.name:28} {' '.join(result.case.command[:2]):20} exit {result.code:3} {result.seconds:5.1f} s "
        f"{result.memory >> 20:6} MiB of {result.size >> 10} KiB {fault}: {result.stderr.strip()[-260:]}"
    )


def main() -> None:
    """Run the cases whose name holds one of the words given, or all; print those at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="print every case")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    cases = list(all_cases())
    chosen = [case for case in cases if not arguments.words or any(word in case.name for word in arguments.words)]
    faults = 0
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        folder = Path(name)
        warm_up(folder)
        for case in chosen:
            result = run(case, folder)
            faults += bool(result.fault)
            if result.fault or arguments.verbose:
                print(describe(result), flush=True)
    print(f"{len(chosen)} cases, {faults} at fault")


if __name__ == "__main__":
    main()
