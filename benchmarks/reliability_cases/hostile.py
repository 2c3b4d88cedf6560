"""The files of `helpers.hostile_files` through the command line, and names that would forge what is printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.hostile_files import HOSTILE_CHECKPOINTS, HOSTILE_MODELS, bzip2_bomb, identity

from reliability_cases.base import Progress, Row, Run
from reliability_cases.forked import HEADROOM, Done, import_commands, run_command

LIMIT = 5.0
"""Seconds given by `--timeout` to models that run without an end."""
SLACK = 10.0
"""Seconds more after which such a command counts as one that hangs."""
PARSED = 2.0
"""Seconds of processor time for a file that cannot be parsed."""


@dataclass(frozen=True)
class Case:
    """A command, and how it may end."""

    arguments: tuple[str, ...]
    codes: tuple[int, ...]
    seconds: float
    file: str


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "hostile"
    folder.mkdir()
    for name, write in {**HOSTILE_CHECKPOINTS, **HOSTILE_MODELS, "simple.onnx": identity}.items():
        write(folder / name)
    if run.long:
        bzip2_bomb(folder / "bomb-bz2.npz", 480 << 20)
    import_commands()
    baseline = run_command(["c3d-export", "inspect", "simple.onnx"], folder).peak
    row = Row(
        "each file of hostile/ is refused, or ended at --timeout",
        f"inspect, verify parity, optimize, convert, export: {PARSED:.0f} s, or --timeout {LIMIT:.0f} + {SLACK:.0f} s",
    )
    cases = list(_cases())
    progress = Progress(row, len(cases))
    for case in cases:
        before = _content(folder)
        done = run_command(list(case.arguments), folder, LIMIT + 2 * SLACK)
        faults = _faults(case, done, done.peak - baseline - 2 * (folder / case.file).stat().st_size)
        if _content(folder) != before:
            faults.append("the folder is not as it was")
        command = " ".join(case.arguments)
        row.add(f"exit {done.code}", f"{command}: {'; '.join(faults)}: {done.stderr[-150:]!r}" if faults else "")
        progress.step()
    yield progress.end()


def _cases() -> Iterator[Case]:
    for name in HOSTILE_CHECKPOINTS:
        codes = (0, 3) if name == "spoof.safetensors" else (3,)
        yield Case(("c3d-export", "inspect", name), codes, PARSED, name)
        yield Case(("c3d-export", "inspect", name, "--json"), codes, PARSED, name)
        yield Case(("c3d-export", "convert", name, "-o", "out.safetensors"), (3,), PARSED, name)
        yield Case(("c3d-export", "--weights", name, "--format", "onnx", "-o", "out"), (3,), PARSED, name)
    limit = ("--timeout", f"{LIMIT:.0f}")
    for name in HOSTILE_MODELS:
        codes, seconds = ((3,), LIMIT) if name == "int-min-div.onnx" else ((3, 5), LIMIT + SLACK)
        parity = ("verify", "parity", name, "--against", "simple.onnx", "--inputs", "quick", *limit)
        yield Case(parity, codes, seconds, name)
        yield Case((*parity, "--json"), codes, seconds, name)
        yield Case(("c3d-export", "optimize", name, *limit), codes, seconds, name)
        yield Case(("c3d-export", "inspect", name), (0, 3, 5), seconds, name)


def _faults(case: Case, done: Done, memory: int) -> list[str]:
    faults = done.faults
    if done.code not in case.codes:
        faults.append(f"exit {done.code}, not {' or '.join(map(str, case.codes))}")
    took = done.processor if case.seconds == PARSED else done.seconds
    if took > case.seconds:
        faults.append(f"{took:.1f} s")
    if memory > HEADROOM:
        faults.append(f"{memory >> 20} MiB more than its bound")
    return faults


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".std")
    }
