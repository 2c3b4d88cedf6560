"""What a manifest keeps of a parity report."""

from exporter.artifacts.manifest_fields import ParityRecord
from exporter.parity.tolerance import ERROR_FACTOR
from exporter.results import ParityReport


def parity_record(report: ParityReport) -> ParityRecord:
    """Return the record of a report, with three significant digits of the budget used."""
    used = max(row.budget_used for row in report.comparisons)
    return ParityRecord(report.passed, report.engine, report.placement.device, ERROR_FACTOR, float(f"{used:.3g}"))
