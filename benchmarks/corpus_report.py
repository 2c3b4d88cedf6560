"""The records of the corpus as a Markdown page: goals, outcomes by command, reasons, and the networks' speed."""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from corpus_models import NETWORK
from measure import machine

COMMANDS = {"inspect": "inspect X", "verify": "verify X --against X", "optimize": "optimize X"}
CODES = {
    0: "success",
    1: "the check failed",
    2: "wrong usage",
    3: "bad input",
    4: "missing",
    5: "limit reached",
    70: "a bug",
}
MAX_SLOWDOWN = 1.03
STOPPED = "stopped"


def write_report(records: Mapping[str, Any]) -> str:
    """Return the page."""
    complete = {name: record for name, record in records.items() if STOPPED not in record}
    groups = Counter(name.partition("/")[0] for name in records)
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnx", "onnxruntime", "torch"))
    return "\n".join(
        [
            f"{len(records)} models: {', '.join(f'{count} {group}' for group, count in sorted(groups.items()))}.",
            f"{machine()}; {packages}; {datetime.datetime.now(datetime.UTC).date()}.",
            "",
            *_goals(records, complete),
            "",
            *_outcomes(complete),
            *_reasons(records, complete),
            *_networks(complete),
            "",
        ]
    )


def _goals(records: Mapping[str, Any], complete: Mapping[str, Any]) -> list[str]:
    runs = [name for name, record in complete.items() if not record["runtime"]]
    crashed = _having(complete, lambda step: step["code"] == 70)
    failing = [name for name in complete if _failed_itself(complete[name])]
    wrong = [name for name, record in complete.items() if record["difference"]]
    unresolved = [name for name in runs if _is_unresolved(complete[name])]
    stopped = [name for name, record in records.items() if STOPPED in record]
    timed = {name: record["speed"] for name, record in complete.items() if record["speed"]}
    slower = [name for name, speed in timed.items() if 1 / speed["high"] > MAX_SLOWDOWN]
    compared = sum(record["difference"] is not None for record in complete.values())
    part = f"{len(unresolved) / max(len(runs), 1):.1%}"
    rows = [
        ("exit code 70", "0", str(len(crashed)), crashed),
        ("process ended, or no result in time", "0", str(len(stopped)), stopped),
        ("fails against itself", "0", str(len(failing)), failing),
        ("wrong rewrites", "0", f"{len(wrong)} of {compared}", wrong),
        ("no result, of those that onnxruntime runs", "< 3 %", f"{part} ({len(unresolved)} of {len(runs)})", []),
        (f"slower after optimize, over {MAX_SLOWDOWN}", "0", f"{len(slower)} of {len(timed)} timed", slower),
    ]
    lines = ["| | goal | found | which |", "|---|---|---|---|"]
    return lines + [f"| {what} | {goal} | {found} | {_some(names)} |" for what, goal, found, names in rows]


def _failed_itself(record: Any) -> bool:
    """Return whether a model that onnxruntime runs fails against itself."""
    return not record["runtime"] and record["steps"]["verify"]["code"] == 1


def _is_unresolved(record: Any) -> bool:
    return any(record["steps"][command]["code"] not in (0, 1) for command in ("verify", "optimize"))


def _having(complete: Mapping[str, Any], test: Callable[[Any], bool]) -> list[str]:
    return [name for name, record in complete.items() if any(test(step) for step in record["steps"].values())]


def _some(names: Sequence[str], limit: int = 4) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _outcomes(complete: Mapping[str, Any]) -> list[str]:
    codes = sorted({step["code"] for record in complete.values() for step in record["steps"].values()})
    titles = " | ".join(f"{code}: {CODES.get(code, 'other')}" for code in codes)
    lines = [
        f"| command | {titles} | median, longest s |",
        f"|---|{'---|' * len(codes)}---|",
    ]
    for command, title in COMMANDS.items():
        steps = [record["steps"][command] for record in complete.values()]
        counts = Counter(step["code"] for step in steps)
        seconds = sorted(step["seconds"] for step in steps) or [0.0]
        times = f"{seconds[len(seconds) // 2]:.3f}, {seconds[-1]:.1f}"
        lines.append(f"| `{title}` | {' | '.join(str(counts[code]) for code in codes)} | {times} |")
    return lines


def _reasons(records: Mapping[str, Any], complete: Mapping[str, Any]) -> list[str]:
    """Return the reasons of everything but success, grouped by kind, with an example each."""
    lines: list[str] = []
    runs = {name: record for name, record in complete.items() if not record["runtime"]}
    for command, title in COMMANDS.items():
        steps = {name: record["steps"][command] for name, record in runs.items()}
        failures = {
            name: (f"exit {step['code']}: {step['reason']}", f"{step['code']} {step['kind']}")
            for name, step in steps.items()
            if step["code"]
        }
        lines += _grouped(f"`{title}`, of the {len(runs)} models that onnxruntime runs", failures)
    others = {
        "Models that onnxruntime itself does not open or run": {
            name: record["runtime"] for name, record in complete.items() if record["runtime"]
        },
        "Stopped": {name: record[STOPPED] for name, record in records.items() if STOPPED in record},
        "Wrong rewrites": {name: record["difference"] for name, record in complete.items() if record["difference"]},
    }
    for title, reasons in others.items():
        lines += _grouped(title, {name: (reason, _runtime_kind(reason)) for name, reason in reasons.items()})
    return lines


def _runtime_kind(reason: str) -> str:
    """Return onnxruntime's error code, or the text without numbers."""
    code = re.match(r"\[ONNXRuntimeError\] : \d+ : \w+", reason)
    return code.group() if code else re.sub(r"[\d.e+-]*\d", "N", reason)


def _grouped(title: str, reasons: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return a table of {model: (reason, its kind)}."""
    if not reasons:
        return []
    groups: dict[str, list[str]] = defaultdict(list)
    for name, (_, kind) in reasons.items():
        groups[kind].append(name)
    rows = sorted(groups.values(), key=len, reverse=True)
    lines = ["", f"### {title}", "", "| models | reason | example |", "|---|---|---|"]
    return lines + [f"| {len(names)} | {_cell(reasons[names[0]][0])} | `{names[0]}` |" for names in rows]


def _cell(text: str) -> str:
    return re.sub(r"/\S+/", "", text).replace("|", "\\|")[:220]


def _networks(complete: Mapping[str, Any]) -> list[str]:
    networks = {name: record for name, record in complete.items() if name.startswith(NETWORK)}
    if not networks:
        return []
    lines = [
        "",
        "### Networks",
        "",
        "Verified on the four quick input types. Error: of the optimised file, relative to the largest output.",
        "",
        "| network | verify, s | optimize, s | peak MB | passes | error | before, ms | after, ms | speedup, 95 % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return lines + [_network_row(name.partition("/")[2], record) for name, record in networks.items()]


def _network_row(name: str, record: Any) -> str:
    steps, speed = record["steps"], record["speed"]
    cells = [_time(steps["verify"]), _time(steps["optimize"]), f"{record['peak_mb']:.0f}"]
    cells.append(", ".join(record["passes"]) or "none")
    cells.append("" if record["difference"] is None else f"{record['error']:.0e}")
    if speed is None:
        cells += ["", "", ""]
    else:
        cells += [f"{speed['original_ms']:.1f}", f"{speed['optimized_ms']:.1f}"]
        cells.append(f"{speed['speedup']:.2f} ({speed['low']:.2f} to {speed['high']:.2f})")
    return f"| {name} | {' | '.join(cells)} |"


def _time(step: Any) -> str:
    return f"{step['seconds']:.1f}" if step["code"] == 0 else f"exit {step['code']}"
