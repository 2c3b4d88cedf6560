"""Lower precision on export: which requests are valid, and what the manifest records of them."""

from __future__ import annotations

from exporter.artifacts.manifest_fields import CALIBRATION, MIN_SNR, MIN_TOP1, PRECISION, OptionValue
from exporter.calibration_clips import CalibrationClips
from exporter.errors import UsageError
from exporter.formats import FORMATS
from exporter.parity.held_out import check_bounds
from exporter.requests import ExportRequest
from exporter.types import CalibrationOptions


def check_precision(request: ExportRequest) -> None:
    """Refuse a precision that a format cannot compute in, and options that mean nothing with it.

    Raises:
        UsageError: the message says why, and what to do instead.
    """
    wanted = request.precision
    compute = wanted.compute
    for name in request.formats:
        reason = FORMATS[name].precisions.get(compute)
        if reason is None:
            able = " and ".join(known for known, fault in FORMATS[name].precisions.items() if not fault)
            reason = f"it computes in {able}"
        if reason:
            raise UsageError(f"--precision {compute} is not available for --format {name}: {reason}")
    if compute == "fp16" and request.optimize.target == "cpu" and "onnx" in request.formats:
        raise UsageError(
            "--precision fp16 with --target cpu: onnxruntime's CPU provider computes float16 convolutions in float32, "
            "which gains nothing, and Winograd's transforms lose too much accuracy; leave --target out for a GPU's file"
        )
    if request.optimize.target == "cuda" and not any(
        "cuda" in FORMATS[name].rewriting_targets.get(compute, ()) for name in request.formats
    ):
        raise UsageError(
            "--target cuda rewrites ONNX files in float32 and float16 only: take --format onnx, with --precision fp16 "
            "for the fastest file"
        )
    if compute == "fp32":
        for option, given in (
            ("--min-snr", wanted.min_snr is not None),
            ("--min-top1", wanted.min_top1 is not None),
            ("--calibrate", wanted.calibration != CalibrationOptions()),
        ):
            if given:
                raise UsageError(f"{option} is an option of --precision fp16, bf16 or int8")
        return
    if request.optimize.weight_dtype != "fp32":
        raise UsageError(
            f"--weight-dtype {request.optimize.weight_dtype} says how float32 arithmetic stores its weights; "
            f"--precision {compute} decides that itself"
        )
    check_bounds(wanted.min_snr, wanted.min_top1)
    samples = wanted.calibration.samples
    if samples is not None and not wanted.calibration.clips:
        raise UsageError("--calibration-samples is an option of --calibrate")
    if samples is not None and samples < 2:
        raise UsageError(f"--calibration-samples must be at least 2, one of them held out (got {samples})")


def precision_options(request: ExportRequest, clips: CalibrationClips | None) -> dict[str, OptionValue]:
    """Return the manifest's options that say what an artifact computes in, and what it is held to.

    Args:
        request: the export.
        clips: the clips, for a precision below float32.
    """
    wanted = request.precision
    options: dict[str, OptionValue] = {PRECISION: wanted.compute}
    if clips is not None:
        options[CALIBRATION] = f"sha256:{clips.sha256} {clips.description}"
        if request.verify:  # an artifact that was not verified is held to nothing
            options[MIN_SNR] = wanted.required_snr
            options |= {} if wanted.min_top1 is None else {MIN_TOP1: wanted.min_top1}
    return options
