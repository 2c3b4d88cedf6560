"""Mutation testing of the modules on which safety rests: is a change of their code noticed by their own tests?

A mutant is the module with one change: a comparison, an operator, a constant, a condition, a `raise` or a call that is
left out. Its tests run in a process forked from this one, in a copy of the project. A mutant survives where they pass.

    python benchmarks/mutate.py --into mutants                         # 25 mutants of each module, about 40 minutes
    python benchmarks/mutate.py --into mutants --each 1000 --only limits

Another call goes on where the last one stopped. `mutants/survivors.txt` lists those that survive.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import copy
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICKLES = "tests/models/checkpoints/pickles"
SLOW = ("nothing_is_imported", "memory_is_bounded", "full_disk", "fills_while", "kill_at_any", "eight", "power")
"""Parts of the names of tests that are left out: most of them try other processes."""
TESTS: dict[str, tuple[str, ...]] = {
    "exporter/parity/compare.py": ("tests/exporter/parity/test_compare.py", "tests/exporter/parity/test_evaluate.py"),
    "exporter/parity/tolerance.py": (
        "tests/exporter/parity/test_tolerance.py",
        "tests/exporter/parity/test_evaluate.py",
    ),
    "exporter/isolation/board.py": ("tests/exporter/isolation", "tests/exporter/cli/test_supervision.py"),
    "exporter/isolation/supervisor.py": ("tests/exporter/isolation", "tests/exporter/cli/test_supervision.py"),
    "exporter/isolation/meter.py": ("tests/exporter/isolation", "tests/exporter/cli/test_supervision.py"),
    "exporter/trust.py": ("tests/exporter/test_trust.py", "tests/exporter/engines/test_code_file.py"),
    "exporter/file_state.py": ("tests/exporter/test_file_state.py", "tests/exporter/artifacts/test_loading.py"),
    "models/checkpoints/pickles/rules.py": (
        f"{PICKLES}/test_rules.py",
        f"{PICKLES}/test_plain.py",
        f"{PICKLES}/test_arrays.py",
        f"{PICKLES}/test_joblib.py",
        f"{PICKLES}/test_reader.py",
    ),
    "models/checkpoints/pickles/limits.py": (f"{PICKLES}/test_limits.py",),
    "models/checkpoints/pickles/machine.py": (
        f"{PICKLES}/test_reader.py",
        f"{PICKLES}/test_rules.py",
    ),
    "models/checkpoints/pickles/opcodes.py": (
        f"{PICKLES}/test_reader.py",
        f"{PICKLES}/test_rules.py",
    ),
    "models/checkpoints/pickles/hazards.py": (
        f"{PICKLES}/test_rules.py",
        f"{PICKLES}/test_hostile.py",
    ),
    "models/checkpoints/readers/zip_archive.py": (
        "tests/models/checkpoints/readers/test_npz.py",
        "tests/models/checkpoints/readers/test_damaged_torch.py",
        "tests/models/checkpoints/readers/test_archives.py",
        "tests/models/checkpoints/readers/test_torch.py",
    ),
    "exporter/artifacts/files.py": ("tests/exporter/artifacts",),
    "exporter/artifacts/manifest.py": ("tests/exporter/artifacts",),
    "exporter/artifacts/manifest_rules.py": ("tests/exporter/artifacts",),
    "exporter/artifacts/store.py": ("tests/exporter/artifacts",),
    "exporter/artifacts/publication.py": ("tests/exporter/artifacts",),
}
"""{module: its tests}; those that are not there are left out."""
TIMEOUT = 300.0
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True)
class Mutant:
    """A change: the line, what it does, and the source with it."""

    line: int
    change: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree = ast.parse(source)
    skipped = {id(inner) for node in ast.walk(tree) for part in _annotations(node) for inner in ast.walk(part)}
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for number in range(len(_changes(node))):
            changed = copy.deepcopy(tree)
            target = next(inner for index, inner in enumerate(ast.walk(changed)) if index == place)
            text, new = _changes(target)[number]
            changed = _Replace(target, new).visit(changed)
            yield Mutant(getattr(node, "lineno", 0), text, ast.unparse(ast.fix_missing_locations(changed)))


def _annotations(node: ast.AST) -> list[ast.AST]:
    """Return the parts of a node that do nothing at run time."""
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [part for part in (node.returns, *node.decorator_list) if part is not None]
    if isinstance(node, (ast.arg, ast.AnnAssign)):
        return [node.annotation] if node.annotation is not None else []
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return [node]
    return []


def _changes(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """Return (description, what stands in the node's place) of every change of a node."""
    found: list[tuple[str, ast.AST]] = []
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=right) if type(operator) in COMPARISONS:
            new = COMPARISONS[type(operator)]
            found.append((f"{_name(operator)} becomes {new.__name__}", ast.Compare(left, [new()], right)))
        case ast.BoolOp(op=operator, values=values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            found.append((f"{_name(operator)} becomes {_name(other)}", ast.BoolOp(other, values)))
            found += [
                (
                    f"without `{ast.unparse(left_out)[:40]}`",
                    ast.BoolOp(operator, [v for v in values if v is not left_out]),
                )
                for left_out in values
                if len(values) > 2
            ]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            found.append(("without `not`", operand))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
            new = OPERATORS[type(operator)]
            found.append((f"{_name(operator)} becomes {new.__name__}", ast.BinOp(left, new(), right)))
        case ast.Constant(value=bool(value)):
            found.append((f"{value} becomes {not value}", ast.Constant(not value)))
        case ast.Constant(value=int(value) | float(value)):
            found.append((f"{value} becomes {value + 1}", ast.Constant(value + 1)))
        case ast.If(test=test, body=body, orelse=orelse):
            found.append(("never", ast.If(ast.Constant(False), body, orelse)))
            found.append(("always", ast.If(ast.Constant(True), body, orelse)))
            del test
        case ast.Raise():
            found.append(("nothing is raised", ast.Pass()))
        case ast.Expr(value=ast.Call() as call):
            found.append((f"without `{ast.unparse(call)[:40]}`", ast.Pass()))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            found.append(("returns None", ast.Return(ast.Constant(None))))
        case _:
            pass
    return found


def _name(node: ast.AST) -> str:
    return type(node).__name__


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, new: ast.AST) -> None:
        self._target, self._new = target, new

    def visit(self, node: ast.AST) -> ast.AST:
        """Put the new node in the target's place."""
        return self._new if node is self._target else self.generic_visit(node)


class Project:
    """A copy of the project, in which one module at a time is changed."""

    def __init__(self, into: Path) -> None:
        self.folder = into / "copy"
        if self.folder.exists():
            shutil.rmtree(self.folder)
        left_out = shutil.ignore_patterns(".git", "__pycache__", "*.egg-info", "artifacts-*", "results")
        shutil.copytree(ROOT, self.folder, ignore=left_out)
        for part in ("exporter", "models", "tests"):
            compileall.compile_dir(self.folder / part, quiet=2)

    def test(self, module: str, source: str, seconds: float) -> str:
        """Return `killed`, `timeout` or `survived` for a module with this source."""
        path = self.folder / module
        original = path.read_text()
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
        path.write_text(source)
        try:
            return self._run(module, seconds)
        finally:
            path.write_text(original)

    def _run(self, module: str, seconds: float) -> str:
        tests = [test for test in TESTS[module] if (self.folder / test).exists()]
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            self._serve(tests)
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
            time.sleep(0.05)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "timeout"

    def _serve(self, tests: list[str]) -> None:
        import pytest

        os.setpgid(0, 0)
        os.chdir(self.folder)
        sys.dont_write_bytecode = True
        support = str(self.folder / "tests" / "support")
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{self.folder}:{support}"}
        sys.path[:0] = [str(self.folder), support]
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        temporary = self.folder.parent / "temporary"
        options = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            f"--basetemp={temporary}",
            "--hypothesis-seed=0",
        ]
        options += ["-k", f"not ({' or '.join(SLOW)})"]
        os._exit(int(pytest.main([*options, *tests])))


def preload() -> None:
    """Import the libraries that the tests use, and nothing of this project, or that starts threads."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in (
        "torch",
        "numpy",
        "onnx",
        "onnxruntime",
        "h5py",
        "safetensors",
        "hypothesis",
        "click",
        "rich",
        "msgspec",
    ):
        __import__(name)


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
        if chosen and (project.folder / module).exists():
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
