"""Building a TensorRT engine from an ONNX file: strongly typed, so that each layer computes in the graph's own types.

Since TensorRT 11 this is the only way; in TensorRT 10 it replaces the flags FP16, BF16 and INT8, by which TensorRT
chose types itself. TF32, which keeps 10 bits of float32's mantissa, is turned off.

TensorRT times the kernels that could compute a layer and takes the fastest. The times are kept in a timing cache in the
user's cache folder, by version and GPU, so that the next build of the same layers takes seconds and chooses alike.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.engines.tensorrt_library import Platform, construct, last_error, library, make_logger
from exporter.errors import UnavailableError
from exporter.types import BatchProfile
from models.cache import cache_folder
from models.paths import atomic_write
from models.progress import Progress
from models.specs import TensorSpec


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
