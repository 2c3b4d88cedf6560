"""ONNX: through torch's own exporter (torch.export), named like the network, checked by onnx's checker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from exporter.artifacts.manifest import Manifest
from exporter.formats.base import Attempt, Candidate, Format, WriteRequest, WriteResult
from exporter.formats.onnx_float16 import float16_candidates
from exporter.formats.onnx_graph import SUFFIX, NetworkGraph, export_graph, rewrite_graph, write_graph
from exporter.formats.onnx_int8 import int8_candidates
from exporter.onnx_io.stored import read_stored_onnx
from exporter.passes.tiles import describe_tiles, tile_candidates
from exporter.stored_tensors import StoredModel
from models.built_model import BuiltModel
from models.config import MANIFEST_KEY

if TYPE_CHECKING:
    import onnx


PASSES_KEY = "c3d_export.passes"
"""Metadata of a model without a manifest: the passes that changed it."""


class OnnxFormat(Format):
    """An ONNX model of standard operators, one file by default."""

    name = "onnx"
    suffix = SUFFIX
    precisions = MappingProxyType(
        {
            "fp32": "",
            "fp16": "",
            "int8": "",
            "bf16": "onnxruntime's CPU provider has no bfloat16 convolution; take --format openvino",
        }
    )
    rewriting_targets = MappingProxyType(
        {"fp32": frozenset({"cpu", "cuda"}), "fp16": frozenset({"cuda"}), "int8": frozenset({"cpu"})}
    )

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield the rewritten graphs with the largest Winograd tiles first, then the graph without Winograd.

        Smaller tiles are slower and round less. Without `--target` the portable graph is the only candidate. In float16
        and int8 they are graphs with ever more layers in float32.
        """
        if request.precision.compute == "fp16":
            yield from float16_candidates(model, request)
            return
        if request.precision.compute == "int8":
            yield from int8_candidates(model, request)
            return
        export = cache(partial(export_graph, model, request))
        for optimize in tile_candidates(request.optimize):
            yield Candidate(
                describe_tiles(optimize), partial(_write, export, model, replace(request, optimize=optimize))
            )
        if request.optimize.target != "portable":
            portable = replace(request.optimize, target="portable", autotune=False, optimize_for="size")
            yield Candidate("the portable graph", partial(_write, export, model, replace(request, optimize=portable)))

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest in the model's metadata; weights stay on disk and nothing runs."""
        from exporter.onnx_io.external_data import check_external_data
        from exporter.onnx_io.load import load_without_weights

        model = load_without_weights(path)
        check_external_data(model, path)
        return embedded_manifest(model, path)

    def read_stored(self, path: Path) -> StoredModel:
        """Return the manifest in the model's metadata and its initialisers, read without the library onnx."""
        return read_stored_onnx(path)


def embedded_manifest(model: onnx.ModelProto, path: Path) -> Manifest | None:
    """Return the manifest in a model's metadata, or None.

    Raises:
        ArtifactError: there is one, but it is damaged.
    """
    for entry in model.metadata_props:
        if entry.key == MANIFEST_KEY:
            return Manifest.from_json(entry.value, f"{path} (metadata {MANIFEST_KEY})")
    return None


def has_pass_metadata(model: onnx.ModelProto) -> bool:
    """Return whether the metadata of a model without a manifest records that `optimize` changed it."""
    return any(entry.key == PASSES_KEY for entry in model.metadata_props)


def _write(
    export: Callable[[], NetworkGraph], model: BuiltModel, request: WriteRequest, attempt: Attempt
) -> WriteResult:
    """Rewrite and write a copy of the network's graph, which `export` makes once for all candidates."""
    exported = export()
    copied = replace(exported, model=exported.model.clone())
    return write_graph(rewrite_graph(copied, request), model, request, attempt)
