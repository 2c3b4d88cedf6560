"""A self-test's result, for people and for machines."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.fault_injection.results import FaultResult, SelfTestReport

MOST_TOLD = 20
"""Faults of one outcome that are told one by one; --json has all."""


def print_self_test(report: SelfTestReport, console: Console) -> None:
    """Print a row for each kind of fault, what was not caught, and the verdict."""
    console.print()
    console.print(f"self-test of {escape(report.artifact)} in {escape(report.runtime)}; {escape(report.tolerance)}")
    console.print()
    console.print(_table(report))
    console.print()
    for outcome, title in (("missed", "missed"), ("refused", "refused by the engine")):
        for fault in [fault for fault in report.faults if fault.outcome == outcome][:MOST_TOLD]:
            console.print(f"{title:<9}{escape(_told(fault))}")
    for fault in [fault for fault in report.faults if fault.located == "elsewhere"][:MOST_TOLD]:
        console.print(f"layer    {escape(fault.kind)}, {escape(fault.where)}: named {escape(fault.named or 'none')}")
    caught, below, refused = (len(report.of(name)) for name in ("caught", "below", "refused"))
    above = caught + len(report.of("missed"))
    console.print(
        f"faults   {len(report.faults)} of {report.kinds} kinds: {caught} of {above} above the budget caught, "
        f"{below} below it{f', {refused} refused by the engine' if refused else ''}"
    )
    if any(fault.located for fault in report.faults):
        named, between = report.located("layer"), report.located("between")
        every = named + between + report.located("elsewhere")
        console.print(
            f"layers   {named} of {every} named, {between} more told to be among the steps in front of the one named"
        )
    clean, seconds = report.clean, ", ".join(f"{phase} {value:.1f} s" for phase, value in report.seconds.items())
    console.print(
        f"clean    {clean.runs} runs of the artifact as it is, {len(clean.false_positives)} alarms; the most of the budget used "
        f"was {clean.worst_share:.0%}"
    )
    for alarm in clean.false_positives[:MOST_TOLD]:
        console.print(f"alarm    {escape(alarm)}")
    word = "[bold green]passed[/]" if report.passed else "[bold red]FAILED[/]"
    console.print(f"verdict  {word}: {_sentence(report)}; {seconds}")


def self_test_object(report: SelfTestReport) -> dict[str, Any]:
    """Return everything, with the counts in front."""
    outcomes = {name: len(report.of(name)) for name in ("caught", "below", "missed", "refused")}
    located = {name: report.located(name) for name in ("layer", "between", "elsewhere")}
    return {"passed": report.passed, "outcomes": outcomes, "located": located, **asdict(report)}


def _table(report: SelfTestReport) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("kind of fault", overflow="fold", max_width=46)
    for heading in ("planted", "caught", "below", "missed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("least\nshare", justify="right", no_wrap=True)
    for kind in dict.fromkeys(fault.kind for fault in report.faults):
        faults = [fault for fault in report.faults if fault.kind == kind]
        counts = [sum(fault.outcome == outcome for fault in faults) for outcome in ("caught", "below", "missed")]
        least = min((fault.budget_used for fault in faults if fault.outcome == "caught"), default=None)
        table.add_row(
            escape(kind),
            str(len(faults)),
            *(str(count or "-") for count in counts),
            "-" if least is None else _times(least),
            style="red" if counts[2] else "",
        )
    return table


def _told(fault: FaultResult) -> str:
    reason = (
        fault.reason or f"{fault.budget_used:.2f} of the budget in float32, {fault.exact_share or 0:.2f} in float64"
    )
    return f"{fault.kind}, {fault.where}: {reason}"


def _sentence(report: SelfTestReport) -> str:
    if report.clean.false_positives:
        return "the sound artifact raised an alarm"
    if report.of("missed"):
        return "a fault above the budget was missed"
    return "every fault above the budget was caught" if report.passed else "no fault was caught"


def _times(share: float) -> str:
    if share == float("inf"):
        return "inf"
    return f"{share:.1f}x" if share < 100 else f"{share:.0f}x" if share < 1e5 else f"{share:.0e}x"
