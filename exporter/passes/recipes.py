"""The named lists of passes, one for each `--target`. A new pass is one line here."""

from functools import partial
from typing import Any

from exporter.passes import pictures
from exporter.passes.base import GraphPass
from exporter.passes.cleanup import FoldConstants, LiftConstants, RemoveDeadCode, RemoveNoOps
from exporter.passes.fold_batch_norm import FoldBatchNorm
from exporter.passes.pictures import Pictures
from exporter.passes.store_weights import StoreWeights
from exporter.passes.transposes import CancelTransposes
from exporter.passes.tuning import tuning_folder
from exporter.passes.winograd import micro
from exporter.passes.winograd.rewrite import Winograd
from exporter.types import GraphOptions
from models.errors import Progress, quiet


def recipe(options: GraphOptions, progress: Progress = quiet) -> list[GraphPass]:
    """Return the passes that `options` ask for, in order: the target's, then how weights are stored.

    Args:
        options: target, and the wishes of its passes.
        progress: told by passes that measure.
    """
    passes = cpu(options, progress) if options.target == "cpu" else portable()
    return passes if options.weights_as == "fp32" else [*passes, StoreWeights(options.weights_as)]


def portable() -> list[GraphPass]:
    """Return what serves every engine: fewer nodes, the same operators."""
    return [LiftConstants(), FoldConstants(), RemoveNoOps(), FoldBatchNorm(), RemoveDeadCode()]


def cpu(options: GraphOptions, progress: Progress = quiet) -> list[GraphPass]:
    """Return what is faster on a CPU, and may be slower elsewhere."""
    measure: dict[str, Any] = {"progress": progress, "cache": tuning_folder()}
    *before, last = portable()
    winograd = Winograd(
        precomputed=options.prefer == "load",
        largest=options.largest_tile,
        measure=partial(micro.measured, **measure) if options.tune else None,
        errors=options.errors,
    )
    stems = Pictures(partial(pictures.measured, **measure) if options.tune else None)
    return [*before, winograd, stems, CancelTransposes(), last]
