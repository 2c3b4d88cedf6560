"""What a verification found: the frozen dataclasses that reports are made of. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from exporter.accuracy_results import HeldOutAccuracy, StructureCheck
from exporter.types import Device


@dataclass(frozen=True)
class Placement:
    """Where an engine put a model's nodes.

    Attributes:
        device: the device that was asked for.
        nodes: the number of nodes that the engine executes.
        fallback_nodes: the nodes that run on another device, as `name (Operator)`.
    """

    device: Device
    nodes: int
    fallback_nodes: tuple[str, ...] = ()


Precision = Literal["float64", "float32", "float16", "bfloat16", "int8"]
"""The lowest precision among a model's weights."""

ReferencePrecision = Literal["float32", "float64"]
"""What a model is computed in to compare others with it: the baseline's precision, and the reference's."""
PRECISIONS: tuple[ReferencePrecision, ...] = get_args(ReferencePrecision)

TopKAgreement = Literal["same", "tie", "differs"]
"""Whether the highest classes agree; `tie` means that they differ by less than the error budget can resolve."""


@dataclass(frozen=True)
class Comparison:
    """One output on one input batch, compared with float64.

    Errors are absolute. `max_error` to `scale` are those of the batch item that uses most of its budget.

    Attributes:
        input: the input's name.
        output: the output's name.
        batch: the number of items in the batch.
        max_error: the artifact's largest error.
        mean_error: the artifact's mean error.
        float32_max_error: the largest error of the float32 baseline on the same item.
        float32_mean_error: the mean error of the float32 baseline.
        budget: the largest `max_error` that passes.
        budget_used: the error divided by the budget; 1 uses all of it.
        scale: the largest absolute value of the float64 output.
        cosine: the smallest cosine similarity to float64 of any item.
        snr_db: the smallest signal-to-noise ratio of any item, 20 log10(|float64| / |error|), in decibels.
        passed: whether every item is within its budget.
        top1: whether the highest class agrees; None for features.
        top5: whether the five highest classes agree, in any order; None for features.
        max_abs_diff: the largest difference between the artifact and the second engine, of a discrete output the share
            of elements that differ; None without `--against`.
        equal: of an output of labels, masks, indices, rounded numbers or strings: the fraction of elements that equal
            float64. Errors and budget are then fractions of elements too: those that differ, those of the float32
            baseline that differ, those that may differ (near ties); `cosine` and `snr_db` are NaN. None for others.
        near_ties: of such an output: the fraction of near ties among the elements that depend on rounded numbers, where
            an element differs.
        min_snr_db: the lowest signal-to-noise ratio of an item that passes, of an artifact below float32; None where
            the budget is on the largest error.
        disturbed: whether the float32 baseline was replaced by that of inputs or values moved by a rounding step, which
            was far worse (`exporter.parity.conditioning`).
        own_error: whether it passes only because the reference's own file errs as much (`exporter.parity.own_error`).
        beyond_range: whether it passes only because NaN or infinities are not compared where float32 cannot hold what
            the reference computes (`exporter.parity.overflow`).
    """

    input: str
    output: str
    batch: int
    max_error: float
    mean_error: float
    float32_max_error: float
    float32_mean_error: float
    budget: float
    budget_used: float
    scale: float
    cosine: float
    snr_db: float
    passed: bool
    top1: TopKAgreement | None = None
    top5: TopKAgreement | None = None
    max_abs_diff: float | None = None
    equal: float | None = None
    near_ties: float | None = None
    min_snr_db: float | None = None
    disturbed: bool = False
    own_error: bool = False
    beyond_range: bool = False


MatchMethod = Literal["name", "value", "similarity"]
"""How an artifact's value was matched to a layer."""


@dataclass(frozen=True)
class LayerError:
    """One layer of the reference, and the artifact's value that was matched to it.

    Errors are relative to the largest absolute value of the layer in float64.

    Attributes:
        layer: the layer's name in the reference.
        value: the name of the artifact's value; None where the graph does not contain the layer (it was fused).
        matched: how the value was found; None where there is none.
        error: the artifact's largest error.
        float32_error: the largest error of the float32 baseline.
        budget_used: the error divided by the budget, by the same tolerance as for outputs.
    """

    layer: str
    value: str | None
    matched: MatchMethod | None
    error: float | None
    float32_error: float
    budget_used: float | None


@dataclass(frozen=True)
class Localization:
    """Where an artifact first diverges from the reference.

    Attributes:
        input: the input whose layers were compared.
        layers: the layers, in the order of the forward pass.
        first: the first layer outside its budget; None if there is none.
        summary: the finding as a sentence.
    """

    input: str
    layers: tuple[LayerError, ...]
    first: str | None
    summary: str


@dataclass(frozen=True)
class Determinism:
    """Whether repeated runs return the same bits.

    Attributes:
        condition: what was varied.
        runs: the number of runs that were compared with the first.
        identical: whether all returned the same bits, NaN included.
        max_abs_diff: the largest difference seen.
    """

    condition: str
    runs: int
    identical: bool
    max_abs_diff: float


@dataclass(frozen=True)
class Ranking:
    """The five highest classes of one input, highest first, as (class, score)."""

    input: str
    output: str
    float64: tuple[tuple[int, float], ...]
    float32: tuple[tuple[int, float], ...]
    artifact: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class ErrorHistogram:
    """The errors of all numbers of one output, each divided by its own budget: 1 uses all of it.

    Attributes:
        output: the output's name.
        bin_edges: ascending, the first 0 and the last infinite. A bin holds lower < ratio <= upper, so no bin holds
            both numbers that pass and numbers that fail.
        artifact: counts of the artifact's numbers by bin.
        float32: counts of the float32 baseline's numbers by bin.
        artifact_exact: the artifact's numbers that equal float64 rounded to float32; they are in no bin.
        float32_exact: the same for the float32 baseline.
        nonfinite_mismatches: the artifact's numbers that are NaN or infinite where the baseline's are not, or vice
            versa.
    """

    output: str
    bin_edges: tuple[float, ...]
    artifact: tuple[int, ...]
    float32: tuple[int, ...]
    artifact_exact: int
    float32_exact: int
    nonfinite_mismatches: int


@dataclass(frozen=True)
class PreviewFrames:
    """Some frames of a real clip, resized but not cropped.

    Attributes:
        input: the clip's name.
        width: a frame's width in pixels.
        height: a frame's height in pixels.
        frames: RGB, one byte per value, row by row.
        numbers: the frames' numbers in the clip, from 1.
    """

    input: str
    width: int
    height: int
    frames: tuple[bytes, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class ParityReport:
    """The result for one artifact.

    Attributes:
        artifact: the artifact's path.
        engine: the engine that ran it, with its version.
        placement: where its nodes ran.
        float64_name: what the float64 reference was computed from.
        float32_name: what the float32 baseline was computed with.
        against: the second engine that the artifact was compared with; None without `--against`.
        tolerance: a description of the tolerance.
        comparisons: one row for each input batch and output.
        against_comparisons: the same rows for the second engine.
        notes: what a reader must know to interpret the result.
        passed: whether every comparison passed and every node ran on the device asked for.
        seconds: the time by phase: `reference`, `load`, `run`.
        top1_agreement: the fraction of comparisons whose highest class agrees with float64; None for features.
        rankings: the highest classes of each input.
        localization: the first divergence, with `localize`.
        determinism: what repeated runs returned, with `determinism`.
        environment: versions, processor and system.
        hashes: {file: SHA-256}.
        histograms: the errors of all numbers, one histogram for each output.
        previews: frames of the real clips, for HTML pages; other reports leave them out.
        held_out: the accuracy of an artifact below float32 on held-out clips; None where it is held to none.
        structure: of an artifact below float32, the comparison of its graph without rounding.
        raised_layers: {layer that computes in a higher precision: (that precision, decibels that raising it gained)}.
        provenance: who signed the manifest, in words, where that was checked (`verify_keys`); otherwise None.
    """

    artifact: str
    engine: str
    placement: Placement
    float64_name: str
    float32_name: str
    against: str | None
    tolerance: str
    comparisons: tuple[Comparison, ...]
    against_comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    passed: bool
    seconds: dict[str, float]
    top1_agreement: float | None = None
    rankings: tuple[Ranking, ...] = ()
    localization: Localization | None = None
    determinism: tuple[Determinism, ...] = ()
    environment: dict[str, str] = field(default_factory=dict[str, str])
    hashes: dict[str, str] = field(default_factory=dict[str, str])
    histograms: tuple[ErrorHistogram, ...] = ()
    previews: tuple[PreviewFrames, ...] = field(default=(), repr=False)
    held_out: HeldOutAccuracy | None = None
    structure: StructureCheck | None = None
    raised_layers: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])
    provenance: str | None = None
