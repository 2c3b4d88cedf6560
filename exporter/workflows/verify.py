"""`verify_parity()`: run artifacts and their reference on the same inputs, and compare the outputs.

Every artifact runs first, so that a wrong file or a missing device is reported before any long computation. Then the
float64 reference is computed once for all artifacts of one network, and the outputs are compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact, stated_signature
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.provenance import require_single
from exporter.artifacts.rebuilding import rebuild_network
from exporter.calibration_clips import CalibrationClips
from exporter.errors import C3DExportError, Refuse, UsageError, refuse_one
from exporter.formats import load_artifact
from exporter.inference.ray_reference import NETWORK_ONLY, reference_on_ray
from exporter.inference.types import RayOptions
from exporter.isolation.worker import file_at_work
from exporter.load_checks import LoadChecks
from exporter.parity.golden import GoldenOutputs, require_cache
from exporter.parity.held_out import add_held_out, check_bounds
from exporter.parity.input_types import select_input_types
from exporter.parity.inputs import make_network_inputs
from exporter.parity.run_specs import check_devices, make_run_spec, make_second_run_spec
from exporter.parity.sources import NetworkSource
from exporter.parity.tolerance import check_allclose
from exporter.results import ParityReport
from exporter.types import ParityOptions
from exporter.workflows.parity_runs import run_and_evaluate
from exporter.workflows.verify_file import verify_against_file
from models.built_model import BuiltModel
from models.options import BuildOptions
from models.progress import Progress, no_progress


def verify_parity(
    artifacts: Sequence[str | Path],
    options: ParityOptions | None = None,
    reference: BuildOptions | BuiltModel | None = None,
    progress: Progress = no_progress,
    ray: RayOptions | None = None,
    refuse: Refuse | None = None,
) -> tuple[ParityReport, ...]:
    """Verify artifacts against the networks they were exported from, or another model file; one report each, in order.

    Args:
        artifacts: model files.
        options: engine, device, inputs, tolerance, and what else is compared.
        reference: the checkpoint to compare with, where the manifests do not say or are to be overruled; or the
            network itself.
        progress: called at each long step.
        ray: compute the float64 reference on a Ray cluster; None computes it in this process. Artifacts run here.
        refuse: called with the error of an artifact that cannot be verified; the others are verified, and it has no
            report. None raises the error.

    Raises:
        IntegrityError: a file is not the one its manifest describes.
        UsageError: options that do not go together.
        BadInputError: an artifact, checkpoint, video or array is bad.
        UnavailableError: the device or a library is not there.
        LimitError: comparing with a model file takes more memory than `options.max_memory`.
        CheckFailedError: an artifact fails on an input.
        OutputError: the cache cannot be written to.
    """
    options = options or ParityOptions()
    check_allclose(options)
    check_bounds(options.min_snr, options.min_top1)
    select_input_types(options.input_types)
    if options.cache is not None:
        require_cache(options.cache)
    require_single(artifacts, options)
    loaded = _load(artifacts, options, refuse)
    if artifacts and not loaded:
        return ()
    if options.pairs and not isinstance(options.against, Path):
        raise UsageError("--map needs --against FILE: the inputs and outputs of a network have names of their own")
    if isinstance(options.against, Path):
        if reference is not None and reference != BuildOptions():
            raise UsageError(
                "--weights and related options describe a network; with --against FILE, that file is compared"
            )
        if ray is not None:
            raise UsageError(NETWORK_ONLY)
        other = load_artifact(options.against, LoadChecks(trust=options.trust))
        with file_at_work(other.path):
            compared = verify_against_file(loaded, other, options, progress, refuse)
        other.require_unchanged()
        return compared
    for option, given in (("--shape", options.inputs.shapes), ("--feed", options.inputs.feeds)):
        if given:
            raise UsageError(f"{option} needs --against FILE: what a network with a manifest takes is known")
    if ray is not None and options.fail_fast:
        raise UsageError("--fail-fast runs one input after another; take --runner local")
    return _verify_against_networks(loaded, options, reference or BuildOptions(), progress, ray, refuse)


def _load(artifacts: Sequence[str | Path], options: ParityOptions, refuse: Refuse | None) -> list[LoadedArtifact]:
    loaded: list[LoadedArtifact] = []
    for path in artifacts:
        with refuse_one(refuse):
            artifact = load_artifact(Path(path), options)
            check_devices((artifact,), options)
            _check_batch_size(artifact, options.batch_size)
            loaded.append(artifact)
    return loaded


def _verify_against_networks(
    artifacts: Sequence[LoadedArtifact],
    options: ParityOptions,
    reference: BuildOptions | BuiltModel,
    progress: Progress,
    ray: RayOptions | None,
    refuse: Refuse | None,
) -> tuple[ParityReport, ...]:
    """Compare artifacts with their networks; each is built once, for all artifacts of it."""
    reports: dict[str, ParityReport] = {}
    groups: dict[object, list[LoadedArtifact]] = {}
    for artifact in artifacts:
        groups.setdefault(_network_key(artifact.manifest), []).append(artifact)
    for members in groups.values():
        with refuse_one(refuse and _refuse_all(refuse, members)):
            progress("building the network")
            model, notes = rebuild_network(members[0], reference, progress)
            golden = golden_outputs(model, options, progress)
            golden.run_rows = None if ray is None else reference_on_ray(ray, progress)
            verified = verify_built(members, golden, options, progress, notes, refuse)
            reports |= {report.artifact: report for report in verified}
    return tuple(reports[str(artifact.path)] for artifact in artifacts if str(artifact.path) in reports)


def _check_batch_size(artifact: LoadedArtifact, batch_size: int | None) -> None:
    if batch_size is None:
        return
    stated = stated_signature(artifact)
    fixed = stated and stated.batch
    if fixed is not None and batch_size != fixed:
        raise UsageError(f"--batch {batch_size}: {artifact.path} takes batches of {fixed} only")


def _refuse_all(refuse: Refuse, artifacts: Sequence[LoadedArtifact]) -> Refuse:
    """Return what refuses every artifact of a network for an error of the network."""

    def refuse_all(error: C3DExportError) -> None:
        refuse(error)
        for artifact in artifacts[1:]:
            refuse(type(error)(f"{artifact.path}: is of the same network as {artifacts[0].path}, and not verified"))

    return refuse_all


def golden_outputs(
    model: BuiltModel,
    options: ParityOptions,
    progress: Progress = no_progress,
    clips: CalibrationClips | None = None,
) -> GoldenOutputs:
    """Return the network's float64 reference on the inputs that `options` ask for; it is computed when first used.

    Args:
        model: the network.
        options: the inputs.
        progress: called at each step.
        clips: clips of which the held-out ones are inputs too.
    """
    inputs = make_network_inputs(model, options)
    if clips is not None:
        inputs = add_held_out(inputs, model.input.name, clips)
    return GoldenOutputs(NetworkSource(model), inputs, options.cache, progress)


def verify_built(
    artifacts: Sequence[LoadedArtifact],
    golden: GoldenOutputs,
    options: ParityOptions,
    progress: Progress = no_progress,
    notes: Sequence[str] = (),
    refuse: Refuse | None = None,
) -> tuple[ParityReport, ...]:
    """Compare artifacts with the built network that `golden` is computed from; `refuse` as in `verify_parity`."""
    assert isinstance(golden.source, NetworkSource)
    model = golden.source.model
    runs = [
        (make_run_spec(artifact, options, model), make_second_run_spec(artifact, options, model))
        for artifact in artifacts
    ]
    return run_and_evaluate(artifacts, runs, golden, options, progress, notes, refuse)


def _network_key(manifest: Manifest | None) -> object:
    """Return what two artifacts must have in common for one float64 reference to serve both."""
    if manifest is None:
        return None
    checkpoint = manifest.checkpoint and (manifest.checkpoint.sha256, manifest.checkpoint.reinitialized)
    settings = tuple(sorted(manifest.network.settings.items()))
    inside = (manifest.preprocessing, manifest.clip_size) if manifest.with_preprocess else None
    network = manifest.network
    return network.architecture, settings, network.seed, network.state_sha256, checkpoint, inside
