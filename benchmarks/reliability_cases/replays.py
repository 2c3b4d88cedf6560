"""Everything that is published, after a power failure, a kill or an error at any call, and by eight processes at once.

The helpers of the tests do the work (`power_loss`, `publishing_faults`, `publishing_races`); here are the counts.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator

from helpers.publications import FILE_SYSTEMS, PUBLICATIONS, check_power_loss
from helpers.publishing_faults import ERRORS, Faults, fail_at_each_call, kill_at_each_call
from helpers.publishing_races import race

from reliability_cases.base import Progress, Row, Run


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    places = list(itertools.product(PUBLICATIONS, FILE_SYSTEMS if run.long else ["usual"]))
    yield _power_failures(run, places)
    yield _kills(run, places)
    yield _errors(run, places)
    yield _races(run)


def _systems(run: Run) -> str:
    return "file systems: " + ", ".join(FILE_SYSTEMS if run.long else ["usual"])


def _power_failures(run: Run, places: list[tuple[str, str]]) -> Row:
    row = Row(
        "after a power failure a reader finds the old content or the new one, never a mixture",
        f"each moment, with any part of the unsynced changes; {len(PUBLICATIONS)} kinds of output; {_systems(run)}",
    )
    progress = Progress(row, len(places))
    for number, (name, system) in enumerate(places):
        work = run.folder / f"power-{number}"
        work.mkdir()
        try:
            states = check_power_loss(PUBLICATIONS[name], work, system, at_once=run.choose(4, 16))
        except AssertionError as error:
            row.add("damaged", f"{name}, {system}: {error}")
        else:
            row.count += states
            row.outcomes["the old content or the new one"] += states
        progress.step()
    return progress.end()


def _kills(run: Run, places: list[tuple[str, str]]) -> Row:
    row = Row(
        "after SIGKILL the next run finds the old content or the new one, and removes what is left",
        f"killed at each call that changes files; {len(PUBLICATIONS)} kinds of output; {_systems(run)}",
    )
    progress = Progress(row, len(places))
    for number, (name, system) in enumerate(places if run.long else places[:3]):
        work = run.folder / f"kill-{number}"
        work.mkdir()
        _add(row, kill_at_each_call(PUBLICATIONS[name], work, system), f"{name}, {system}")
        progress.step()
    return progress.end()


def _errors(run: Run, places: list[tuple[str, str]]) -> Row:
    codes = ERRORS if run.long else (errno.ENOSPC,)
    row = Row(
        "an error of the disk is one line; the old content or the new one is there, nothing else",
        f"{', '.join(errno.errorcode[code] for code in codes)} at a call, or from it on; {_systems(run)}",
    )
    cases = list(itertools.product(places, codes, (False, True)))
    progress = Progress(row, len(cases))
    for number, ((name, system), code, repeat) in enumerate(cases):
        work = run.folder / f"error-{number}"
        work.mkdir()
        faults = fail_at_each_call(PUBLICATIONS[name], work, code, system, repeat=repeat)
        _add(row, faults, f"{name}, {system}, {errno.errorcode[code]}")
        progress.step()
    return progress.end()


def _add(row: Row, faults: Faults, where: str) -> None:
    row.count += faults.calls
    row.outcomes.update({f"content {content}": number for content, number in faults.found.items()})
    row.failures += [f"{where}: {damage}" for damage in faults.damaged]


def _races(run: Run) -> Row:
    rounds = run.choose(3, 60)
    row = Row(
        "eight processes that publish into one folder leave one whole set",
        "with flock, with an flock that does nothing, without hard links, and with a third of them killed",
    )
    ways = [(True, "usual", 0.0), (False, "usual", 0.0), (False, "without hard links", 0.0), (False, "usual", 0.3)]
    progress = Progress(row, len(ways))
    for number, (locks, system, killed) in enumerate(ways):
        work = run.folder / f"race-{number}"
        work.mkdir()
        publication = PUBLICATIONS["two files with one name"]
        races = race(publication, work, rounds=rounds, locks=locks, file_system=system, killed=killed)
        row.count += rounds
        row.outcomes["one whole set"] += rounds - races.mixed
        where = f"locks {locks}, {system}, killed {killed}"
        if races.mixed or races.left or races.outcomes["bug"]:
            row.failures.append(f"{where}: {races.mixed} mixed, {races.left} with rests, {dict(races.outcomes)}")
        progress.step()
    return progress.end()
