"""What `export()` refuses before any work: options that cannot be honoured, and a network that cannot be exported."""

from __future__ import annotations

import inspect
from pathlib import Path

from exporter.artifacts.files import manifest_path
from exporter.artifacts.store import check_name
from exporter.engines import find_engine
from exporter.errors import UsageError
from exporter.formats import FORMATS
from exporter.output_targets import check_output_folder, check_space
from exporter.parity.input_set import BATCH_SIZES
from exporter.requests import ExportRequest
from exporter.types import FORMAT_NAMES, MAX_OPSET, MIN_OPSET, CalibrationOptions, OptimizeOptions
from models.built_model import BuiltModel
from models.class_names import load_class_names
from models.config import MAX_CLASSES
from models.errors import count
from models.options import BuildOptions
from models.paths import same_file

WEIGHT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""{precision of the weights: bytes of a value}."""
MIN_LARGEST_BATCH = max(BATCH_SIZES)
MAX_BATCH = 65_536
"""158 GB of clips of the published size."""


def check_request(request: ExportRequest) -> None:
    """Refuse, before any work, options that cannot be honoured.

    Raises:
        UsageError: an option has an invalid value; the message names both.
        UnavailableError: a library or device to export with, or the device to verify on, is not there.
        OutputError: the output folder cannot be written to.
    """
    check_usage(request)
    for name in request.formats:
        FORMATS[name].require_available(request.precision.compute)
    models = [f"{request.artifact_name}{FORMATS[name].suffix}" for name in request.formats]
    check_output_folder(request.output_dir, "--output-dir", (*models, *(manifest_path(Path(m)).name for m in models)))
    if request.verify:
        for name in request.formats:
            engine = find_engine(name)
            engine.require_device(engine.choose_device(request.parity.device))
        if request.parity.cache is not None:
            from exporter.parity.golden import require_cache  # imports torch

            require_cache(request.parity.cache)


def check_usage(request: ExportRequest) -> None:
    """Refuse options with impossible values, or that do not go together; imports no library of a format.

    Raises:
        UsageError: the message names the option and its value.
    """
    check_name(request.artifact_name)
    if not request.formats or len(set(request.formats)) != len(request.formats):
        raise UsageError(
            f"name each format once: {', '.join(request.formats) or 'none given'}; known are {', '.join(FORMAT_NAMES)}"
        )
    if request.outputs is not None and (not request.outputs or len(set(request.outputs)) != len(request.outputs)):
        raise UsageError(f"name each output once: {','.join(request.outputs) or 'none given'}")
    if request.batch is not None and request.batch < 1:
        raise UsageError(f"--batch must be 'dynamic' or at least 1 (got {request.batch})")
    largest = request.batch or (request.batch_profile.largest if request.batch_profile else 0)
    if largest > MAX_BATCH:
        raise UsageError(f"--batch must be at most {MAX_BATCH:,} (got {largest:,})")
    _check_batch_profile(request)
    if request.with_preprocess and "tensorrt" in request.formats:
        raise UsageError(
            "--with-preprocess is not available for --format tensorrt: an engine is built for clips of one size, and "
            "frames may have any; take --format onnx and onnxruntime's TensorRT provider"
        )
    check_opset(request.opset)
    _check_onnx_options(request)
    check_precision(request)
    if isinstance(request.model, BuildOptions):
        _check_build_options(request.model, request)


def _check_batch_profile(request: ExportRequest) -> None:
    profile = request.batch_profile
    if profile is None:
        return
    if "tensorrt" not in request.formats or request.batch is not None:
        raise UsageError(f"--batch {profile}: a range of batch sizes is an option of --format tensorrt")
    if not 1 <= profile.optimal <= profile.largest or profile.largest < MIN_LARGEST_BATCH:
        raise UsageError(
            f"--batch {profile}: needs 1 <= OPTIMAL <= LARGEST and LARGEST >= {MIN_LARGEST_BATCH}, the largest batch "
            "that is verified; for one size only give that number"
        )


def _check_build_options(options: BuildOptions, request: ExportRequest) -> None:
    if options.num_classes is not None and not 1 <= options.num_classes <= MAX_CLASSES:
        raise UsageError(f"--num-classes must be between 1 and {MAX_CLASSES} (got {options.num_classes})")
    if options.new_head and options.weights is None:
        raise UsageError("--new-head is an option of --weights: without a checkpoint every layer is newly initialised")
    for name in request.formats:
        target = request.output_dir / f"{request.artifact_name}{FORMATS[name].suffix}"
        if options.weights is not None and same_file(target, Path(options.weights)):
            raise UsageError(f"{target} is the checkpoint itself; choose another --name or --output-dir")


def check_opset(opset: int | None) -> None:
    """Refuse an opset that cannot be written; None is the default one.

    Raises:
        UsageError: the message names the opsets that can.
    """
    if opset is not None and not MIN_OPSET <= opset <= MAX_OPSET:
        raise UsageError(f"--opset must be between {MIN_OPSET} and {MAX_OPSET} (got {opset})")


def _check_onnx_options(request: ExportRequest) -> None:
    optimize = request.optimize
    if request.external_data and "onnx" not in request.formats:
        raise UsageError("--external-data is an option of --format onnx")
    storing = {"onnx"} if optimize.weight_dtype == "int8" else {"onnx", "openvino"}
    if optimize.weight_dtype != "fp32" and not storing & {*request.formats}:
        allowed = " and ".join(f"--format {name}" for name in sorted(storing))
        raise UsageError(f"--weight-dtype {optimize.weight_dtype} is an option of {allowed}")
    for_cpu = optimize.target == "cpu" and "onnx" in request.formats
    if (optimize.autotune or optimize.optimize_for != OptimizeOptions().optimize_for) and not for_cpu:
        raise UsageError("--autotune and --optimize-for are options of --format onnx --target cpu")


def check_free_space(request: ExportRequest, model: BuiltModel) -> None:
    """Refuse an export for which the disk has too little space, before it is written and verified.

    Raises:
        OutputError: the weights alone do not fit, or the temporary files of a format.
    """
    storing = {request.precision.compute, request.optimize.weight_dtype}
    each = model.parameters * min(WEIGHT_BYTES.get(name, 1) for name in storing)
    copies = max(FORMATS[name].temporary_copies for name in request.formats)
    computed = model.parameters * WEIGHT_BYTES.get(request.precision.compute, 1)
    size, temporary = each * len(request.formats), copies * computed
    check_space(request.output_dir, size, request.artifact_name, "--output-dir", temporary=temporary)


def check_model(model: BuiltModel) -> None:
    """Refuse a network that takes anything but one tensor, or whose class names are not those of its scores.

    Raises:
        UsageError: its `forward` has no parameter, or several without a default; or no output has a score for each
            class name.
    """
    forward = (model.forward_all or model.network).forward
    required = [
        parameter.name
        for parameter in inspect.signature(forward).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    if len(required) != 1:
        raise UsageError(
            f"{model.title} takes {len(required)} inputs ({', '.join(required)}); networks with one input are exported"
        )
    if model.class_names is not None:
        load_class_names(model.class_names)
        if model.find_class_names(tuple(output.name for output in model.outputs)) is None:
            scores = ", ".join(f"{one.name} {one.shape}" for one in model.outputs if one.kind != "features")
            raise UsageError(
                f"{model.title}: {count(len(model.class_names), 'class name')}, but its scores are {scores or 'none'}"
            )


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
    if (wanted.min_snr, wanted.min_top1) != (None, None):
        from exporter.parity.held_out import check_bounds  # imports torch

        check_bounds(wanted.min_snr, wanted.min_top1)
    samples = wanted.calibration.samples
    if samples is not None and not wanted.calibration.clips:
        raise UsageError("--calibration-samples is an option of --calibrate")
    if samples is not None and samples < 2:
        raise UsageError(f"--calibration-samples must be at least 2, one of them held out (got {samples})")
