"""The result of a self-test."""

from dataclasses import asdict
from typing import Any, get_args

from rich.console import Console

from exporter.fault_injection.results import FaultResult, Located, Outcome, SampleResult, SelfTestReport
from exporter.reports.console import describe_phases, print_field, print_result, print_rows, print_text
from exporter.reports.formatting import budget_percent
from models.errors import count

MAX_LISTED = 20
"""Faults of one outcome that are listed; --json has all."""


def print_self_test(report: SelfTestReport, console: Console) -> None:
    """Print a row for each fault type, the faults that were not detected, and the result."""
    print_text(f"self-test of {report.artifact} in {report.runtime}; {report.tolerance}", console)
    console.print()
    _print_fault_types(report, console)
    console.print()
    for fault in report.of("undetected")[:MAX_LISTED]:
        exact = f"{fault.float64_budget_used or 0:.2f} in float64"
        print_field("missed", f"{_name(fault)}: {fault.budget_used:.2f} of the budget in float32, {exact}", console)
    for fault in report.of("invalid")[:MAX_LISTED]:
        print_field("invalid", f"{_name(fault)}: {fault.reason or ''}", console)
    for fault in [fault for fault in report.faults if fault.located == "elsewhere"][:MAX_LISTED]:
        print_field("layer", f"{_name(fault)}: localized at {fault.named or 'no layer'}", console)
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
        print_field("failed", name, console)
    for sample in report.samples:
        _print_sample(sample, console)
    print_result(passed=report.passed, text=f": {_reason(report)}; {describe_phases(report.seconds)}", console=console)


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
    print_field("sample", f"{sample.name}: {found}", console)
    for fault in sample.of("undetected")[:MAX_LISTED]:
        print_field("missed", f"{sample.name}: {_name(fault)}", console)


def self_test_to_dict(report: SelfTestReport) -> dict[str, Any]:
    """Return everything, after the counts of outcomes."""
    outcomes = {outcome: len(report.of(outcome)) for outcome in get_args(Outcome)}
    located = {how: report.located(how) for how in get_args(Located)}
    return {"passed": report.passed, "outcomes": outcomes, "located": located, **asdict(report)}


def _print_fault_types(report: SelfTestReport, console: Console) -> None:
    kinds = list(dict.fromkeys(fault.kind for fault in report.faults))
    rows: list[tuple[str, ...]] = []
    for kind in kinds:
        faults = [fault for fault in report.faults if fault.kind == kind]
        outcomes = [fault.outcome for fault in faults]
        counts = [outcomes.count(outcome) for outcome in ("detected", "below_tolerance", "undetected")]
        least = min((fault.budget_used for fault in faults if fault.outcome == "detected"), default=None)
        smallest = "-" if least is None else budget_percent(least)
        rows.append((kind, str(len(faults)), *(str(count or "-") for count in counts), smallest))
    headings = ("fault type", "injected", "detected", "too\nsmall", "undetected", "smallest\nerror")
    missed = {kinds.index(fault.kind) for fault in report.of("undetected")}
    print_rows(headings, (46,), rows, console, bad=missed)


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
