"""Mutation testing of the modules on which safety rests: is a change of their code noticed by their own tests?

A mutant is the module with one change: a comparison, an operator, a constant, a condition, a `raise` or a call that is
left out. Its tests run in a process forked from this one, in a copy of the project. A mutant survives where they pass.

    python benchmarks/mutate.py --into mutants                         # 25 mutants of each module, about 40 minutes
    python benchmarks/mutate.py --into mutants --each 1000 --only limits

Another call goes on where the last one stopped. `mutants/survivors.txt` lists those that survive.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from pathlib import Path

from mutation.modules import TESTS
from mutation.mutants import mutants
from mutation.project import Project, preload

TIMEOUT = 300.0


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, required=True, help="folder for the copy of the project and the results")
    parser.add_argument("--each", type=int, default=25, help="mutants of a module; the same ones in each run")
    parser.add_argument("--only", action="append", help="part of a module's path; may be given several times")
    options = parser.parse_args()
    into: Path = options.into.absolute()
    into.mkdir(parents=True, exist_ok=True)
    results = into / "results.jsonl"
    done = {(r["module"], r["line"], r["change"]) for r in _read(results)}
    preload()
    project = Project(into)
    for module in TESTS:
        chosen = not options.only or any(part in module for part in options.only)
        if chosen:
            _mutate(project, module, options.each, done, results)
    survivors = [r for r in _read(results) if r["outcome"] == "survived"]
    lines = (f"{r['module']}:{r['line']}: {r['change']}\n" for r in survivors)
    (into / "survivors.txt").write_text("".join(lines))
    shutil.rmtree(project.folder)


def _read(results: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def _mutate(project: Project, module: str, each: int, done: set[tuple[str, ...]], results: Path) -> None:
    source = (project.folder / module).read_text()
    every = list(mutants(source))
    chosen = sorted(random.Random(0).sample(every, min(each, len(every))), key=lambda mutant: mutant.line)
    start = time.monotonic()
    if (outcome := project.test(module, source, TIMEOUT)) != "survived":
        print(f"{module}: its tests do not pass without a change ({outcome}), or take over {TIMEOUT:.0f} s", flush=True)
        return
    took = time.monotonic() - start
    for mutant in chosen:
        key = (module, mutant.line, mutant.change)
        if key in done:
            continue
        outcome = project.test(module, mutant.source, 3 * took + 10)
        with results.open("a") as out:
            out.write(
                json.dumps(dict(zip(("module", "line", "change"), key, strict=True)) | {"outcome": outcome}) + "\n"
            )
        if outcome == "survived":
            print(f"  survived: {module}:{mutant.line}: {mutant.change}", flush=True)
    outcomes = [r["outcome"] for r in _read(results) if r["module"] == module]
    killed = len(outcomes) - outcomes.count("survived")
    print(f"{module}: {len(every)} mutants, {len(outcomes)} tried, {killed} killed; tests {took:.1f} s", flush=True)


if __name__ == "__main__":
    main()
