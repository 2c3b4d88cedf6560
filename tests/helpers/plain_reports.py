"""Parity reports made by hand, for tests of what is done with them."""

from exporter.verdicts import Comparison, ParityReport, Placement

BUDGET = 8e-6


def comparison(name: str, error: float, *, batch: int = 1, output: str = "logits") -> Comparison:
    """One row: the truth's largest number is 1, the budget `BUDGET`."""
    return Comparison(
        input=name, output=output, batch=batch, max_error=error, mean_error=error / 2, reference_max_error=1e-6,
        reference_mean_error=5e-7, budget=BUDGET, share=error / BUDGET, scale=1.0, cosine=1.0, snr_db=120.0, top1="same",
        top5="same", distance=None, passed=error <= BUDGET,
    )  # fmt: skip


def report(*errors: tuple[str, float]) -> ParityReport:
    """A report of c3d.onnx with one comparison for each (input, error)."""
    rows = tuple(comparison(name, error) for name, error in errors)
    return ParityReport(
        artifact="artifacts/c3d.onnx", runtime="onnxruntime 1.32.0 (cpu)", placement=Placement("cpu", 27),
        truth="the network in float64", reference="PyTorch float32", against=None, tolerance="within 8 times",
        comparisons=rows, against_comparisons=(), notes=(), passed=all(row.passed for row in rows),
        seconds={"truth": 1.0, "load": 0.25, "run": 0.5},
    )  # fmt: skip
