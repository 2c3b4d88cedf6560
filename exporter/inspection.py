"""`inspect()`: what a file is, read as data. Nothing of it runs, not even a TorchScript archive's loader."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from exporter.artifact import Manifest, check_integrity, file_entry, manifest_path, read_manifest
from exporter.errors import ArtifactError, CheckpointError, IntegrityError
from exporter.formats import FORMATS
from exporter.formats.onnx import element_type, embedded_manifest, external_locations, graph_signature, load_graph
from exporter.formats.torchscript import is_archive
from exporter.publish import recover
from exporter.types import Progress, TensorSpec, quiet
from models.files import require_file


@dataclass(frozen=True)
class Inspection:
    """What a file is.

    Attributes:
        path: the file.
        kind: `ONNX model`, `TorchScript archive`, or `checkpoint` with its container.
        bytes: its size.
        sha256: of its bytes.
        facts: what else is known, in order, for people and machines alike.
        tensors: its weights' names, dtypes and shapes; empty for TorchScript, whose constants have no names.
        manifest: from beside or inside it.
        integrity: None without a manifest beside it, otherwise `ok` or what is wrong.
    """

    path: str
    kind: str
    bytes: int
    sha256: str
    facts: dict[str, str]
    tensors: tuple[TensorSpec, ...]
    manifest: Manifest | None
    integrity: str | None


def inspect(path: str | Path, progress: Progress = quiet) -> Inspection:
    """Tell what `path` is: an artifact (by its model file or its manifest) or a checkpoint.

    Raises:
        ArtifactError: no such file, or a damaged artifact.
        CheckpointError: a damaged checkpoint, or one that wants to run code.
    """
    path = Path(path)
    if path.suffix == ".json" and path.with_suffix("").is_file():
        path = path.with_suffix("")
    require_file(path, "file", ArtifactError)
    recover(path.parent)
    progress(f"reading {path.name}")
    if path.suffix == FORMATS["onnx"].suffix:
        return _onnx(path)
    if is_archive(path):
        return _torchscript(path)
    return _checkpoint(path)


def _onnx(path: Path) -> Inspection:
    model = load_graph(path)
    operators: dict[str, int] = {}
    for node in model.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    external = external_locations(model)
    facts = {
        "producer": f"{model.producer_name} {model.producer_version}".strip() or "not stated",
        "opset": ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import),
        "IR version": str(model.ir_version),
        "signature": str(graph_signature(model)),
        "operators": ", ".join(f"{count} {name}" for name, count in sorted(operators.items())),
    }
    if external:
        facts["external data"] = ", ".join(external)
    tensors = tuple(
        TensorSpec(tensor.name, element_type(tensor.data_type), tuple(tensor.dims))
        for tensor in model.graph.initializer
    )
    return _artifact(path, "ONNX model", facts, tensors, embedded_manifest(model, path))


def _torchscript(path: Path) -> Inspection:
    embedded = FORMATS["torchscript"].read_embedded(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    facts = {
        "producer": embedded.producer if embedded else "not stated",
        "archive": f"{len(members)} members, code in {sum(m.filename.endswith('.py') for m in members)}",
    }
    if embedded:
        facts["signature"] = str(embedded.signature)
    return _artifact(path, "TorchScript archive", facts, (), embedded)


def _artifact(
    path: Path, kind: str, facts: dict[str, str], tensors: tuple[TensorSpec, ...], embedded: Manifest | None
) -> Inspection:
    entry = file_entry(path)
    beside = manifest_path(path)
    manifest, integrity = embedded, None
    if beside.is_file():
        manifest, integrity = read_manifest(beside), "ok"
        try:
            check_integrity(path, manifest)
        except IntegrityError as error:
            integrity = str(error)
    if manifest is not None:
        facts = facts | _network_facts(manifest)
    return Inspection(str(path), kind, entry.bytes, entry.sha256, facts, tensors, manifest, integrity)


def _network_facts(manifest: Manifest) -> dict[str, str]:
    weights = manifest.weights
    origin = (
        f"random, seed {weights.seed}"
        if weights.source == "seed"
        else f"{weights.file} ({weights.layout} layout, {weights.loaded} of {weights.total} tensors, SHA-256 "
        f"{str(weights.sha256)[:16]}…)"
    )
    facts = {
        "network": f"{manifest.network.describe()}, {manifest.parameters:,} parameters",
        "weights": origin,
        "preprocessing": f"{manifest.preprocessing.name} ({manifest.preprocessing.source})",
        "options": ", ".join(f"{name} {value}" for name, value in sorted(manifest.options.items())),
        "versions": ", ".join(f"{name} {value}" for name, value in sorted(manifest.versions.items())),
    }
    if manifest.parity is not None:
        verdict = "passed" if manifest.parity.passed else "failed"
        facts["parity at export"] = (
            f"{verdict} in {manifest.parity.runtime}, {manifest.parity.worst_budget_share:.0%} of the budget used"
        )
    return facts


def _checkpoint(path: Path) -> Inspection:
    from models.checkpoints.layouts import LAYOUTS, recognise
    from models.checkpoints.readers import read_file

    raw = read_file(path)
    facts: dict[str, str] = {
        "state_dict": f"{len(raw.tensors)} tensors" + (f" under {raw.wrapper!r}" if raw.wrapper else "")
    }
    found = next((fit for row in LAYOUTS if (fit := recognise(raw.tensors, row))), None)
    if found is None:
        facts["layout"] = "none of C3D's that is known"
    else:
        facts["layout"] = f"{found.layout.name}: {found.layout.title}"
        facts["prefix"] = found.prefix or "none"
        facts["pool5"] = found.layout.pool5 or "not told by these names"
        facts["preprocessing"] = f"{found.layout.preprocessing.name} ({found.layout.preprocessing.source})"
        facts["loads"] = _would_load(path)
    tensors = tuple(
        TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in raw.tensors.items()
    )
    return Inspection(str(path), f"checkpoint, {raw.container}", raw.size, raw.sha256, facts, tensors, None, None)


def _would_load(path: Path) -> str:
    """Try the checkpoint on a network without memory, as its own names suggest, and tell the outcome."""
    import torch

    from models.c3d import C3D
    from models.checkpoints import load_into, read_checkpoint

    checkpoint = read_checkpoint(path)
    batch_norm = any(name.startswith("bn") for name in checkpoint.tensors)
    with torch.device("meta"):
        network = C3D(checkpoint.num_classes or 1, batch_norm=batch_norm)
    try:
        coverage = load_into(network, checkpoint)
    except CheckpointError as error:
        return f"no: {str(error).removeprefix(f'{path}: ')}"
    option = ", with --batch-norm" if batch_norm else ""
    converted = f", converted from {', '.join(coverage.converted)}" if coverage.converted else ""
    return f"yes{option}: {coverage.loaded} of {coverage.total} tensors, {checkpoint.num_classes} classes{converted}"
