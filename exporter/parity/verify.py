"""`verify_parity()`: run artifacts on the same clips as the network, and judge them by float64.

Two phases: first every artifact answers (so that a wrong file or a missing device is told before any long
computation), then the truth is computed once for all artifacts of one network, and the answers are held against it.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifact import Manifest
from exporter.errors import ArtifactError, listing
from exporter.formats.torchscript import OPTIMIZE_OPTION
from exporter.parity.compare import FACTOR, compare
from exporter.parity.inputs import ClipPool, InputBatch, draw_clips
from exporter.parity.reference import Subject, load_subject, rebuild
from exporter.parity.truth import Truth, compute_truth
from exporter.runtimes import RUNTIMES, require_device
from exporter.timing import timed
from exporter.types import ParityOptions, ParityReport, Placement, ReferenceOptions, Signature, c3d_signature
from models.errors import Progress, quiet
from models.spec import OUTPUTS, NetworkConfig, Output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """What an artifact answered on every batch, and how it ran."""

    subject: Subject
    runtime: str
    placement: Placement
    batches: tuple[tuple[InputBatch, "dict[str, NDArray[np.float32]]"], ...]
    seconds: dict[str, float]


def verify_parity(
    artifacts: Sequence[str | Path],
    options: ParityOptions | None = None,
    reference: ReferenceOptions | None = None,
    progress: Progress = quiet,
) -> tuple[ParityReport, ...]:
    """Verify artifacts against the networks they were exported from; one report each, in order.

    Args:
        artifacts: model files.
        options: device, seed, clips.
        reference: the checkpoint to hold them against, where the manifests do not say or are to be overruled.
        progress: told at each long step.

    Raises:
        IntegrityError: a file is not the one its manifest describes.
        BadInputError: an artifact, checkpoint or video is bad.
        UnavailableError: the device or a library is not there.
    """
    options, reference = options or ParityOptions(), reference or ReferenceOptions()
    subjects = [load_subject(Path(path)) for path in artifacts]
    for subject in subjects:
        require_device(subject.format, options.device)
    reports: dict[int, ParityReport] = {}
    groups: dict[object, list[int]] = {}
    for index, subject in enumerate(subjects):
        groups.setdefault(_network_key(subject.manifest), []).append(index)
    for members in groups.values():
        progress("building the network")
        built, notes = rebuild(subjects[members[0]], reference)
        pool = draw_clips(built.preprocessing, seed=options.seed, videos=options.clips)
        answers = [ask(subjects[i], built.config, pool, options, progress) for i in members]
        truth = compute_truth(built.network, pool.clips, progress)
        for i, answer in zip(members, answers, strict=True):
            reports[i] = judge(answer, truth, options, notes)
    return tuple(reports[i] for i in range(len(subjects)))


def ask(
    subject: Subject, config: NetworkConfig, pool: ClipPool, options: ParityOptions, progress: Progress = quiet
) -> Answers:
    """Run one artifact on every batch.

    Raises:
        UnavailableError: the device is not there.
        ArtifactError: the runtime refuses the file, or its signature is not C3D's or not the manifest's.
    """
    seconds: dict[str, float] = {}
    stated = subject.manifest.signature if subject.manifest else None
    expected = stated or c3d_signature(("logits",), config.num_classes, None)
    optimised = subject.manifest is not None and subject.manifest.options.get(OPTIMIZE_OPTION) is True
    runtime = RUNTIMES[subject.format](subject.path, options.device, expected, optimised)
    progress(f"loading {subject.path.name}")
    with contextlib.ExitStack() as stack:
        with timed(seconds, "load"):
            stack.enter_context(runtime)
        check_signature(subject.path, runtime.signature, stated, config)
        answered: list[tuple[InputBatch, dict[str, NDArray[np.float32]]]] = []
        with timed(seconds, "run"):
            for batch in pool.batches(runtime.signature.batch):
                progress(f"running {subject.path.name}: {batch.name}, batch {len(batch.clips)}")
                answered.append((batch, runtime.run(pool.clips[list(batch.clips)])))
        return Answers(subject, runtime.title, runtime.placement, tuple(answered), seconds)


def judge(answers: Answers, truth: Truth, options: ParityOptions, notes: tuple[str, ...] = ()) -> ParityReport:
    """Hold one artifact's answers against the truth."""
    comparisons = tuple(
        compare(
            batch.name,
            output,
            values,
            truth.exact[output][list(batch.clips)],
            truth.torch[output][list(batch.clips)],
        )
        for batch, outputs in answers.batches
        for name, values in outputs.items()
        for output in OUTPUTS
        if output == name
    )
    placement, told = answers.placement, [*answers.subject.notes, *notes]
    if placement.elsewhere:
        told.append(
            f"{len(placement.elsewhere)} of {placement.nodes} nodes ran on the CPU, not on "
            f"{placement.device}: {listing(placement.elsewhere, 4)}"
        )
    honoured = not placement.elsewhere or options.allow_fallback
    return ParityReport(
        artifact=str(answers.subject.path),
        runtime=answers.runtime,
        placement=placement,
        factor=FACTOR,
        comparisons=comparisons,
        notes=tuple(told),
        passed=bool(comparisons) and honoured and all(row.passed for row in comparisons),
        seconds={"truth": truth.seconds, **answers.seconds},
    )


def check_signature(path: Path, found: Signature, stated: Signature | None, config: NetworkConfig) -> None:
    """Hold a loaded model's inputs and outputs against its manifest's, or against C3D's if it has none.

    Raises:
        ArtifactError: they differ; the message shows both.
    """
    if stated is None:
        answered = {output.name for output in found.outputs}
        names: tuple[Output, ...] = tuple(name for name in OUTPUTS if name in answered) or ("logits",)
        batch = found.inputs[0].shape[0] if found.inputs and found.inputs[0].shape else None
        stated = c3d_signature(names, config.num_classes, batch if isinstance(batch, int) else None)
    wanted = [*stated.inputs, *stated.outputs]
    given = [*found.inputs, *found.outputs]
    alike = (
        len(stated.inputs) == len(found.inputs)
        and len(wanted) == len(given)
        and all(
            a.name == b.name
            and a.dtype == b.dtype
            and len(a.shape) == len(b.shape)
            and all(
                x == y or (isinstance(x, str) and isinstance(y, str)) for x, y in zip(a.shape, b.shape, strict=True)
            )
            for a, b in zip(sorted(wanted, key=str), sorted(given, key=str), strict=True)
        )
    )
    if not alike:
        raise ArtifactError(f"{path}: another signature than C3D's: {found}; expected {stated}")


def _network_key(manifest: Manifest | None) -> object:
    """Return what two artifacts must share for one truth to serve both."""
    if manifest is None:
        return None
    return (
        manifest.network,
        manifest.weights.seed,
        manifest.weights.sha256,
        manifest.weights.fresh,
        manifest.state_sha256,
    )
