"""TensorRT engines: our own ONNX file of the same precision, built by TensorRT for the GPU of this machine.

The file is the plain engine, because TensorRT's tools (`trtexec --loadEngine`, Triton) accept nothing before it. It has
no room for the manifest, which is beside it only. Two builds have different bytes: which kernels are fastest is
measured.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exporter.artifacts.manifest import Manifest
from exporter.engines import ENGINES
from exporter.engines.tensorrt_library import (
    COMPUTE_CAPABILITY,
    GPU,
    LIBRARY,
    PROFILE,
    Platform,
    construct,
    last_error,
    library,
    make_logger,
    this_platform,
)
from exporter.errors import UnavailableError
from exporter.formats.base import Attempt, Candidate, Format, WriteRequest, WriteResult
from exporter.formats.onnx import OnnxFormat
from exporter.stored_tensors import StoredModel
from exporter.types import BatchProfile, ComputePrecision, OptimizeOptions
from models.built_model import BuiltModel
from models.cache import cache_folder
from models.paths import atomic_write
from models.progress import Progress
from models.specs import TensorSpec

ONNX = OnnxFormat()


class TensorRtFormat(Format):
    """A TensorRT engine, for the TensorRT and the GPU that it was built with."""

    name = "tensorrt"
    suffix = ".engine"
    precisions = MappingProxyType(
        {
            **{precision: fault for precision, fault in ONNX.precisions.items() if not fault},
            "bf16": "the engine is built from an ONNX file, which has no bfloat16 form here; take --precision fp16",
        }
    )
    embeds_manifest = False
    hides_weights = "an engine holds its weights as its kernels take them"

    def require_available(self, precision: ComputePrecision) -> None:
        """Refuse to go on without TensorRT and a GPU."""
        ENGINES["tensorrt-runtime"].require_device("cuda")

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield an engine for each portable ONNX graph: TensorRT has its own rewrites, and ours are for CPUs."""
        plain = OptimizeOptions()
        graph = replace(request, manifest=replace(request.manifest, format="onnx"), optimize=plain, external_data=False)
        for candidate in ONNX.candidates(model, graph):
            yield Candidate(candidate.name, partial(_write, candidate, request, self.suffix))

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return None: an engine has no room for a manifest."""
        return None

    def read_stored(self, path: Path) -> StoredModel:
        """Return nothing: an engine states neither."""
        return StoredModel(None, None)


def _write(source: Candidate, request: WriteRequest, suffix: str, attempt: Attempt) -> WriteResult:
    """Write the ONNX file into a temporary folder, and the engine that TensorRT makes of it into the folder."""
    platform = this_platform()
    (spec,) = request.manifest.signature.inputs
    profile = make_profile(spec, request.batch_profile)
    with tempfile.TemporaryDirectory(dir=attempt.folder) as scratch:
        written = source.write(replace(attempt, folder=Path(scratch)))
        plan = build_engine(written.files[0], profile, platform, request.progress)
    path = attempt.folder / f"{request.name}{suffix}"
    path.write_bytes(plan)
    manifest = written.manifest
    options = {key: value for key, value in manifest.options.items() if key != "external_data"}
    options |= {GPU: platform.gpu, COMPUTE_CAPABILITY: platform.capability}
    if profile is not None:
        options[PROFILE] = str(profile)
    versions = {**manifest.versions, LIBRARY: platform.version}
    manifest = replace(manifest, format=request.manifest.format, options=options, versions=versions)
    return WriteResult((path,), manifest, written.notes)


@dataclass(frozen=True)
class ShapeProfile:
    """The shapes of an engine's dynamic input: the smallest, the one it is fastest at, the largest."""

    input: str
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def __str__(self) -> str:
        """Return `clip: 1x3x16x112x112 to 32x3x16x112x112, fastest at 8x3x16x112x112`."""
        least, best, most = ("x".join(map(str, shape)) for shape in self.shapes)
        return f"{self.input}: {least} to {most}, fastest at {best}"


def make_profile(spec: TensorSpec, batch: BatchProfile) -> ShapeProfile | None:
    """Return the profile of an input whose batch size alone is dynamic; None where no size is."""
    lead, *rest = spec.shape
    if isinstance(lead, int):
        return None
    fixed = [int(size) for size in rest]
    least, best, most = ((size, *fixed) for size in (1, batch.optimal, batch.largest))
    return ShapeProfile(spec.name, (least, best, most))


def build_engine(model: Path, profile: ShapeProfile | None, platform: Platform, progress: Progress) -> bytes:
    """Build an engine from an ONNX file; return the file's bytes, as `trtexec --loadEngine` takes them.

    Args:
        model: the ONNX file.
        profile: of its dynamic input.
        platform: the TensorRT and the GPU, for the timing cache.
        progress: called before the build, which takes minutes.

    Raises:
        UnavailableError: TensorRT cannot start here, or this version cannot build the graph; the message says why.
    """
    trt, logger = library(), make_logger()
    builder = construct("Builder", logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = construct("OnnxParser", logger, network)
    if not parser.parse_from_file(str(model)):
        raise UnavailableError(f"TensorRT {platform.version} does not take the graph: {_parse_error(parser)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if profile is not None:
        shapes = builder.create_optimization_profile()
        shapes.set_shape(profile.input, *profile.shapes)
        config.add_optimization_profile(shapes)
    progress(f"building the engine with TensorRT {platform.version}, which times its kernels on {platform.gpu}")
    with _timing_cache(config, platform):
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise UnavailableError(f"TensorRT {platform.version} cannot build the engine: {last_error(logger)}")
    return bytes(plan)


def timing_cache_path(platform: Platform) -> Path:
    """Return where the times of kernels are kept; TensorRT takes them for the same version and GPU only."""
    name = re.sub(r"\W+", "-", f"{platform.version} {platform.gpu}")
    return cache_folder() / "tensorrt" / f"{name}.timing"


@contextlib.contextmanager
def _timing_cache(config: Any, platform: Platform) -> Generator[None]:
    """Have a build use the kept times, and keep what it measured. Without a cache folder it measures everything."""
    path = timing_cache_path(platform)
    try:
        kept = path.read_bytes()
    except OSError:
        kept = b""
    cache = config.create_timing_cache(kept)  # None for bytes that are damaged
    if cache is None or not config.set_timing_cache(cache, False):  # of another driver
        config.set_timing_cache(config.create_timing_cache(b""), False)
    yield
    if (measured := config.get_timing_cache()) is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, bytes(measured.serialize()))


def _parse_error(parser: Any) -> str:
    """Return the parser's errors in one line, each with its node."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    named = (
        f"{one.node_name() or one.node_operator() or 'the model'}: {' '.join(one.desc().split())}" for one in errors
    )
    return "; ".join(named) or "it gives no reason"
