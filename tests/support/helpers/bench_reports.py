"""A benchmark's report made by hand, for what shows it."""

from exporter.bench.types import BenchReport, Loading, LowerBound, Measurement, Ratio, Roofline, Skipped, TargetInfo

LONG = "a [bold]name that is long.onnx"


def row(name: str, batch: int, median: float, ratio: Ratio, difference: float | None = 2e-6) -> Measurement:
    return Measurement(
        name, batch, 2, 20, 20, median, median * 1.1, median * 0.9, batch / median, ratio, 1_163_000_000, difference
    )


REPORT = BenchReport(
    first="c3d.onnx",
    inputs="clip float32 (batch, 3, 16, 112, 112); standard normal, seed 0",
    unit="clips",
    device="cpu",
    targets=(
        TargetInfo("c3d.onnx", "onnxruntime 1.32.0", "a/c3d.onnx", False),
        TargetInfo(LONG, "MNN 3.6.1", "b", True),
    ),
    measurements=(
        row("c3d.onnx", 1, 0.2314, Ratio(1, 1, 1, 1), None),
        row(LONG, 1, 0.4628, Ratio(2.0, 1.95, 2.06, 0.959)),
        row("c3d.onnx", 4, 0.92, Ratio(1, 1, 1, 1), None),
        row(LONG, 4, 10.5, Ratio(11.4, 11.0, 12.0, 0.75), float("nan")),
    ),
    loadings=(Loading("c3d.onnx", 2, (0.5, 0.6, 0.7), (0.8, 0.9, 1.0), 0.6, 0.9),),
    rooflines=(Roofline(2, 180e9, "torch, 2048 x 2048", "a/c3d.onnx", (LowerBound(1, 38_500_000_000, 0.428),), ()),),
    missing=(Skipped("OpenVINO", "not installed; pip install 'c3d-export[openvino]'", True),),
    method=("a sentence",),
    notes=("a [note]",),
    environment={"processor": "a processor, 2 usable cores", "system": "Linux"},
    seconds=93.2,
)
