"""What a manifest keeps of a parity report."""

from exporter.artifacts.manifest_fields import ParityRecord, StructureRecord
from exporter.parity.tolerance import ERROR_FACTOR
from exporter.results import ParityReport, StructureCheck


def parity_record(report: ParityReport) -> ParityRecord:
    """Return the record of a report, with three significant digits of the budget used."""
    used = _round(max(row.budget_used for row in report.comparisons))
    structure = None if report.structure is None else _structure_record(report.structure)
    return ParityRecord(report.passed, report.engine, report.placement.device, ERROR_FACTOR, used, structure)


def _structure_record(check: StructureCheck) -> StructureRecord:
    used = None if check.budget_used is None else _round(check.budget_used)
    return StructureRecord(check.passed, used, check.weights, check.originals)


def _round(number: float) -> float:
    return float(f"{number:.3g}")
