"""The named lists of passes, one for each `--target`. A new pass is one line here."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from exporter.passes import conv3d_as_conv2d
from exporter.passes.autotune import Measurements, autotune_folder
from exporter.passes.base import GraphPass
from exporter.passes.cancel_transposes import CancelTransposes
from exporter.passes.cleanup import FoldConstants, LiftConstants, RemoveDeadCode, RemoveNoOps
from exporter.passes.compress_weights import CompressWeights
from exporter.passes.conv3d_as_conv2d import Conv3dAsConv2d
from exporter.passes.conv_transpose_as_2d import ConvTransposeAs2d
from exporter.passes.fold_batch_norm import FoldBatchNorm
from exporter.passes.fold_weights import FoldWeights
from exporter.passes.mean_before_transpose import MeanBeforeTranspose
from exporter.passes.move_transposes import MoveTransposes
from exporter.passes.pool_before_bias import PoolBeforeBias
from exporter.passes.prepare import ConstantInitializers, FixSizes, RaiseOpset
from exporter.passes.tensor_core_stem import TensorCoreStem
from exporter.passes.winograd.measure import measure_tile_shapes
from exporter.passes.winograd.rewrite import Winograd, WinogradTime
from exporter.types import OptimizeOptions
from models.progress import Progress, no_progress


def build_passes(
    options: OptimizeOptions, progress: Progress = no_progress, measurements: Measurements | None = None
) -> list[GraphPass]:
    """Return the passes that `options` ask for, in order: the target's, then how weights are stored.

    Args:
        options: the target and the options of its passes.
        progress: called by passes that measure.
        measurements: where they find and record times; None for this machine's cache.
    """
    passes = portable_passes()
    if options.target == "cpu":
        passes = cpu_passes(options, progress, measurements)
    elif options.target == "cuda":
        passes += cuda_passes()
    return passes if options.weight_dtype == "fp32" else [*passes, CompressWeights(options.weight_dtype)]


def prepare_passes(shapes: Mapping[str, tuple[int, ...]], *, raise_opset: bool = True) -> list[GraphPass]:
    """Return the passes that come before those of `build_passes`, for a model that this project did not export.

    Args:
        shapes: {input: sizes with the batch} to fix.
        raise_opset: convert a model of an old opset.
    """
    passes: list[GraphPass] = [ConstantInitializers(), *([FixSizes(shapes)] if shapes else [])]
    return [*passes, RaiseOpset()] if raise_opset else passes


def portable_passes() -> list[GraphPass]:
    """Return passes for every engine: fewer nodes, the same operators."""
    return [LiftConstants(), FoldConstants(), RemoveNoOps(), FoldWeights(), FoldBatchNorm(), RemoveDeadCode()]


def cuda_passes() -> list[GraphPass]:
    """Return passes for onnxruntime's CUDA provider; the last to run, because they depend on the layers' dtype."""
    return [TensorCoreStem(), PoolBeforeBias()]


def cpu_passes(
    options: OptimizeOptions, progress: Progress = no_progress, measurements: Measurements | None = None
) -> list[GraphPass]:
    """Return passes that make a graph faster on a CPU, and may make it slower elsewhere; see `build_passes`."""
    settings: dict[str, Any] = {"progress": progress, "cache": measurements or Measurements(autotune_folder())}
    *first, dead_code = portable_passes()
    winograd, winograd_time = (
        step(
            precomputed=options.optimize_for == "load",
            max_tile=options.max_tile,
            measure=partial(measure_tile_shapes, **settings) if options.autotune else None,
            measure_errors=options.measure_errors,
            engine=options.engine,
        )
        for step in (Winograd, WinogradTime)
    )
    stems = Conv3dAsConv2d(partial(conv3d_as_conv2d.measure, **settings) if options.autotune else None)
    frames = [stems, ConvTransposeAs2d(), winograd_time]
    transposes = [MoveTransposes(), CancelTransposes(), MeanBeforeTranspose()]
    return [*first, winograd, *frames, *transposes, dead_code]
