"""Inputs that claim too much, nest too deeply or repeat too often: the cases of `hostile_inputs.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hostile_inputs import all_cases, warm_up
from hostile_inputs import run as run_case

from reliability_cases.base import Row, Run
from reliability_cases.forked import COMMAND_SECONDS, HEADROOM, MAX_SECONDS, run_cases


def families(run: Run) -> Iterator[Row]:
    """Yield the row."""
    folder = run.folder / "claims"
    folder.mkdir()
    warm_up(folder)
    cases = list(all_cases())
    if not run.long:
        cases = cases[:: len(cases) // 40]
    row = Row(
        "what claims, nests or repeats too much is refused before the work",
        f"every reader and its command; {MAX_SECONDS:.0f} s, twice the file and {HEADROOM >> 20} MiB",
    )

    def work(number: int) -> tuple[str, str]:
        place = folder / str(os.getpid())
        if not place.exists():
            place.mkdir()
            for path in folder.glob("ok*"):
                (place / path.name).write_bytes(path.read_bytes())
        result = run_case(cases[number], place)
        fault = result.fault and f"{result.case.name}: {result.fault}: {result.stderr[-150:]!r}"
        return f"exit {result.code}", fault

    yield run_cases(row, len(cases), work, seconds=COMMAND_SECONDS, own_memory=False)
