"""What is measured: the artifacts, the engines that `exporter.bench.engine_setup` prepares, and their inputs."""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact, stated_signature
from exporter.artifacts.manifest_fields import CLIP_SIZE, PRECISION, WEIGHT_DTYPE, WITH_PREPROCESS
from exporter.artifacts.provenance import require_single
from exporter.bench.engine_setup import EngineSetup
from exporter.bench.inputs import Feeds, make_feeds, matching_names
from exporter.bench.targets import BenchTarget
from exporter.bench.types import BenchRequest, Skipped
from exporter.engines import find_engine
from exporter.engines.onnxruntime import FLOAT16_ON_CPU
from exporter.errors import C3DExportError, Refuse, UsageError, refuse_one
from exporter.formats import load_artifact, runtime_options
from exporter.formats.onnx import has_pass_metadata
from exporter.formats.torchscript import OPTIMIZE_OPTION
from exporter.onnx_io.layer_types import has_float16_layers
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.signature import read_signature
from exporter.parity.claims import find_contradiction
from exporter.temporary_folders import temporary_folder
from exporter.types import Device
from models.errors import without_path
from models.progress import Progress
from models.specs import Signature

PLAIN_OPTIONS = {"target", "opset", "external_data", PRECISION, WEIGHT_DTYPE, WITH_PREPROCESS, CLIP_SIZE}
"""The options of an ONNX export that change no computation; any other marks a rewritten graph."""


@dataclass(frozen=True)
class BenchPlan:
    """Everything that is to be measured.

    Attributes:
        targets: the artifacts in order, then the engines.
        feeds: what they are given.
        plain: the graph that direct convolution's cost is counted on; None where none is known.
        missing: artifacts that were refused, and engines that cannot take part.
        notes: what a reader must know.
    """

    targets: tuple[BenchTarget, ...]
    feeds: Feeds
    plain: Path | None
    missing: tuple[Skipped, ...]
    notes: tuple[str, ...]


@contextlib.contextmanager
def make_plan(request: BenchRequest, progress: Progress) -> Generator[BenchPlan]:
    """Check the artifacts, and write what engines run into a temporary folder.

    Raises:
        UsageError: options that the artifacts do not allow.
        ArtifactError: an artifact cannot be read, or takes other inputs than the first.
        IntegrityError: an artifact is not the one its manifest describes.
        OutputError: the folder for temporary files cannot be written to.
    """
    progress("reading the artifacts")
    require_single(request.artifacts, request)
    artifacts, signatures, refused = _load(request)
    feeds = make_feeds(artifacts[0].path, artifacts[0].format, signatures, request.inputs, artifacts[0].vouched)
    names = _names([artifact.path for artifact in artifacts])
    targets: list[BenchTarget] = []
    for artifact, signature, name in zip(artifacts, signatures, names, strict=True):
        with refuse_one(_skip(artifact.path, refused) if request.keep_going else None):
            targets.append(_make_target(artifact, signature, name, feeds, request.device))
    notes = feeds.plan.notes
    onnx_files = [artifact.path for artifact in artifacts if artifact.format == "onnx"]
    if request.device == "cpu" and any(map(has_float16_layers, onnx_files)):
        notes = (*notes, FLOAT16_ON_CPU)
    contradictions = [find_contradiction(artifact.path, artifact.format, artifact.manifest) for artifact in artifacts]
    notes += tuple(f"{name}: {found}" for name, found in zip(names, contradictions, strict=True) if found)
    plain = request.engine_model or next((artifact.path for artifact in artifacts if is_plain(artifact)), None)
    if request.engine_model is not None:
        matching_names(request.engine_model, feeds, read_signature(request.engine_model))
    if not request.engines:
        yield BenchPlan(tuple(targets), feeds, plain, tuple(refused), notes)
        return
    measured = plain is not None and any(artifact.path.resolve() == plain.resolve() for artifact in artifacts)
    with temporary_folder() as folder:
        setup = EngineSetup(request, artifacts[0], signatures[0], feeds, plain, folder, progress)
        engines, missing = setup.prepare(plain_takes_part=measured)
        yield BenchPlan((*targets, *engines), feeds, setup.plain, (*refused, *missing), (*notes, *setup.notes))


def _load(request: BenchRequest) -> tuple[list[LoadedArtifact], list[Signature | None], list[Skipped]]:
    """Return the artifacts with what they state, and with `keep_going` those that cannot be loaded, if others can."""
    artifacts: list[LoadedArtifact] = []
    signatures: list[Signature | None] = []
    refused: list[Skipped] = []
    errors: list[C3DExportError] = []
    for path in request.artifacts:
        skip = _skip(path, refused, errors) if request.keep_going else None
        with refuse_one(skip):
            artifact = load_artifact(path, request)
            signatures.append(stated_signature(artifact))
            artifacts.append(artifact)
    if errors and not artifacts:
        raise type(errors[0])("; ".join(map(str, errors)))
    return artifacts, signatures, refused


def _skip(path: Path, skipped: list[Skipped], errors: list[C3DExportError] | None = None) -> Refuse:
    """Return what lists an artifact as skipped for an error of it."""

    def skip(error: C3DExportError) -> None:
        skipped.append(Skipped(path.name, without_path(error, path), added=False, exit_code=error.exit_code))
        if errors is not None:
            errors.append(error)

    return skip


def is_plain(artifact: LoadedArtifact) -> bool:
    """Return whether an artifact is the portable graph: as exported, or any graph without a manifest.

    Raises:
        ArtifactError: it cannot be read.
    """
    if artifact.format != "onnx":
        return False
    if artifact.manifest is None:
        return not has_pass_metadata(load_without_weights(artifact.path))
    options = artifact.manifest.options
    plain = {"target": "portable", PRECISION: "fp32", WEIGHT_DTYPE: "fp32"}
    return all(options.get(name, value) == value for name, value in plain.items()) and set(options) <= PLAIN_OPTIONS


def _make_target(
    artifact: LoadedArtifact, signature: Signature | None, name: str, feeds: Feeds, device: Device
) -> BenchTarget:
    options = replace(runtime_options(artifact, device), signature=signature)
    optimized = options.optimize_for_inference and device == "cpu"
    return BenchTarget(
        name,
        f"{artifact.path}, through {OPTIMIZE_OPTION}," if optimized else str(artifact.path),
        find_engine(artifact.format),
        artifact.path,
        replace(options, optimize_for_inference=optimized),
        matching_names(artifact.path, feeds, signature),
    )


def _names(paths: list[Path]) -> list[str]:
    """Return what the tables call the artifacts: file names, or whole paths where two have one name.

    Raises:
        UsageError: one file twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("name each artifact once")
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
