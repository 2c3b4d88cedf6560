"""The named lists of passes, one for each `--target`. A new pass is one line here."""

from exporter.passes.base import GraphPass
from exporter.passes.cleanup import FoldConstants, LiftConstants, RemoveDeadCode, RemoveNoOps
from exporter.passes.fold_batch_norm import FoldBatchNorm


def portable() -> list[GraphPass]:
    """Return what serves every engine: fewer nodes, the same operators."""
    return [LiftConstants(), FoldConstants(), RemoveNoOps(), FoldBatchNorm(), RemoveDeadCode()]


def cpu() -> list[GraphPass]:
    """Return what is faster on a CPU, and may be slower elsewhere."""
    return [*portable()]
