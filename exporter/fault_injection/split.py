"""Separates an ONNX artifact into its graph and one file of weights, which all faulty copies share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from exporter.fault_injection.graph import Layer, OriginalGraph, get_shape
from exporter.formats.onnx_preprocess.nodes import CLIP_VALUE
from exporter.full_disks import temporary_parent
from exporter.onnx_io.attributes import get_attributes
from exporter.onnx_io.load import INLINE_BELOW
from exporter.onnx_io.reader import read_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_CONV_RANK = 3
"""A convolution's weight has more axes than (out, in)."""
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - the folder inside it has a random name
"""Linux's file system in memory: writing the weights to a busy disk can take longer than running the faulty copies."""
FREE_SPACE_FACTOR = 4
"""How many times the artifact's size must be free there."""


def temp_folder(artifact: Path) -> Path:
    """Return where an artifact's weights and one faulty copy are written: in memory where there is room."""
    needed = FREE_SPACE_FACTOR * sum(path.stat().st_size for path in artifact.parent.glob(f"{artifact.name}*"))
    usable = MEMORY_FOLDER.is_dir() and os.access(MEMORY_FOLDER, os.W_OK)
    in_memory = usable and shutil.disk_usage(MEMORY_FOLDER).free > needed
    return MEMORY_FOLDER if in_memory else temporary_parent()


def split_model(path: Path, folder: Path) -> OriginalGraph:
    """Copy a model into `folder`, with its graph and its weights in one file each.

    Raises:
        ArtifactError: it cannot be read.
    """
    model = read_model(path)
    LiftConstantsToInitializersPass(lift_all_constants=False, size_limit=0)(model)
    copy = folder / "original.onnx"
    ir.save(model, copy, external_data="weights.data", size_threshold_bytes=INLINE_BELOW)
    graph = onnx.load(str(copy), load_external_data=False)
    clip = next((value for value in graph.graph.value_info if value.name == CLIP_VALUE), None)
    del graph.graph.value_info[:]  # a fault may change shapes
    weights = {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    clip_shape = () if clip is None else get_shape(clip)
    return OriginalGraph(graph, folder, weights, tuple(_find_layers(graph.graph, weights)), clip_shape)


def _find_layers(graph: onnx.GraphProto, weights: Mapping[str, NDArray[Any]]) -> Iterator[Layer]:
    consumers = {name: node for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2 or node.input[1] not in weights:
            continue
        weight, rank = node.input[1], weights[node.input[1]].ndim
        bias = node.input[2] if len(node.input) > 2 else None
        value = node.output[0]
        consumer = consumers.get(value)
        if node.op_type == "MatMul" and consumer is not None and consumer.op_type == "Add":
            bias = next((name for name in consumer.input if name in weights), None)
            value = consumer.output[0] if bias else value
        conv = node.op_type == "Conv" and rank >= MIN_CONV_RANK
        transposed = not conv and not (node.op_type == "Gemm" and get_attributes(node).get("transB"))
        name = weight.removesuffix(".weight")
        kind = "conv" if conv else "linear"
        yield Layer(name, kind, weight, bias if bias in weights else None, value, node.output[0], transposed)
