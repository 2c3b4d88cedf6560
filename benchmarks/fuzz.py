"""Coverage-guided fuzzing of this project's parsers with atheris: does anything but a refusal come out of any bytes?

An input fails where anything but an error of this project escapes, where it takes more than a second of processor time
or 512 MiB more memory than any before it, and where it makes Python run, import, write or connect to anything
(`reliability_cases.watch`). Fuzzing goes on after a failure; each kind of failure is kept once, with its input.

    pip install atheris coverage
    python benchmarks/fuzz.py --into fuzzed --seconds 3600                  # all targets, one after another
    python benchmarks/fuzz.py --into fuzzed --seconds 60 --only pickle      # one
    python benchmarks/fuzz.py --into fuzzed --report                        # the table, and covered lines

Inputs that reached new code stay in the folder, and another call goes on from them.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import importlib
import json
import re
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

MAX_SECONDS = 1.0
MAX_GROWTH = 512 << 20
MAX_INPUT = 4096
"""Bytes: short inputs are mutated to more effect; the formats' headers fit."""


class Fuzzed:
    """One target in this process: runs inputs and keeps what failed."""

    def __init__(self, name: str, into: Path) -> None:
        from fuzzing.seeds import seeds
        from fuzzing.targets import prepare, targets
        from reliability_cases.watch import Watch

        files = into / "files" / name
        prepare(files)
        self.target = targets(files)[name]
        self.corpus, self.failures = into / "corpus" / name, into / "failures" / name
        self.runs, self.started = 0, time.monotonic()
        for folder in (self.corpus, self.failures):
            folder.mkdir(parents=True, exist_ok=True)
        for data in seeds(name, files):
            (self.corpus / hashlib.sha256(data).hexdigest()[:20]).write_bytes(data)
            self.parse(data)  # what is imported at the first use is here now
        for codec in (
            "cp437",
            "utf-8-sig",
            *(f"utf-{bits}{order}" for bits in (16, 32) for order in ("", "-be", "-le")),
        ):
            codecs.lookup(codec)  # JSON and names in zip archives may be in any of them: imported before the watch
        self.watch = Watch(files, self.target.allowed)
        self.peak = _peak_memory()

    def parse(self, data: bytes) -> BaseException | None:
        """Parse an input; return what escapes that is no refusal."""
        try:
            self.target.parse(data)
        except self.target.expected:
            return None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what escapes is what is looked for
            return error
        return None

    def run(self, data: bytes) -> None:
        """Parse an input; keep it where it fails."""
        self.runs += 1
        start = time.thread_time()
        with self.watch.armed():
            error = self.parse(data)
        took = time.thread_time() - start
        if error is not None:
            last = traceback.extract_tb(error.__traceback__)[-1]
            self._keep(f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}", str(error), data)
        if self.watch.events:
            self._keep(f"caused {self.watch.events[0].split()[0]}", self.watch.events[0], data)
        if took > MAX_SECONDS:
            self._keep("took long", f"{took:.1f} s", data)
        if (peak := _peak_memory()) > self.peak:
            if peak - self.peak > MAX_GROWTH:
                self._keep("took memory", f"{(peak - self.peak) >> 20} MiB more", data)
            self.peak = max(self.peak, peak)

    def _keep(self, kind: str, more: str, data: bytes) -> None:
        place = self.failures / re.sub(r"[^A-Za-z0-9.:-]+", "_", kind)
        if not place.exists():
            place.write_bytes(data)
            print(f"\nFAILED {self.target.name}: {kind}: {more[:300]}", file=sys.stderr, flush=True)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def fuzz(name: str, into: Path, seconds: float) -> None:
    """Fuzz one target in this process, which ends with it."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["models", "exporter"]):
        from fuzzing.targets import targets

        targets(into)
    from fuzzing.seeds import tokens

    fuzzed = Fuzzed(name, into)
    options = [f"-max_total_time={int(seconds)}", f"-max_len={MAX_INPUT}", "-print_final_stats=1", "-rss_limit_mb=6000"]
    if words := ["".join(f"\\x{byte:02x}" for byte in word) for word in tokens(name)]:
        (into / f"{name}.words").write_text("".join(f'"{word}"\n' for word in words))
        options.append(f"-dict={into / name}.words")
    atheris.Setup([sys.argv[0], *options, "-timeout=60", str(fuzzed.corpus)], fuzzed.run)
    atheris.Fuzz()


def fuzz_all(names: list[str], into: Path, seconds: float) -> None:
    """Fuzz the targets one after another, each in a process of its own, and record what libFuzzer reports."""
    from fuzzing.targets import targets

    every = targets(into)
    total = sum(every[name].share for name in names)
    for name in names:
        time_for = seconds * every[name].share / total
        command = [sys.executable, __file__, "--into", str(into), "--seconds", str(time_for), "--here", name]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        record = _statistics(done.stderr) | {"target": name, "seconds": round(time_for), "ended": done.returncode}
        (into / f"{name}.log").write_text(done.stderr[-200_000:])
        with (into / "runs.jsonl").open("a") as out:
            out.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)


def _statistics(log: str) -> dict[str, int]:
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", log)
    edges = re.findall(r"cov: (\d+)", log)
    return {"executions": int(executed[-1]) if executed else 0, "edges": int(edges[-1]) if edges else 0}


def report(names: list[str], into: Path) -> None:
    """Print a row for each target: seconds, executions, kept inputs, lines of its modules that they cover, failures."""
    runs = [json.loads(line) for line in (into / "runs.jsonl").read_text().splitlines()]
    print("| target | seconds | executions | inputs kept | lines covered | failures |\n|---|---|---|---|---|---|")
    for name in names:
        of = [run for run in runs if run["target"] == name]
        command = [sys.executable, __file__, "--into", str(into), "--lines", name]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        corpus, failures = (len(list((into / kind / name).glob("*"))) for kind in ("corpus", "failures"))
        sums = [sum(run[key] for run in of) for key in ("seconds", "executions")]
        print(f"| {name} | {sums[0]:,} | {sums[1]:,} | {corpus:,} | {lines} | {failures} |")


def covered_lines(name: str, into: Path) -> str:
    """Run the kept inputs of a target once more and return `covered of all` lines of its modules."""
    coverage: Any = importlib.import_module("coverage")
    measured = coverage.Coverage(data_file=None, source=[str(ROOT / "models"), str(ROOT / "exporter")])
    measured.start()
    fuzzed = Fuzzed(name, into)
    for path in sorted(fuzzed.corpus.iterdir()):
        fuzzed.parse(path.read_bytes())
    measured.stop()
    covered = whole = 0
    for file in sorted(measured.get_data().measured_files()):
        if str(Path(file).relative_to(ROOT)).startswith(fuzzed.target.modules):
            _, lines, _, missing, _ = measured.analysis2(file)
            covered, whole = covered + len(lines) - len(missing), whole + len(lines)
    return f"{covered} of {whole}"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, required=True, help="folder for inputs, failures and logs")
    parser.add_argument("--seconds", type=float, default=3600.0, help="for all targets together")
    parser.add_argument("--only", action="append", help="a target; may be given several times")
    parser.add_argument("--report", action="store_true", help="print the table of what was run")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("--lines", help=argparse.SUPPRESS)
    options = parser.parse_args()
    into: Path = options.into.absolute()
    into.mkdir(parents=True, exist_ok=True)
    if options.here:
        fuzz(options.here, into, options.seconds)
    elif options.lines:
        print(covered_lines(options.lines, into))
    else:
        from fuzzing.targets import targets

        names = options.only or list(targets(into))
        report(names, into) if options.report else fuzz_all(names, into, options.seconds)


if __name__ == "__main__":
    main()
