"""Faults while files are written: kills, full disks, folders that cannot be written to, exporters side by side."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from exporter.artifacts.files import MANIFEST_SUFFIX
from exporter.artifacts.store import recover
from exporter.formats import load_artifact
from exporter.requests import ExportRequest
from exporter.types import FormatName
from exporter.workflows.export import export
from models.builder import build
from reliability_cases.artifacts import SMALL
from reliability_cases.base import Progress, Row, Run
from reliability_cases.forked import COMMAND_SECONDS, Done, become, import_commands, run_cases, run_command
from reliability_cases.injected import CALLS, count_calls, find_strace, run_traced

FORMATS: tuple[FormatName, ...] = ("onnx", "torchscript")
LONG_KILLS, LONG_FULL = 200, 150
EXPORTERS = 8
Injection = tuple[FormatName, str, int]
"""The format that is exported, the system call, and which of its uses."""


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "publishing"
    scene = _Scene(folder)
    import_commands()
    if find_strace() is None:
        print("left out: kills and full disks, which need strace", file=sys.stderr)
    else:
        yield _kills(run, scene)
        yield _full_disks(run, scene)
    yield _output_folders(folder)
    if run.long:
        yield _side_by_side(folder, 6)


@dataclass(frozen=True)
class _Sets:
    """SHA-256 of each file of the sets that a folder may hold: {name: digest}."""

    old: dict[str, str]
    new: dict[str, str]


class _Scene:
    """An old artifact in a folder, and the export of a new one into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.sets: dict[str, _Sets] = {}
        self.weights = folder / "new.pth"
        torch.save(build(replace(SMALL, seed=1)).network.state_dict(), self.weights)
        for kind in FORMATS:
            for name, seed in (("old", 0), ("new", 1)):
                _export(kind, folder / kind / name, seed)
            _export(kind, folder / kind / "old", 0)
            self.sets[kind] = _Sets(_digests(folder / kind / "old"), _digests(folder / kind / "new"))

    def begin(self, kind: FormatName, number: int) -> Path:
        """Return a new folder with the old artifact in it."""
        place = self.folder / f"run-{kind}-{number}"
        (place / "log").mkdir(parents=True)
        shutil.copytree(self.folder / kind / "old", place / "out")
        return place

    def export(self, kind: FormatName, place: Path) -> Callable[[], int]:
        """Return the work that exports the new artifact there."""

        def work() -> int:
            from exporter.cli.error_handling import report_error

            try:
                _export(kind, place / "out", 1)
            except Exception as error:  # noqa: BLE001 - the boundary of the command line, which decides the exit code
                return report_error(error, as_json=False)
            return 0

        return work

    def evaluate(self, kind: FormatName, out: Path) -> tuple[str, str]:
        """Return what a reader finds after the next run has cleaned up, and what is wrong with it."""
        recover(out)
        found, sets = _digests(out), self.sets[kind]
        hidden = [name for name in found if name.startswith(".")]
        if hidden:
            return "litter", f"{hidden[0]} is left"
        for name, wanted in (("old", sets.old), ("new", sets.new)):
            if found == wanted:
                load_artifact(next(out.glob(f"*{MANIFEST_SUFFIX}")).with_suffix(""))
                return f"the {name} set", ""
        return "mixed", f"holds {sorted(found)}, neither the old set nor the new one"


def _export(kind: FormatName, folder: Path, seed: int) -> Path:
    model = replace(SMALL, seed=seed)
    export(ExportRequest((kind,), model=model, output_dir=folder, verify=False, external_data=kind == "onnx"))
    return folder


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _injections(scene: _Scene, calls: tuple[str, ...], total: int) -> list[Injection]:
    """Return (format, system call, which of its uses), evenly over all uses that an export makes."""
    every: list[Injection] = []
    for kind in FORMATS:
        place = scene.begin(kind, 0)
        counts = count_calls(scene.export(kind, place), place / "log")
        shutil.rmtree(place)
        for call in calls:
            every.extend((kind, call, use) for use in range(1, counts[call] + 1))
    return every if len(every) <= total else random.Random(7).sample(every, total)


def _kills(run: Run, scene: _Scene) -> Row:
    cases = _injections(scene, CALLS, run.choose(8, LONG_KILLS))
    row = Row(
        "after SIGKILL at any system call the folder holds the old set or the new one, complete",
        "strace kills an export at a write, fsync, rename, link, unlink or mkdir; the next run cleans up",
    )

    def work(number: int) -> tuple[str, str]:
        kind, call, use = cases[number]
        place = scene.begin(kind, number + 1)
        code = run_traced(scene.export(kind, place), place / "log", "-e", f"inject={call}:signal=KILL:when={use}")
        outcome, failure = scene.evaluate(kind, place / "out")
        if code is None:
            failure = "the export hangs"
        shutil.rmtree(place)
        return outcome, failure and f"{kind}, killed at {call} {use}: {failure}"

    return run_cases(row, len(cases), work, seconds=COMMAND_SECONDS)


def _full_disks(run: Run, scene: _Scene) -> Row:
    writing = tuple(call for call in CALLS if call not in ("unlink", "unlinkat", "rmdir", "ftruncate"))
    cases = _injections(scene, writing, run.choose(8, LONG_FULL))
    row = Row(
        "a full disk is one line that says so, exit 3; the old set or the new one is there, complete",
        "strace answers a write, fsync, rename, link or mkdir of an export by ENOSPC",
    )

    def work(number: int) -> tuple[str, str]:
        kind, call, use = cases[number]
        place = scene.begin(kind, number + 1)
        code = run_traced(scene.export(kind, place), place / "log", "-e", f"inject={call}:error=ENOSPC:when={use}")
        outcome, failure = scene.evaluate(kind, place / "out")
        line = (place / "log" / "stderr").read_text(errors="replace")
        if code == 0 and outcome == "the new set":
            outcome = "exit 0: the call did not matter"
        elif code == -signal.SIGABRT and kind == "torchscript":
            outcome, failure = f"torch ends the process, {outcome}", failure or _supervised(scene, call, use)
        elif code != 3 or "No space left" not in line or "Traceback" in line:
            failure = failure or f"exit {code}, {outcome}: {line[-200:]!r}"
        shutil.rmtree(place)
        return f"exit {code}, {outcome}" if code else outcome, failure and f"{kind}, {call} {use}: {failure}"

    return run_cases(row, len(cases), work, seconds=COMMAND_SECONDS)


def _supervised(scene: _Scene, call: str, use: int) -> str:
    """Return what is wrong with the command where the disk stays full from that call on; empty if nothing is."""
    place = scene.begin("torchscript", 1000 + os.getpid())
    arguments = ["c3d-export", "--format", "torchscript", "--weights", str(scene.weights), "--no-verify", "-o", "out"]

    def work() -> int:
        become(arguments, place, place / ".stdout", place / ".stderr")

    code = run_traced(work, place / "log", "-e", f"inject={call}:error=ENOSPC:when={use}+")
    outcome, failure = scene.evaluate("torchscript", place / "out")
    lines = (place / ".stderr").read_text(errors="replace").splitlines()
    shutil.rmtree(place)
    if code != 3 or len(lines) > 1 or outcome != "the old set":  # the supervisor's own line may meet the full disk too
        return failure or f"with its supervisor: exit {code}, {outcome}: {lines[-3:]}"
    return failure


def _output_folders(folder: Path) -> Row:
    """As another user than root, who may write anywhere."""
    row = Row(
        "an output folder that cannot be used is refused, exit 3",
        "a file, below a file, a dangling link, /dev/null, /proc; of mode 0500 where the user is not root",
    )
    place = folder / "outputs"
    place.mkdir(mode=0o755)
    (place / "file").write_text("x")
    (place / "dangling").symlink_to(place / "nowhere" / "deep")
    (place / "closed").mkdir(mode=0o500)
    targets = ["file", "file/below", "dangling", "/dev/null", "/proc/nothing", "/proc"]
    targets += ["closed"] if os.geteuid() else []
    progress = Progress(row, len(targets))
    small = ["--num-classes", "5", "--no-verify"]
    for target in targets:
        done = run_command(["c3d-export", "--format", "onnx", *small, "-o", target], place)
        faults = done.faults + ([] if done.code == 3 else [f"exit {done.code}"])
        row.add(f"exit {done.code}", f"-o {target}: {'; '.join(faults)}: {_last(done)}" if faults else "")
        progress.step()
    return progress.end()


def _last(done: Done) -> str:
    return repr(done.stderr[-150:])


def _side_by_side(folder: Path, rounds: int) -> Row:
    alone = [folder / f"alone-{seed}" for seed in range(EXPORTERS)]
    wanted = {_set_digest(_export("onnx", out, seed)) for seed, out in enumerate(alone)}
    place = folder / "together"
    row = Row(
        f"{EXPORTERS} exports into one folder leave one whole set",
        "of other weights each; every other round with an flock that does nothing",
    )
    progress = Progress(row, rounds)
    for number in range(rounds):
        out = place / str(number)
        children = [_fork_exporter(out, seed, locks=number % 2 == 0) for seed in range(EXPORTERS)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        recover(out)
        whole = _set_digest(out) in wanted
        failure = "" if whole and not any(codes) else f"exit codes {codes}, holds {sorted(_digests(out))}"
        row.add("one whole set" if whole else "mixed", failure and f"round {number}: {failure}")
        progress.step()
    return progress.end()


def _fork_exporter(out: Path, seed: int, *, locks: bool) -> int:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            if not locks:
                fcntl.flock = lambda *_: None  # as some network file systems do
            _export("onnx", out, seed)
            code = 0
        finally:
            os._exit(code)
    return child


def _set_digest(folder: Path) -> str:
    return hashlib.sha256(repr(sorted(_digests(folder).items())).encode()).hexdigest()
