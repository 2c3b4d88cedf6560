"""`inspect()`: what a file is, read as data. Nothing of it runs, not even a TorchScript archive's loader."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx

from exporter.artifacts.files import file_entry
from exporter.artifacts.loading import beside_text, find_manifest, find_model
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.provenance import check_expected, check_provenance, require_covered
from exporter.errors import ArtifactError, CheckpointError, IntegrityError, UsageError
from exporter.file_state import require_unchanged
from exporter.formats import FORMATS, find_format
from exporter.formats.base import Format
from exporter.formats.onnx import embedded_manifest
from exporter.formats.openvino import read_ir_manifest, states_weights_hash, weights_fault
from exporter.formats.openvino_model import HINT_OPTION
from exporter.formats.pt2 import program_facts
from exporter.formats.pt2_aoti import package_facts
from exporter.formats.torchscript import is_torchscript_archive
from exporter.load_checks import LoadChecks
from exporter.onnx_io.data_links import link_fault
from exporter.onnx_io.dtypes import dtype_name
from exporter.onnx_io.external_data import external_locations
from exporter.onnx_io.layer_types import describe_layer_types
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.signature import get_signature
from exporter.openvino_ir import PRECISION_HINT, read_ir
from exporter.parity.claims import find_contradiction
from exporter.types import FormatName
from exporter.workflows.manifest_facts import manifest_facts, signature_facts
from models.checkpoints.sources import find_index, is_remote
from models.errors import count, without_path
from models.options import BuildOptions
from models.progress import Progress, no_progress
from models.specs import TensorSpec

DEFAULT_OPTIONS = BuildOptions()
NO_CHECKS = LoadChecks()


def _archive_facts(path: Path) -> dict[str, str]:
    """Return how many members a TorchScript archive has."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return {"archive": f"{len(names)} members, code in {sum(name.endswith('.py') for name in names)}"}


KINDS: dict[FormatName, tuple[str, Callable[[Path], dict[str, str]] | None]] = {
    "torchscript": ("TorchScript archive", _archive_facts),
    "pt2": ("torch.export program", lambda path: program_facts(path) | _as_weights(path)),
    "tensorrt": ("TensorRT engine", None),
    "pt2-aoti": ("AOTInductor package", package_facts),
}
"""{format: what its files are called, and what else a file states of itself, if anything}."""


@dataclass(frozen=True)
class Inspection:
    """What a file is.

    Attributes:
        path: the file.
        kind: `ONNX model`, `TorchScript archive`, or `checkpoint` with its container.
        bytes: its size.
        sha256: SHA-256 of the file.
        facts: {label: value}, in the order of display.
        tensors: its weights' names, dtypes and shapes; empty for TorchScript, whose constants have no names.
        manifest: the manifest beside or inside the file; None if there is none.
        integrity: `ok` or what is wrong; None where neither a manifest beside it nor the file's own hash can say.
        class_names: a name for each class, in the order of the scores; None where they are not known.
    """

    path: str
    kind: str
    bytes: int
    sha256: str
    facts: dict[str, str]
    tensors: tuple[TensorSpec, ...]
    manifest: Manifest | None
    integrity: str | None
    class_names: tuple[str, ...] | None = None


def inspect(
    path: str | Path,
    progress: Progress = no_progress,
    options: BuildOptions = DEFAULT_OPTIONS,
    checks: LoadChecks = NO_CHECKS,
) -> Inspection:
    """Return what `path` is: an artifact (by its model file or its manifest) or a checkpoint (a file or an address).

    Args:
        path: the file.
        progress: called while something is downloaded.
        options: of a checkpoint, the layout and which of its tensors are the network's.
        checks: the hash that the file must have, and of an artifact the keys, one of which must have signed it. Nothing
            of it runs, so that it need not be trusted.

    Raises:
        ArtifactError: no such file, or a damaged artifact.
        CheckpointError: a damaged checkpoint, one that wants to run code, or one of another hash.
        IntegrityError: an artifact of another hash. One that is not signed as it must be is described
            (`Inspection.integrity`).
        UsageError: no such layout, or a key map that cannot be read.
    """
    named = path
    if not is_remote(path):
        progress(f"reading {Path(path).name}")
    remote = is_remote(path) or find_index(Path(path)) is not None
    path = path if remote else find_model(Path(path))
    read = None if remote else _choose_reader(Path(path))
    if read is None:
        if checks.verify_keys:
            raise UsageError(f"--verify-key: {path} is a checkpoint; manifests of artifacts are signed")
        return _checkpoint(path, progress, replace(options, expect_sha256=checks.expect_sha256))
    path = Path(path)
    text = beside_text(path)
    states = check_expected(Path(named), path, text, checks)
    found = _with_provenance(read(path), path, text, checks)
    if (form := find_format(path)) is not None:
        require_covered(Path(named), path, form.name, checks)
    require_unchanged(states)
    return found


def _choose_reader(path: Path) -> Callable[[Path], Inspection] | None:
    """Return what describes a model file; None for one that is a checkpoint."""
    if read := {FORMATS["onnx"].suffix: _onnx, FORMATS["openvino"].suffix: _openvino}.get(path.suffix):
        return read
    if is_torchscript_archive(path):  # whatever its name is
        return partial(_other, FORMATS["torchscript"])
    known = find_format(path)
    return partial(_other, known) if known is not None and known.name != "torchscript" else None


def _other(known: Format, path: Path) -> Inspection:
    embedded = known.read_embedded(path)
    facts = {"producer": embedded.producer if embedded else "not stated"} if known.embeds_manifest else {}
    facts |= {"signature": str(embedded.signature)} if embedded else {}
    kind, describe = KINDS.get(known.name, (f"{known.name} artifact", None))
    facts |= describe(path) if describe is not None else {}
    return _artifact(path, kind, facts, (), embedded, embeds=known.embeds_manifest)


def _with_provenance(found: Inspection, path: Path, text: bytes | None, checks: LoadChecks) -> Inspection:
    """Add who signed the manifest, and which facts are therefore unverified."""
    if found.manifest is None and not checks.verify_keys:
        return found
    try:
        provenance, fault = check_provenance(path, found.manifest, text, checks), ""
        if checks.verify_keys and (text is None or Manifest.from_json(text) != found.manifest):
            fault = f"{path}: its manifest was replaced while it was read"
    except IntegrityError as error:
        provenance, fault = "no valid signature by a key of --verify-key", str(error)
    trusted = bool(checks.verify_keys)
    facts = found.facts | signature_facts(
        found.manifest, provenance, trusted=trusted, valid=not fault, beside=text is not None
    )
    integrity = found.integrity if found.integrity not in (None, "ok") else fault or found.integrity
    return replace(found, facts=facts, integrity=integrity)


def _onnx(path: Path) -> Inspection:
    model = load_without_weights(path)
    external = external_locations(model, path)
    if fault := next(filter(None, (link_fault(path, name) for name in external)), ""):
        raise ArtifactError(fault)
    facts = {
        "producer": f"{model.producer_name} {model.producer_version}".strip() or "not stated",
        "opset": ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import),
        "IR version": str(model.ir_version),
        "signature": str(get_signature(model)),
        "operators": _count_operators(Counter(node.op_type for node in model.graph.node)),
    }
    if computes := _layer_types(model):
        facts["computes in"] = computes
    if external:
        facts["external data"] = ", ".join(
            name if (path.parent / name).is_file() else f"{name} (missing)" for name in external
        )
    tensors = tuple(
        TensorSpec(tensor.name, dtype_name(tensor.data_type), tuple(tensor.dims)) for tensor in model.graph.initializer
    )
    return _artifact(path, "ONNX model", facts | _as_weights(path), tensors, embedded_manifest(model, path))


def _openvino(path: Path) -> Inspection:
    model = read_ir(path)
    embedded, fault = read_ir_manifest(model), weights_fault(model)
    facts = {
        "producer": f"OpenVINO {model.rt_info.get(('Runtime_version',), 'of an unknown version')}",
        "IR version": model.version,
        "signature": str(model.signature),
        "operators": _count_operators(model.operators),
        "weights file": f"{model.precision}, in {fault or model.weights_path.name}",
        "compile with": "not stated: OpenVINO takes the precision that the processor is fastest in",
    }
    if embedded is not None:
        facts["compile with"] = f"{PRECISION_HINT}={embedded.options.get(HINT_OPTION)}"
    found = _artifact(path, "OpenVINO model", facts, model.constants, embedded)
    if fault is not None and states_weights_hash(model) and found.integrity in (None, "ok"):
        found = replace(found, integrity=f"its weights are in {fault}")
    return found


def _count_operators(operators: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(operators.items()))


def _layer_types(model: onnx.ModelProto) -> str:
    """Return what a model's layers compute in; nothing where it is too damaged to infer that."""
    try:
        return describe_layer_types(model)
    except onnx.shape_inference.InferenceError:
        return ""


def _as_weights(path: Path) -> dict[str, str]:
    """Return whether a model's initialisers would load as a checkpoint; nothing where no layout matches."""
    from models.checkpoints.reading import read_raw
    from models.checkpoints.summary import describe_checkpoint

    try:
        file, raw = read_raw(path)
        facts = describe_checkpoint(path, file, raw, DEFAULT_OPTIONS).facts
    except CheckpointError as error:
        return {"as weights": f"no: {without_path(error, path)}"}
    loads = "; ".join(facts[key] for key in ("loads", "names") if key in facts)
    return {"as weights": loads} if facts.get("layout") != "none" else {}


def _artifact(
    path: Path,
    kind: str,
    facts: dict[str, str],
    tensors: tuple[TensorSpec, ...],
    embedded: Manifest | None,
    *,
    embeds: bool = True,
) -> Inspection:
    entry = file_entry(path)
    found = find_manifest(path, lambda: embedded, beside_text(path), embeds=embeds)
    if found.manifest is not None:
        facts = facts | manifest_facts(found.manifest)
        if contradiction := find_contradiction(path, found.manifest.format, found.manifest):
            facts["contradiction"] = contradiction
    integrity = found.fault or "ok" if found.beside else None
    names = found.manifest.class_names if found.manifest is not None else None
    return Inspection(str(path), kind, entry.bytes, entry.sha256, facts, tensors, found.manifest, integrity, names)


def _checkpoint(source: str | Path, progress: Progress, options: BuildOptions) -> Inspection:
    from models.checkpoints.reading import read_raw
    from models.checkpoints.summary import describe_checkpoint

    file, raw = read_raw(source, progress, options.expect_sha256)
    dtypes = sorted({tensor.dtype.name for tensor in raw.tensors.values()})
    facts = {"holds": ", ".join([count(len(raw.tensors), "tensor"), *dtypes])}
    facts |= {"converted": f"from {raw.conventions.source}"} if raw.conventions.source else {}
    facts |= {"note": "; ".join(file.notes)} if file.notes else {}
    described = describe_checkpoint(source, file, raw, options)
    facts |= described.facts
    tensors = tuple(TensorSpec(name, tensor.dtype.name, tensor.shape) for name, tensor in raw.tensors.items())
    return Inspection(
        path=str(file.path),
        kind=f"checkpoint, {raw.container}",
        bytes=raw.size,
        sha256=raw.sha256,
        facts=facts,
        tensors=tensors,
        manifest=None,
        integrity=None,
        class_names=described.class_names,
    )
