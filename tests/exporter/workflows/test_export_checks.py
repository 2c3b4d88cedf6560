"""Requests for lower precision that mean nothing are refused before any work."""

import pytest

from exporter import CalibrationOptions, ExportRequest, OptimizeOptions, PrecisionOptions, UsageError
from exporter.formats import FORMATS
from exporter.types import COMPUTE_PRECISIONS, FORMAT_NAMES, ComputePrecision, FormatName
from exporter.workflows.export_checks import check_request


@pytest.mark.parametrize(
    ("request_", "option"),
    [
        (ExportRequest(("onnx",), precision=PrecisionOptions("bf16")), "--precision bf16"),
        (ExportRequest(("torchscript",), precision=PrecisionOptions("int8")), "--precision int8"),
        (ExportRequest(("onnx",), precision=PrecisionOptions("fp16"), optimize=OptimizeOptions("cpu")), "--target cpu"),
        (ExportRequest(("torchscript",), optimize=OptimizeOptions("cuda")), "--target cuda"),
        (
            ExportRequest(("onnx",), precision=PrecisionOptions("int8"), optimize=OptimizeOptions("cuda")),
            "--target cuda",
        ),
        (ExportRequest(("onnx",), precision=PrecisionOptions(min_snr=20.0)), "--min-snr"),
        (ExportRequest(("onnx",), precision=PrecisionOptions(min_top1=0.9)), "--min-top1"),
        (ExportRequest(("onnx",), precision=PrecisionOptions(calibration=CalibrationOptions(("a",)))), "--calibrate"),
    ],
)
def test_what_means_nothing_is_refused(request_: ExportRequest, option: str) -> None:
    with pytest.raises(UsageError, match=option):
        check_request(request_)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_every_format_states_what_it_computes_in(name: FormatName) -> None:
    from exporter.formats import FORMATS

    assert FORMATS[name].precisions["fp32"] == ""


@pytest.mark.parametrize(
    ("name", "compute"),
    [
        (name, compute)
        for name in FORMATS
        for compute in COMPUTE_PRECISIONS
        if FORMATS[name].precisions.get(compute) != ""
    ],
)
def test_what_a_format_does_not_compute_in_is_refused_with_the_reason(
    name: FormatName, compute: ComputePrecision
) -> None:
    with pytest.raises(UsageError, match=f"^--precision {compute} is not available for --format {name}: .+"):
        check_request(ExportRequest((name,), precision=PrecisionOptions(compute)))


def test_weights_are_stored_as_the_precision_says() -> None:
    from exporter.formats import FORMATS

    for name in FORMAT_NAMES:
        for compute, fault in FORMATS[name].precisions.items():
            if compute != "fp32" and not fault:
                request = ExportRequest(
                    (name,), precision=PrecisionOptions(compute), optimize=OptimizeOptions(weight_dtype="fp16")
                )
                with pytest.raises(UsageError, match="--weight-dtype"):
                    check_request(request)
