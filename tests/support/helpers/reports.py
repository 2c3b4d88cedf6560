"""Parity reports made by hand, for what shows them: nothing is computed, every number is distinct."""

import math
from dataclasses import replace

import numpy as np

from exporter.results import (
    Comparison,
    Determinism,
    ErrorHistogram,
    LayerError,
    Localization,
    ParityReport,
    Placement,
    PreviewFrames,
    Ranking,
)

HOSTILE = "<script>alert('x')</script> & \"$\\frac{1}{2}$\" \u202e\x07.onnx"
"""A name with everything that markup, formulas and terminals trip over."""


BUDGET = 8e-6


def comparison(
    name: str, budget_used: float, *, output: str = "logits", batch: int = 1, classes: bool = True
) -> Comparison:
    """Return a comparison whose error is `share` of `BUDGET`."""
    return Comparison(
        input=name,
        output=output,
        batch=batch,
        max_error=budget_used * BUDGET,
        mean_error=budget_used * 2e-6,
        float32_max_error=1e-6,
        float32_mean_error=3e-7,
        budget=BUDGET,
        budget_used=budget_used,
        scale=2.5,
        cosine=0.999999,
        snr_db=118.0,
        top1="same" if classes else None,
        top5="tie" if classes else None,
        max_abs_diff=None,
        passed=budget_used <= 1,
    )


def distribution(output: str = "logits", over: int = 0) -> ErrorHistogram:
    """Return a distribution of 487 numbers of which `over` are over their budget."""
    edges = (0.0, 0.01, 0.1, 1.0, 10.0, math.inf)
    return ErrorHistogram(output, edges, (11, 200, 270 - over, over, 0), (12, 201, 269, 0, 0), 6, 5, 0)


def report(name: str = "a/c3d.onnx", *, budget_used: float = 0.07) -> ParityReport:
    """Return a report with every part that a report can have; it passes where `share` is at most 1."""
    passed = budget_used <= 1
    noise = np.random.default_rng(0).integers(0, 256, (6, 128, 171, 3), dtype=np.uint8)
    five = tuple((rank * 31 + 400, 5.5 - rank) for rank in range(5))
    other = (*five[:4], (7, 1.5))
    layers = (
        LayerError("conv1", "conv1.out", "name", 0.0, 0.0, 0.0),
        LayerError("conv2", None, None, None, 3.3e-7, None),
        LayerError("fc8", "logits", "similarity", budget_used * 1e-6, 4.4e-7, budget_used),
    )
    return ParityReport(
        artifact=name,
        engine="onnxruntime 1.32.0 (cpu)",
        placement=Placement("cpu", 27),
        float64_name="the network in float64 (PyTorch)",
        float32_name="PyTorch float32",
        against=None,
        tolerance="within 8 times PyTorch float32's own error",
        comparisons=(
            comparison("random", budget_used),
            comparison("zeros", 0.031),
            comparison("ride.mp4", 0.052),
            comparison("random + ride.mp4", 0.043, batch=2),
        ),
        against_comparisons=(),
        notes=("a note",),
        passed=passed,
        seconds={"truth": 10.1, "load": 0.6, "run": 2.5},
        top1_agreement=1.0,
        rankings=(Ranking("random", "logits", five, five, other), Ranking("ride.mp4", "logits", five, five, five)),
        localization=Localization(
            "ride.mp4",
            layers,
            None if passed else "fc8",
            "no layer diverges" if passed else "diverges at fc8",
        ),
        determinism=(
            Determinism("3 runs on the same input", 2, True, 0.0),
            Determinism("on 1 and on 2 threads", 1, False, 6e-8),
        ),
        environment={"torch": "2.13.0", "processor": "a processor, 2 usable cores"},
        hashes={"c3d.onnx": "c4c07867" * 8},
        histograms=(distribution(over=0 if passed else 3),),
        previews=(
            PreviewFrames("ride.mp4", 171, 128, tuple(frame.tobytes() for frame in noise), (1, 4, 7, 10, 13, 16)),
        ),
    )


def hostile() -> ParityReport:
    """Return a report whose every text is hostile, with infinite errors and NaN."""
    base = report(HOSTILE, budget_used=math.inf)
    bad = replace(comparison(HOSTILE, math.inf), cosine=math.nan, snr_db=-math.inf)
    layer = LayerError(HOSTILE, HOSTILE, "value", math.inf, math.nan, math.inf)
    return replace(
        base,
        engine=HOSTILE,
        float64_name=HOSTILE,
        float32_name=HOSTILE,
        against=HOSTILE,
        tolerance=HOSTILE,
        notes=(HOSTILE,),
        comparisons=(bad, replace(bad, output=HOSTILE)),
        against_comparisons=(bad,),
        rankings=(replace(base.rankings[0], input=HOSTILE, output=HOSTILE),),
        localization=Localization(HOSTILE, (layer,), HOSTILE, HOSTILE),
        determinism=(Determinism(HOSTILE, 1, False, math.inf),),
        environment={HOSTILE: HOSTILE},
        hashes={HOSTILE: HOSTILE},
        histograms=(replace(distribution(), output=HOSTILE, nonfinite_mismatches=3),),
        previews=(replace(base.previews[0], input=HOSTILE),),
    )


def bare(*errors: tuple[str, float]) -> ParityReport:
    """Return a report with one comparison for each (input, error) and nothing else; truths are at most 1."""
    rows = tuple(replace(comparison(name, error / BUDGET), max_error=error, scale=1.0) for name, error in errors)
    return replace(
        report(),
        comparisons=rows,
        passed=all(row.passed for row in rows),
        top1_agreement=None,
        rankings=(),
        previews=(),
        localization=None,
        determinism=(),
        histograms=(),
        notes=(),
    )


def features() -> ParityReport:
    """Return a report of features alone, without video, layers or determinism, that failed by a node elsewhere."""
    return replace(
        bare(),
        comparisons=(comparison("random", 0.5, output="fc6", classes=False),),
        placement=Placement("cuda", 27, ("pool5 (MaxPool)",)),
        passed=False,
    )
