"""How each side of a comparison is run: the artifact, and the second engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact
from exporter.engines import Engine, find_engine, find_verifying_engine
from exporter.engines.base import Runtime, RuntimeOptions
from exporter.engines.pytorch import PyTorchRuntime
from exporter.engines.torch_settings import require_device
from exporter.formats import runtime_options
from exporter.onnx_io.precision import detect_precision, only_stores
from exporter.onnx_io.stored_weights import find_stored_weights, write_changed
from exporter.parity.claims import FULL_PRECISION, computed_precision, held_precision, is_quantised_since
from exporter.parity.execution import RunSpec
from exporter.parity.held_out import make_bound
from exporter.parity.io_mapping import IOMapping, map_by_manifest, map_by_name, map_by_network
from exporter.parity.moved_weights import StoredWeights
from exporter.types import EngineReference, ParityOptions
from models.built_model import BuiltModel
from models.specs import Signature

TORCH = "torch"
VECTORS = 2
"""Axes of a batch of vectors; outputs with more have positions."""


def check_devices(artifacts: tuple[LoadedArtifact, ...], options: ParityOptions) -> None:
    """Refuse a device or engine that cannot be used here, before any long computation.

    Raises:
        UnavailableError: the device or the engine is not there.
        UsageError: the engine does not run an artifact's format.
    """
    against = options.against
    for artifact in artifacts:
        engine = _find_engine(artifact, options)
        engine.require_device(engine.choose_device(options.device))
        if isinstance(against, EngineReference) and against.name != TORCH:
            find_engine(artifact.format, against.name).require_device(against.device)
    if isinstance(against, EngineReference) and against.name == TORCH:
        require_device(against.device)


def make_run_spec(artifact: LoadedArtifact, options: ParityOptions, model: BuiltModel) -> RunSpec:
    """Return how to run an artifact that must return what `model` returns."""
    if artifact.manifest is not None:
        stated = artifact.manifest.signature
        spec = _make_spec(artifact, options, partial(map_by_manifest, artifact.path, stated=stated), stated)
    else:
        stated = model.signature()
        spec = _make_spec(artifact, options, partial(map_by_network, artifact.path, model=model), stated)
    if _nan_has_no_position(artifact, model, stated):
        spec = replace(spec, unsupported_inputs=(*spec.unsupported_inputs, "nan"))
    return spec


def _nan_has_no_position(artifact: LoadedArtifact, model: BuiltModel, stated: Signature) -> bool:
    """Return whether outputs are maps in which a NaN's positions depend on the engine.

    ONNX does not state the maximum of a window that holds NaN (torch returns NaN, onnxruntime another number of the
    window), and a Winograd tile spreads a NaN to all of its outputs.
    """
    if all(len(output.shape) <= VECTORS for output in stated.outputs):
        return False
    rewritten = artifact.manifest is not None and artifact.manifest.options.get("target") == "cpu"
    return rewritten or any("MaxPool" in type(module).__name__ for module in model.network.modules())


def make_file_run_spec(
    artifact: LoadedArtifact, options: ParityOptions, other: Signature, widened: frozenset[str] = frozenset()
) -> RunSpec:
    """Return how to run an artifact that must return what a model file returns.

    Args:
        artifact: the artifact.
        options: engine, device, tolerance.
        other: the signature of that file.
        widened: the weights of that file in half precision that it computes with in float32. Where the artifact stores
            the same numbers, they do not make it one of half precision.
    """
    signature = artifact.manifest.signature if artifact.manifest is not None else other
    map_io = partial(map_by_name, artifact.path, other=other, pairs=options.pairs)
    spec = _make_spec(artifact, options, map_io, signature, widened)
    if spec.precision is None and artifact.format == "onnx" and widened:
        return replace(spec, precision=detect_precision(artifact.path, widened))
    return spec


def make_second_run_spec(artifact: LoadedArtifact, options: ParityOptions, model: BuiltModel) -> RunSpec | None:
    """Return how `--against` runs the same inputs: the network in PyTorch, or the same file in another engine.

    A file that is verified by an emulation also runs in the engine that would run it. That shows that it loads there
    and has no gross fault; its accuracy is measured in the emulation only.
    """
    against = options.against
    sanity = against is None and _find_engine(artifact, options).emulates is not None and options.engine is None
    if sanity:
        against = EngineReference(find_engine(artifact.format).name)
    if not isinstance(against, EngineReference):
        return None
    own = make_run_spec(artifact, options, model)
    if against.name != TORCH:
        engine = find_engine(artifact.format, against.name)
        settings = replace(own.settings, device=against.device, optimize_for_inference=False)
        return replace(
            own,
            open=partial(engine.open, artifact.path),
            settings=settings,
            unsupported_inputs=engine.unsupported_inputs,
            bound=None if sanity else own.bound,
            stored=own.stored and replace(own.stored, open=engine.open),
        )

    def open_network(settings: RuntimeOptions) -> Runtime:
        return PyTorchRuntime(model, "float32", settings)

    def map_io(found: Signature) -> IOMapping:
        outputs = artifact.manifest.signature.outputs if artifact.manifest else model.signature().outputs
        return IOMapping({value.name: value for value in found.inputs}, {value.name: value.name for value in outputs})

    return RunSpec(Path(TORCH), open_network, RuntimeOptions(against.device), map_io)


def _find_engine(artifact: LoadedArtifact, options: ParityOptions) -> Engine:
    precision = "fp32" if artifact.manifest is None else artifact.manifest.precision
    return find_verifying_engine(artifact.format, options.engine, precision, options.device)


def _make_spec(
    artifact: LoadedArtifact,
    options: ParityOptions,
    map_io: Callable[[Signature], IOMapping],
    signature: Signature,
    exact: frozenset[str] = frozenset(),
) -> RunSpec:
    engine = _find_engine(artifact, options)
    settings = replace(runtime_options(artifact, engine.choose_device(options.device)), signature=signature)
    # oneDNN's ReLU, which optimize_for_inference uses, turns NaN into a number
    held = held_precision(artifact.path, artifact.format, artifact.manifest)
    computed = computed_precision(held, artifact.manifest)
    if options.min_snr is not None and is_quantised_since(artifact.path, artifact.format, artifact.manifest):
        held = None  # the user says how accurate what the file is must be
    unsupported = (*engine.unsupported_inputs, "nan") if settings.optimize_for_inference else engine.unsupported_inputs
    return RunSpec(
        artifact.path,
        partial(engine.open, artifact.path),
        settings,
        map_io,
        unsupported,
        held,
        make_bound(artifact, options),
        computed,
        _find_stored(artifact, options, engine, exact),
    )


def _find_stored(
    artifact: LoadedArtifact, options: ParityOptions, engine: Engine, exact: frozenset[str]
) -> StoredWeights | None:
    """Return the weights that a file only stores in fewer bits, by what it holds and not by what its manifest states.

    None where there are none, or where the user gives another tolerance.
    """
    path = artifact.path
    if any(given is not None for given in (options.rtol, options.atol, options.min_snr)):
        return None
    if artifact.format != "onnx" or not only_stores(path):
        return None
    names, precision = find_stored_weights(path, exact), detect_precision(path, exact)
    if not names or precision in FULL_PRECISION:
        return None
    return StoredWeights(precision, partial(write_changed, names=names), engine.open)
