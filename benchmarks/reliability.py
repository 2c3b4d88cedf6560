"""What this project promises about bad input and faults, tried: a table of promise, test, count, failures.

    python benchmarks/reliability.py                        # about a minute
    python benchmarks/reliability.py --long                 # the full counts, about 20 minutes
    python benchmarks/reliability.py --only checkpoints     # one family

Cases run in forked processes with a watchdog for time, memory and signals; an audit hook notes what an input makes
Python import, run, write or connect to. At the start, work that breaks each rule shows that this is noticed. The script
exits with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # forked processes must not inherit a pool of threads

from reliability_cases import FAMILIES, canaries
from reliability_cases.base import MAX_SHOWN, Row, Run

BEGIN, END = "<!-- cases -->", "<!-- end of cases -->"


def run_family(name: str, run: Run) -> list[Row]:
    """Run a family and print its rows as they come."""
    module = importlib.import_module(f"reliability_cases.{name}")
    gc.freeze()  # what was imported stays shared between the forked processes
    rows: list[Row] = []
    try:
        for row in module.families(run):
            rows.append(row)
            _show(row)
    except Exception as error:  # noqa: BLE001 - the families after it are still run, and this one counts as broken
        traceback.print_exc()
        broken = Row(f"the family {name} runs to its end", "its row that was not finished is missing", count=1)
        broken.failures.append(f"{type(error).__name__}: {error}"[:400])
        rows.append(broken)
        _show(broken)
    return rows


def _show(row: Row) -> None:
    print(_line(row), flush=True)
    for failure in row.failures[:MAX_SHOWN]:
        print(f"    {failure.encode('ascii', 'backslashreplace').decode()}", file=sys.stderr, flush=True)


def write_page(page: Path, rows: list[Row], command: str, seconds: float) -> None:
    """Put the table into a page of the documentation, between the two comments `cases`."""
    from exporter.system import cpu_model
    from models.errors import count

    start, _, rest = page.read_text().partition(BEGIN)
    _, _, end = rest.partition(END)
    failures = count(sum(len(row.failures) for row in rows), "failure")
    table = [
        "| promise | tried by | cases | failures |",
        "|---|---|---|---|",
        *(f"| {row.promise} | {row.how} | {row.count:,} | {len(row.failures):,} |" for row in rows),
        "",
        f"{sum(row.count for row in rows):,} cases, {failures}. `{command}`, "
        f"{date.today().isoformat()}, {seconds / 60:.0f} minutes on {os.cpu_count()} cores of an {cpu_model()}.",
    ]
    page.write_text("\n".join([start + BEGIN, *table, END + end]))


def _line(row: Row) -> str:
    cells = (row.promise, row.how, f"{row.count:,}", f"{len(row.failures):,}", row.summary, f"{row.seconds:.0f} s")
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--long", action="store_true", help="the full counts")
    parser.add_argument("--only", action="append", choices=FAMILIES, help="a family; may be given several times")
    parser.add_argument("--json", type=Path, help="also write the rows to this file, after each family")
    parser.add_argument("--page", type=Path, help="put the table into this page of the documentation")
    options = parser.parse_args()
    start = time.monotonic()
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="c3d-export-reliability-", dir=memory if memory.is_dir() else None))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    for name in ("CACHE", "STATE"):
        os.environ[f"C3D_EXPORT_{name}"] = str(folder / name.lower())
    print("| promise | tried by | cases | failures | outcomes | time |\n|---|---|---|---|---|---|", flush=True)
    try:
        canaries.check(folder)
        rows: list[Row] = []
        for name in options.only or FAMILIES:
            rows += run_family(name, Run(folder, options.long))
            if options.json:  # after each family, so that a run that is stopped keeps what it has
                options.json.write_text(json.dumps([vars(row) for row in rows], indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    failures = sum(len(row.failures) for row in rows)
    print(f"\n{sum(row.count for row in rows):,} cases, {failures} failures, {time.monotonic() - start:.0f} s")
    if options.page:
        write_page(
            options.page, rows, f"python benchmarks/reliability.py{' --long' * options.long}", time.monotonic() - start
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
