"""What a verification found: the frozen dataclasses that reports are made of. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from typing import Literal

from exporter.types import Device


@dataclass(frozen=True)
class Placement:
    """Where a runtime put a model's nodes.

    Attributes:
        device: what was asked for.
        nodes: how many nodes the runtime executes.
        elsewhere: those of them that run on another device, as `name (Operator)`.
    """

    device: Device
    nodes: int
    fallback_nodes: tuple[str, ...] = ()


Precision = Literal["float64", "float32", "float16", "bfloat16", "int8"]
"""The coarsest number format of a model's weights."""

TopKAgreement = Literal["same", "tie", "differs"]
"""Of the highest classes: `tie` is a difference between classes that the budget cannot tell apart."""


@dataclass(frozen=True)
class Comparison:
    """One output of one input batch, against float64. Errors are absolute, of the clip that uses most of its budget.

    Attributes:
        input: the input's name.
        output: the output's name.
        batch: clips in the batch.
        max_error: the artifact's largest distance from float64.
        mean_error: its mean distance.
        reference_max_error: the reference's own float32 error on the same clip, the largest.
        reference_mean_error: its mean.
        budget: the largest `max_error` that passes.
        share: how much of the budget is used: 1 is all of it.
        scale: the largest number of the truth.
        cosine: the smallest cosine similarity to float64 of any clip.
        snr_db: the smallest signal-to-noise ratio of any clip, 20 log10(|truth| / |error|), in decibels.
        top1: whether the highest class agrees, None for features.
        top5: whether the five highest agree, in any order.
        distance: the largest distance between the artifact and what it is held against, None without `--against`.
        passed: the verdict.
    """

    input: str
    output: str
    batch: int
    max_error: float
    mean_error: float
    reference_max_error: float
    reference_mean_error: float
    budget: float
    budget_used: float
    scale: float
    cosine: float
    snr_db: float
    top1: TopKAgreement | None
    top5: TopKAgreement | None
    max_abs_diff: float | None
    passed: bool


@dataclass(frozen=True)
class LayerError:
    """One layer of the truth, and the artifact's value that stands for it. Errors are relative to the layer's largest.

    Attributes:
        layer: its name in the truth.
        value: the artifact's value, None where the graph does not show it (fused away, or gone).
        matched: how the value was found: by `name`, by `value`, or by `likeness`.
        error: the artifact's largest error.
        reference_error: the reference's own float32 error.
        share: of the budget that the same rule as for outputs gives.
    """

    layer: str
    value: str | None
    matched: Literal["name", "value", "likeness"] | None
    error: float | None
    reference_error: float
    budget_used: float | None


@dataclass(frozen=True)
class Localization:
    """Where an artifact leaves the truth.

    Attributes:
        input: the clip it was traced on.
        layers: in the order of the forward pass.
        first: the first layer seen to be outside its budget, None if there is none.
        sentence: the same for people.
    """

    input: str
    layers: tuple[LayerError, ...]
    first: str | None
    summary: str


@dataclass(frozen=True)
class Determinism:
    """Whether a run gives the same bits again.

    Attributes:
        condition: what was varied.
        runs: how many answers were compared with the first.
        identical: bit for bit, NaN included.
        largest: the largest difference seen.
    """

    condition: str
    runs: int
    identical: bool
    largest: float


@dataclass(frozen=True)
class Ranking:
    """The five highest classes of one clip, for truth, reference and artifact: (class, score) each."""

    input: str
    output: str
    truth: tuple[tuple[int, float], ...]
    reference: tuple[tuple[int, float], ...]
    artifact: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class ErrorHistogram:
    """How large the errors of one output's numbers are, each as a share of what its own budget allows: 1 is all of it.

    Attributes:
        output: the output's name.
        edges: of the bins, ascending, the first 0 and the last infinite; a bin holds lower < share <= upper, so
            that none holds both what passes and what does not.
        artifact: the artifact's numbers in each bin.
        reference: the reference's float32 numbers in each bin.
        artifact_exact: its numbers that are the truth's to the last bit of float32; they stand in no bin.
        reference_exact: the same for the reference.
        lost: the artifact's numbers that are NaN or infinite where the reference's are not, or the other way round.
    """

    output: str
    edges: tuple[float, ...]
    artifact: tuple[int, ...]
    reference: tuple[int, ...]
    artifact_exact: int
    reference_exact: int
    nonfinite_mismatches: int


@dataclass(frozen=True)
class PreviewFrames:
    """Some frames of a real clip, at the size that its 112x112 window is cut from.

    Attributes:
        input: the clip's name.
        width: of a frame, in pixels.
        height: the same.
        frames: RGB, a byte a value, row by row.
        numbers: which of the clip's frames they are, from 1.
    """

    input: str
    width: int
    height: int
    frames: tuple[bytes, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class ParityReport:
    """The verdict on one artifact.

    Attributes:
        artifact: its path.
        runtime: the engine and its version.
        placement: where its nodes ran.
        truth: what float64 was computed from.
        reference: whose float32 error is the measure.
        against: what else the artifact was held against, None for the truth alone.
        tolerance: the rule of the budget, in words.
        comparisons: a row per input and output.
        against_comparisons: the same rows for what it was held against.
        notes: what a reader must know to weigh the verdict.
        passed: every comparison passed and the device was honoured.
        seconds: by phase: `truth`, `load`, `run`.
        top1_agreement: the share of clips whose highest class is the truth's, None for features.
        rankings: the highest classes of each clip.
        localization: with `localize`.
        determinism: with `determinism`.
        environment: versions, processor, system.
        hashes: {file: SHA-256}.
        distributions: how large the errors of all numbers are, an entry per output.
        shown: pictures of the real clips. For pages alone: no other report carries them.
    """

    artifact: str
    runtime: str
    placement: Placement
    truth: str
    reference: str
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
    distributions: tuple[ErrorHistogram, ...] = ()
    shown: tuple[PreviewFrames, ...] = field(default=(), repr=False)
