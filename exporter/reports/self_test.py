"""The result of a self-test."""

from dataclasses import asdict
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from exporter.fault_injection.results import FaultResult, Located, Outcome, SampleResult, SelfTestReport
from exporter.reports.console import describe_phases, make_table, print_field, print_table, print_text
from exporter.reports.formatting import budget_percent, escape, escape_name
from models.errors import count

MAX_LISTED = 20
"""Faults of one outcome that are listed; --json has all."""


def print_self_test(report: SelfTestReport, console: Console) -> None:
    """Print a row for each fault type, the faults that were not detected, and the result."""
    print_text(
        f"self-test of {escape(report.artifact)} in {escape(report.runtime)}; {escape(report.tolerance)}", console
    )
    console.print()
    print_table(_table(report), console)
    console.print()
    for fault in report.of("undetected")[:MAX_LISTED]:
        exact = f"{fault.float64_budget_used or 0:.2f} in float64"
        print_field(
            "missed", f"{escape(_name(fault))}: {fault.budget_used:.2f} of the budget in float32, {exact}", console
        )
    for fault in report.of("invalid")[:MAX_LISTED]:
        print_field("invalid", f"{escape(_name(fault))}: {escape(fault.reason or '')}", console)
    for fault in [fault for fault in report.faults if fault.located == "elsewhere"][:MAX_LISTED]:
        print_field("layer", f"{escape(_name(fault))}: localized at {escape(fault.named or 'no layer')}", console)
    detected, below, undetected, invalid = (len(report.of(outcome)) for outcome in get_args(Outcome))
    print_field(
        "faults",
        f"{len(report.faults)} of {count(report.fault_types, 'type')}: {detected} of {detected + undetected} "
        f"larger than the budget detected, {below} smaller than it"
        f"{f', {invalid} that the engine does not run' if invalid else ''}",
        console,
    )
    if any(fault.located for fault in report.faults):
        exact, near, wrong = (report.located(how) for how in ("layer", "between", "elsewhere"))
        print_field(
            "layers",
            f"{exact} of {exact + near + wrong} named exactly, {near} more among the fused layers before the one named",
            console,
        )
    clean = report.clean
    print_field(
        "clean",
        f"{clean.runs} runs of the unmodified artifact, {len(clean.false_positives)} failed; "
        f"at most {clean.max_budget_used:.0%} of the budget used",
        console,
    )
    for name in clean.false_positives[:MAX_LISTED]:
        print_field("failed", escape(name), console)
    for sample in report.samples:
        _print_sample(sample, console)
    result = "[bold green]passed[/]" if report.passed else "[bold red]FAILED[/]"
    print_field("result", f"{result}: {_reason(report)}; {describe_phases(report.seconds)}", console)


def _print_sample(sample: SampleResult, console: Console) -> None:
    """Print what was found on one of the self-test's own networks."""
    if not sample.repeatable:
        found = "refused" if sample.passed else "NOT refused"
    elif not sample.accepted:
        found = sample.refusal or "fails without a fault"
    else:
        counts = {outcome: len(sample.of(outcome)) for outcome in get_args(Outcome)}
        found = (
            f"{counts['detected']} of {counts['detected'] + counts['undetected']} faults detected, "
            f"{counts['below_tolerance']} smaller than the budget"
        )
    print_field("sample", f"{escape(sample.name)}: {escape(found)}", console)
    for fault in sample.of("undetected")[:MAX_LISTED]:
        print_field("missed", f"{escape(sample.name)}: {escape(_name(fault))}", console)


def self_test_to_dict(report: SelfTestReport) -> dict[str, Any]:
    """Return everything, after the counts of outcomes."""
    outcomes = {outcome: len(report.of(outcome)) for outcome in get_args(Outcome)}
    located = {how: report.located(how) for how in get_args(Located)}
    return {"passed": report.passed, "outcomes": outcomes, "located": located, **asdict(report)}


def _table(report: SelfTestReport) -> Table:
    table = make_table(("fault type", "injected", "detected", "too\nsmall", "undetected", "smallest\nerror"), (46,))
    for kind in dict.fromkeys(fault.kind for fault in report.faults):
        faults = [fault for fault in report.faults if fault.kind == kind]
        counts = [
            sum(fault.outcome == outcome for fault in faults)
            for outcome in ("detected", "below_tolerance", "undetected")
        ]
        least = min((fault.budget_used for fault in faults if fault.outcome == "detected"), default=None)
        table.add_row(
            escape_name(kind),
            str(len(faults)),
            *(str(count or "-") for count in counts),
            "-" if least is None else budget_percent(least),
            style="red" if counts[2] else "",
        )
    return table


def _name(fault: FaultResult) -> str:
    return f"{fault.kind}, {fault.where}"


def _reason(report: SelfTestReport) -> str:
    if report.clean.false_positives:
        return "the unmodified artifact failed"
    if report.of("undetected"):
        return "a fault larger than the budget was not detected"
    if not all(sample.passed for sample in report.samples):
        return "a fault in a small network was not detected, or one without a result not refused"
    return "every fault larger than the budget was detected" if report.passed else "no fault was detected"
