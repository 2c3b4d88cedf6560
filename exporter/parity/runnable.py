"""Does any input run through a model file at all? What no engine can run is refused, by whichever command meets it."""

from __future__ import annotations

from exporter.artifacts.loading import LoadedArtifact
from exporter.engines import find_engine
from exporter.engines.base import Runtime, RuntimeOptions
from exporter.errors import ArtifactError, UsageError
from exporter.parity.discovery import read_model_signature, try_plan
from exporter.parity.input_plan import InputPlan, make_plans
from exporter.parity.input_roles import find_roles
from exporter.parity.input_types import RANGES
from exporter.types import InputOptions
from models.progress import Progress, no_progress


def require_runnable(artifact: LoadedArtifact, progress: Progress = no_progress) -> None:
    """Refuse a model file that its engine does not open, or that fails on every input of the sizes that it states.

    A file that leaves sizes or values free, which only its user knows, is only opened.

    Args:
        artifact: the model file.
        progress: called at each step.

    Raises:
        ArtifactError: it names the file, the node and the reason.
    """
    progress(f"opening {artifact.path.name}")
    with find_engine(artifact.format).open(artifact.path, RuntimeOptions()) as runtime:
        if refusal := _find_refusal(artifact, runtime):
            raise ArtifactError(f"{refusal}; it fails like this on every input")


def _find_refusal(artifact: LoadedArtifact, runtime: Runtime) -> str | None:
    """Return why a model runs on no input; None where it does, or where that cannot be said."""
    roles = find_roles(artifact.path, artifact.format)
    try:
        plans = list(make_plans(read_model_signature(artifact), InputOptions(), roles, batched=False))
    except UsageError:
        return None
    if not all(map(_is_stated, plans)):
        return None
    refusals: list[str] = []
    for plan in plans:
        for refusal in try_plan(plan, runtime):
            if refusal is None:
                return None
            refusals.append(refusal)
    return refusals[0]


def _is_stated(plan: InputPlan) -> bool:
    """Return whether a model states all that a plan feeds it with, except the size of its first axis.

    Values of a dtype of few bits, all of which are drawn, are stated by the dtype.
    """
    dtypes = {spec.name: spec.dtype for spec in plan.specs}
    stated = all(RANGES.get(dtypes[name]) == values for name, values in plan.values.items())
    sizes = (size for spec in plan.specs for size in spec.shape[1:])
    return stated and not plan.fixed and not plan.sequences and all(isinstance(size, int) for size in sizes)
