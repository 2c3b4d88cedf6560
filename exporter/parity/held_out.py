"""The accuracy of artifacts below float32: which minimum they must reach, on which inputs, and what they reach.

The minimum follows from the precision that the manifest states, not from how weights are stored: an engine that
computes in fewer bits than the artifact states must fail, and one that states bfloat16 may have float32 weights. On
export the clips held out from calibration are evaluated; later, on `verify parity`, those that the user gives.
The other inputs are drawn to find faults, and are no measure of accuracy: there the bounds are looser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.accuracy_results import HeldOutAccuracy
from exporter.artifacts.loading import LoadedArtifact
from exporter.calibration_clips import CalibrationClips
from exporter.errors import UsageError
from exporter.parity.claims import FULL_PRECISION, is_quantised_since, stated_precision
from exporter.parity.execution import RunResult, RunSpec
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputBatch, InputSet
from exporter.parity.report_details import equal_classes
from exporter.parity.row_tolerances import AccuracyBound, Tolerances
from exporter.parity.sources import NetworkSource
from exporter.parity.tolerance import (
    SNR_TOLERANCES,
    Float32RelativeTolerance,
    SnrTolerance,
    StoredWeightsTolerance,
    rms,
    select_tolerance,
)
from exporter.results import Comparison, Precision
from exporter.types import MIN_SNR, ParityOptions

PACKAGED_ROW, NOISE_ROW = "video", "random"
"""The names of the rows of the packaged clip, and of noise as it calibrates a network that takes no video."""


def make_bound(artifact: LoadedArtifact, options: ParityOptions) -> AccuracyBound | None:
    """Return the accuracy that an artifact is held to: the user's, else what its manifest records.

    A manifest that is not believed can ask for more than the default of its precision, and not for less: neither by its
    minimum, nor by stating that its user's own clips were taken, which would leave the packaged clip to looser bounds.

    Raises:
        UsageError: a bound for an artifact that computes in float32, or beside another tolerance, or out of range.
    """
    check_bounds(options.min_snr, options.min_top1)
    given = options.min_snr is not None or options.min_top1 is not None
    if options.rtol is not None or options.atol is not None:
        if given:
            raise UsageError(
                "--min-snr and --min-top1 replace the tolerance of --rtol and --atol; give only one of the two"
            )
        return None
    manifest, stated = artifact.manifest, stated_precision(artifact.manifest)
    if manifest is None or stated is None:
        if options.min_snr is None:
            if given:
                raise UsageError("--min-top1 needs --min-snr for a file whose manifest states no precision")
            return None
        return AccuracyBound(options.min_snr, options.min_top1, "all")
    if manifest.precision == "fp32":
        if options.min_snr is not None and is_quantised_since(artifact.path, artifact.format, manifest):
            return AccuracyBound(options.min_snr, options.min_top1, "all")
        if given:
            raise UsageError(
                f"--min-snr and --min-top1 are for artifacts below float32; {artifact.path.name} computes in float32, "
                "and --rtol and --atol set another tolerance for it"
            )
        return None
    usual = MIN_SNR[manifest.precision]
    recorded = manifest.min_snr or usual
    packaged = options.min_snr is not None or manifest.verified_on_packaged_clip or not artifact.is_believed
    return AccuracyBound(
        options.min_snr or (recorded if artifact.is_believed else max(recorded, usual)),
        options.min_top1 if options.min_top1 is not None else manifest.min_top1,
        "packaged" if packaged else "given",
    )


def describe_weak_bound(artifact: LoadedArtifact, options: ParityOptions) -> tuple[str, ...]:
    """Return notes where the manifest asks for less than its precision has by default: whether it is held to that."""
    manifest = artifact.manifest
    given = (options.min_snr, options.rtol, options.atol)
    if manifest is None or manifest.precision == "fp32" or any(value is not None for value in given):
        return ()
    usual = MIN_SNR[manifest.precision]
    recorded = manifest.min_snr or usual
    default = f"the default of {manifest.precision}"
    if artifact.is_believed:
        weak = f"its manifest asks for {recorded:g} dB; {default} is {usual:g} dB"
        return (weak,) if recorded < usual else ()
    because = "its manifest is neither signed by a key of --verify-key nor one that was written here"
    if recorded < usual:
        asks = f"so that the {recorded:g} dB which it asks for do not count; {default} does, {usual:g} dB"
        return (f"{because}, {asks} (--min-snr takes another minimum)",)
    if manifest.verified_on_packaged_clip or options.clips or options.inputs.arrays:
        return ()
    return (f"{because}, so that the packaged clip is held to {recorded:g} dB, too; --clip gives others in its place",)


def check_bounds(min_snr: float | None, min_top1: float | None) -> None:
    """Refuse bounds out of their range.

    Raises:
        UsageError: the message names the option.
    """
    if min_snr is not None and not (math.isfinite(min_snr) and min_snr > 0):
        raise UsageError(f"--min-snr must be a positive number of decibels (got {min_snr:g})")
    if min_top1 is not None and not 0 <= min_top1 <= 1:
        raise UsageError(f"--min-top1 is a fraction from 0 to 1 (got {min_top1:g})")


def add_held_out(inputs: InputSet, name: str, clips: CalibrationClips) -> InputSet:
    """Return the inputs with the clips that are held out from calibration; one that is there already stays one row.

    Args:
        inputs: those of the network.
        name: the network's input.
        clips: the clips; their frames where the network has its preprocessing inside.
    """
    feeds, names, held_out = list(inputs.feeds), list(inputs.names), list[int]()
    values: Sequence[NDArray[Any]] = clips.frames or [*clips.held_out]
    for title, value in zip(clips.names, values, strict=True):
        same = (row for row, feed in enumerate(feeds) if np.array_equal(feed[name][0], value))
        row = next(same, len(feeds))
        if row == len(feeds):
            feeds.append({name: np.stack([value])})  # not [np.newaxis], whose stride is 0: AOTInductor checks strides
            names.append(title)
        held_out.append(row)
    return replace(inputs, feeds=tuple(feeds), names=tuple(names), held_out=tuple(held_out))


def make_tolerances(spec: RunSpec, precision: Precision, golden: GoldenOutputs, options: ParityOptions) -> Tolerances:
    """Return an artifact's tolerance on each row.

    Args:
        spec: how it is run, with the bound that it is held to.
        precision: what it is compared as.
        golden: the rows, and the reference, which is computed for some of them if it is not yet.
        options: `rtol` and `atol` take precedence.

    Raises:
        UsageError: see `select_tolerance`.
    """
    inputs = golden.inputs
    regular = select_tolerance(precision, options, golden.source.float32_name)
    only_stored = spec.stored is not None and spec.stored.precision == precision
    if only_stored and isinstance(regular, SnrTolerance):
        float32 = Float32RelativeTolerance(golden.source.float32_name)
        regular = StoredWeightsTolerance(float32, regular, min_top1=regular.min_top1)
    if spec.bound is None:
        return Tolerances(regular)
    least = SNR_TOLERANCES.get(precision) or SnrTolerance(precision, spec.bound.min_snr_db, 0.0)
    held_out = replace(least, min_snr_db=spec.bound.min_snr_db)
    if spec.bound.applies == "all":
        return Tolerances(held_out, held_out, frozenset(range(len(inputs.names))))
    packaged = tuple(row for row, name in enumerate(inputs.names) if name == PACKAGED_ROW)
    rows = inputs.held_out or inputs.given
    if not rows and spec.bound.applies == "packaged":
        rows = packaged
    if only_stored or precision in FULL_PRECISION:  # finer than its manifest states: the bound is no tolerance
        return Tolerances(regular, rows=frozenset(rows))
    tolerances = Tolerances(regular, held_out if rows else None, frozenset(rows))
    if precision != "int8":
        return tolerances
    source = golden.source
    takes_video = not isinstance(source, NetworkSource) or source.model.preprocessing is not None
    noise = () if takes_video else tuple(row for row, name in enumerate(inputs.names) if name == NOISE_ROW)
    return _with_uncalibrated(tolerances, golden, (*(rows or packaged), *noise))


def _with_uncalibrated(tolerances: Tolerances, golden: GoldenOutputs, calibrated: Sequence[int]) -> Tolerances:
    """Return the tolerances with those of inputs for which no ranges were calibrated.

    Args:
        tolerances: those of the others.
        golden: the rows and the reference.
        calibrated: rows of the kind that was calibrated; where there are none, nothing is known of the ranges.
    """
    inputs = golden.inputs
    videos = {*inputs.held_out, *inputs.given, *calibrated, *inputs.frames}
    videos |= {row for row, name in enumerate(inputs.names) if name == PACKAGED_ROW}
    uncalibrated = frozenset(row for row in range(len(inputs.names)) if row not in videos)
    golden.compute(calibrated)
    signals: dict[str, float] = {}
    for row in calibrated:
        for output, values in golden.row(row)[0]["float64"].items():
            if values.dtype.kind == "f" and values.size:
                signals[output] = max(signals.get(output, 0.0), rms(values))
    return replace(tolerances, uncalibrated=uncalibrated, signals=signals)


def measure_held_out(
    result: RunResult,
    golden: GoldenOutputs,
    tolerances: Tolerances,
    pairs: Sequence[tuple[InputBatch, Comparison]],
) -> HeldOutAccuracy | None:
    """Return how accurate an artifact is on the rows that it is held to a bound on; None where there are none.

    Args:
        result: its outputs.
        golden: holds the reference.
        tolerances: which rows these are.
        pairs: every comparison with its batch.
    """
    bound = result.spec.bound
    rows = [row for batch, row in pairs if row.equal is None and tolerances.rows.issuperset(batch.rows)]
    if bound is None or not rows:
        return None
    # where NaN or infinities are not those of the baseline, the ratio of the finite numbers says nothing
    worst = min(rows, key=lambda row: row.snr_db if math.isfinite(row.max_error) else -math.inf)
    return HeldOutAccuracy(
        len(tolerances.rows),
        bound.min_snr_db,
        worst.snr_db if math.isfinite(worst.max_error) else -math.inf,
        worst.input,
        worst.output,
        bound.min_top1,
        equal_classes(result, golden, tolerances.rows),
    )


def bound_notes(accuracy: HeldOutAccuracy | None, spec: RunSpec) -> list[str]:
    """Return what a reader must know about the bound where nothing was held to it."""
    if spec.bound is None or accuracy is not None:
        return []
    return [
        f"its accuracy of at least {spec.bound.min_snr_db:g} dB is for clips of the kind that it was calibrated with; "
        "give some to check it: --clip VIDEO, or --array FILE.npz"
    ]


def accuracy_failures(accuracy: HeldOutAccuracy | None) -> list[str]:
    """Return why an artifact fails though every comparison may pass: too much noise, too few equal highest classes."""
    if accuracy is None or accuracy.passed:
        return []
    failures: list[str] = []
    if not accuracy.snr_db >= accuracy.required_snr_db:
        failures.append(
            f"{accuracy.snr_db:.1f} dB on {accuracy.input}; at least {accuracy.required_snr_db:g} dB are required "
            "(--min-snr)"
        )
    if accuracy.required_top1 is not None and accuracy.top1 is not None and accuracy.top1 < accuracy.required_top1:
        failures.append(
            f"the highest class is float64's on {accuracy.top1:.1%} of the held-out clips; "
            f"at least {accuracy.required_top1:.1%} must agree (--min-top1)"
        )
    return failures
