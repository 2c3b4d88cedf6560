"""TensorRT engines: our own ONNX file of the same precision, built by TensorRT for the GPU of this machine.

The file is the plain engine, because TensorRT's tools (`trtexec --loadEngine`, Triton) accept nothing before it. It has
no room for the manifest, which is beside it only. Two builds have different bytes: which kernels are fastest is
measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from exporter.artifacts.manifest import Manifest
from exporter.engines import ENGINES
from exporter.formats.base import Candidate, WriteRequest, WriteResult
from exporter.formats.onnx import OnnxFormat
from exporter.stored_tensors import StoredModel
from exporter.types import ComputePrecision, FormatName, OptimizeOptions, Target
from models.built_model import BuiltModel

ONNX = OnnxFormat()


class TensorRtFormat:
    """A TensorRT engine, for the TensorRT and the GPU that it was built with."""

    name: FormatName = "tensorrt"
    suffix: str = ".engine"
    precisions: Mapping[ComputePrecision, str] = MappingProxyType(
        {
            **{precision: fault for precision, fault in ONNX.precisions.items() if not fault},
            "bf16": "the engine is built from an ONNX file, which has no bfloat16 form here; take --precision fp16",
        }
    )
    rewriting_targets: Mapping[ComputePrecision, frozenset[Target]] = MappingProxyType({})
    embeds_manifest: bool = False
    hides_weights: str = "an engine holds its weights as its kernels take them"

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


def _write(
    source: Candidate, request: WriteRequest, suffix: str, folder: Path, rejected: tuple[str, ...]
) -> WriteResult:
    """Write the ONNX file into a temporary folder, and the engine that TensorRT makes of it into `folder`."""
    from exporter.engines.tensorrt_library import COMPUTE_CAPABILITY, GPU, LIBRARY, PROFILE, this_platform
    from exporter.formats.tensorrt_build import build_engine, make_profile

    platform = this_platform()
    (spec,) = request.manifest.signature.inputs
    profile = make_profile(spec, request.batch_profile)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        written = source.write(Path(scratch), rejected)
        plan = build_engine(written.files[0], profile, platform, request.progress)
    path = folder / f"{request.name}{suffix}"
    path.write_bytes(plan)
    manifest = written.manifest
    options = {key: value for key, value in manifest.options.items() if key != "external_data"}
    options |= {GPU: platform.gpu, COMPUTE_CAPABILITY: platform.capability}
    if profile is not None:
        options[PROFILE] = str(profile)
    versions = {**manifest.versions, LIBRARY: platform.version}
    manifest = replace(manifest, format=request.manifest.format, options=options, versions=versions)
    return WriteResult((path,), manifest, written.notes)
