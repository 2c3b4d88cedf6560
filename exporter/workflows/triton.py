"""`triton_repository()`: an artifact as a model of NVIDIA's Triton Inference Server."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.artifacts.files import data_files, file_entry, manifest_path, sha256_file
from exporter.artifacts.loading import LoadedArtifact, stated_signature
from exporter.artifacts.rebuilding import move_manifest
from exporter.artifacts.store import check_name, staging
from exporter.errors import ArtifactError, BadInputError, IntegrityError, UsageError
from exporter.formats import load_artifact, runtime_options
from exporter.load_checks import LoadChecks
from exporter.output_targets import check_output_folder, check_space, new_folder_notes
from exporter.storage import translate_os_errors
from exporter.triton.config import LABELS_FILE, ModelConfig, has_free_batch
from exporter.triton.folder import (
    CONFIG_FILE,
    add_header,
    find_stage_folder,
    find_versions,
    is_edited,
    is_generated,
    publish_model,
)
from exporter.triton.types import TritonBackend, TritonRequest, TritonResult
from exporter.types import FormatName
from models.class_names import check_class_count, load_class_names
from models.paths import make_folders
from models.progress import Progress, no_progress
from models.specs import Signature

BACKENDS: Mapping[FormatName, tuple[TritonBackend, ...]] = {
    "onnx": ("onnxruntime", "openvino"),
    "torchscript": ("pytorch",),
    "openvino": ("openvino",),
}
"""{format: the backends that run it, the usual one first}."""


@dataclass(frozen=True)
class _Model:
    """The artifact, and what its configuration states of it."""

    artifact: LoadedArtifact
    signature: Signature
    files: tuple[Path, ...]
    """The model file first, then those with its weights."""


def triton_repository(request: TritonRequest, progress: Progress = no_progress) -> TritonResult:
    """Write an artifact as a model of a Triton model repository, or as a further version of one that is there.

    A new model's folder appears complete or not at all; so does a version's, after which the configuration is renamed
    into place. A configuration that was edited is kept.

    Raises:
        ArtifactError: no such artifact, a damaged one, or a TorchScript file without a manifest.
        UsageError: options that contradict the artifact; another model, or such a version, is there.
        BadInputError: the labels are not class names.
        OutputError: the repository cannot be written to, or is full.
    """
    check_output_folder(request.repository, "--output-dir")
    folder_notes = new_folder_notes(request.repository)
    progress(f"reading {request.artifact.name}")
    model = _read_model(request.artifact, request)
    backend = _choose_backend(model.artifact, request)
    manifest = model.artifact.manifest
    name = request.name
    if name is None:
        name = manifest.name if manifest is not None else model.artifact.path.stem
    check_name(name)
    labels, label_outputs = _find_labels(model, request)
    bfloat16 = runtime_options(model.artifact).precision == "bf16"
    model_file = f"model{model.artifact.path.suffix}"
    config = ModelConfig(name, backend, model_file, model.signature, request, label_outputs, bfloat16=bfloat16)
    config.to_text()  # refuses before anything is written
    folder = request.repository / name
    version, is_new, hashes = _choose_version(folder, find_versions(folder, model_file), model, request)
    number = version or request.version or 1
    replaces = (folder / str(number)).exists()
    if is_new:
        size = sum(path.stat().st_size for path in model.files)
        check_space(request.repository, size, f"{name} version {number}", "--output-dir")
    with staging(find_stage_folder(request.repository)) as stage:
        progress(f"writing {folder}")
        staged = stage / name
        with translate_os_errors(request.repository):
            staged.mkdir()
            if is_new:
                _copy_model(model, staged / str(number), model_file, folder / str(number))
            if labels:
                (staged / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
            parameters = _parameters(model, number, hashes | {number: model.artifact.sha256})
            text = replace(config, parameters=parameters).to_text()
            (staged / CONFIG_FILE).write_text(add_header(text), encoding="utf-8")
        kept = version is not None and is_edited(folder / CONFIG_FILE)
        with translate_os_errors(request.repository):
            make_folders(request.repository)  # not before: an interrupted run leaves no empty folder
        publish_model(staged, folder, number, is_new=is_new, replaces=replaces, whole=version is None, keep_config=kept)
    text = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    files = tuple(sorted((folder / str(number)).iterdir())) if is_new else ()
    if not kept:
        files += (*([folder / LABELS_FILE] if labels else []), folder / CONFIG_FILE)
    notes = _notes(model, config, labels, is_new=is_new, kept=kept, version=number)
    return TritonResult(folder, number, is_new, backend, config.max_batch_size, text, files, (*notes, *folder_notes))


def _read_model(path: Path, checks: LoadChecks | None = None) -> _Model:
    artifact = load_artifact(path, checks, BACKENDS)
    signature = stated_signature(artifact)
    if signature is None:
        raise ArtifactError(
            f"{artifact.path}: has no manifest, and a TorchScript file does not state its inputs and outputs; export "
            "it with this tool"
        )
    data = data_files(artifact.path, artifact.format)
    return _Model(artifact, signature, (artifact.path, *data))


def _choose_backend(artifact: LoadedArtifact, request: TritonRequest) -> TritonBackend:
    known = BACKENDS.get(artifact.format, ())
    if not known:
        *others, last = BACKENDS
        raise UsageError(
            f"{artifact.path}: {artifact.format} files are not written as models of Triton; take the same network as "
            f"{', '.join(others)} or {last}"
        )
    if request.backend not in (None, *known):
        able = " or ".join(known)
        raise UsageError(f"{artifact.path}: {able} runs {artifact.format} files, not {request.backend}")
    return request.backend or known[0]


def _find_labels(model: _Model, request: TritonRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the class names, and the outputs that have a value for each of them."""
    manifest = model.artifact.manifest
    if request.labels is not None:
        names = load_class_names(request.labels)
    else:
        names = (manifest.class_names if manifest is not None else None) or ()
    rows = {spec.name: spec.shape[-1] for spec in model.signature.outputs if len(spec.shape) == 2}
    outputs = tuple(name for name, width in rows.items() if width == len(names))
    if request.labels is not None and not outputs:
        widths = [width for width in rows.values() if isinstance(width, int)]
        check_class_count(names, widths[0] if widths else 0, request.labels)
    return names if outputs else (), outputs


def _choose_version(
    folder: Path, found: Mapping[int, Path], model: _Model, request: TritonRequest
) -> tuple[int | None, bool, dict[int, str]]:
    """Return the version's number, whether its model file is to be written, and the SHA-256 of those that are there.

    Of a model's whole folder the number is None. The hash is empty where a version has no model file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; choose another --name")
    if not folder.is_dir() or not any(folder.iterdir()):
        return None, True, {}
    if (difference := _difference(folder, found, model)) is not None:
        if not request.overwrite:
            raise UsageError(f"{folder}: {difference}; choose another --name, or --overwrite replaces the model")
        return None, True, {}
    hashes = {number: sha256_file(path) if path.is_file() else "" for number, path in found.items()}
    latest, own = max(found), model.artifact.sha256
    number = request.version or (latest if hashes[latest] == own else latest + 1)
    if hashes.get(number) == own:
        return number, False, hashes
    if number in found and not request.overwrite:
        raise UsageError(
            f"{folder / str(number)}: another version of that number is there; without --version it becomes "
            f"{latest + 1}, or --overwrite replaces it"
        )
    return number, True, hashes


def _difference(folder: Path, found: Mapping[int, Path], model: _Model) -> str | None:
    """Return why a model's folder is not of the same model as the artifact; None if it is."""
    config = folder / CONFIG_FILE
    if not is_generated(config):
        return "this tool did not write its config.pbtxt"
    latest = found[max(found)] if found else None
    if latest is None or not latest.is_file():
        return "it holds a model of another format"
    try:
        other = _read_model(latest)
    except BadInputError as error:
        return f"its latest version cannot be read ({error})"
    same = other.signature == model.signature
    return None if same else f"it holds another model, {other.signature}; this one is {model.signature}"


def _copy_model(model: _Model, staged: Path, file_name: str, target: Path) -> None:
    """Copy a model and its data into a staged version folder, with a manifest of the files as they are called there."""
    staged.mkdir()
    source, *data = model.files
    # an ONNX file names its data; OpenVINO finds its own by the name of the graph's file
    own_names = model.artifact.format == "onnx"
    copies = [staged / file_name]
    copies += [staged / path.name if own_names else copies[0].with_suffix(path.suffix) for path in data]
    for path, copy in zip((source, *data), copies, strict=True):
        shutil.copyfile(path, copy)
    if sha256_file(copies[0]) != model.artifact.sha256:
        raise IntegrityError(f"{source}: was replaced while it was copied; nothing was written: try again")
    model.artifact.require_unchanged()
    manifest = model.artifact.manifest
    if manifest is not None and manifest.files:
        moved = move_manifest(manifest, source.parent, target)
        moved = replace(moved, files=tuple(map(file_entry, copies)))
        manifest_path(copies[0]).write_text(moved.to_json(), encoding="utf-8")


def _parameters(model: _Model, version: int, hashes: Mapping[int, str]) -> dict[str, str]:
    """Return what clients can read of the model: where it came from, and the SHA-256 of each version's file."""
    found = {f"c3d_export.sha256.{number}": hashes[number] for number in sorted(hashes) if hashes[number]}
    manifest = model.artifact.manifest
    if manifest is not None:
        found["c3d_export.producer"] = manifest.producer
        found["c3d_export.network"] = manifest.network.description
        found[f"c3d_export.state_sha256.{version}"] = manifest.network.state_sha256
        if manifest.checkpoint is not None:
            found[f"c3d_export.checkpoint_sha256.{version}"] = manifest.checkpoint.sha256
        if manifest.preprocessing is not None:
            inside = ", inside the model" if manifest.with_preprocess else ""
            found["c3d_export.preprocessing"] = manifest.preprocessing.name + inside
    return found


def _notes(
    model: _Model, config: ModelConfig, labels: tuple[str, ...], *, is_new: bool, kept: bool, version: int
) -> tuple[str, ...]:
    notes = [] if is_new else [f"version {version} is this model file: nothing was copied"]
    if kept:
        notes.append("config.pbtxt was edited and is kept as it is; options of this run are not in it")
    manifest, batch = model.artifact.manifest, model.signature.batch
    if batch is not None:
        notes.append(
            f"the batch size is fixed at {batch}: each request has {batch} rows, and the server makes no batches"
        )
    elif not has_free_batch(model.signature):
        notes.append("not every input and output has a dynamic batch as its first axis: the server makes no batches")
    elif config.backend == "openvino":
        notes.append(
            "OpenVINO's backend pads each batch to the largest size: requests of any batch run as they come, and the "
            "server makes no batches"
            if not config.max_batch_size
            else f"OpenVINO's backend pads each batch to {config.max_batch_size}, at the cost of that many rows"
        )
    if config.backend == "openvino" and not config.bfloat16:
        notes.append(
            "on a processor with bfloat16 OpenVINO computes in it, and Triton's backend has no parameter against that: "
            "the server's outputs are then less accurate than those that were verified"
        )
    if config.backend == "pytorch" and manifest is not None:
        notes.append(f"the server's PyTorch must be able to load a file of torch {manifest.versions.get('torch', '?')}")
    if manifest is not None and manifest.preprocessing is not None and not manifest.with_preprocess:
        notes.append(
            f"requests hold preprocessed clips (profile {manifest.preprocessing.name}); an artifact exported with "
            "--with-preprocess takes frames"
        )
    if not labels:
        notes.append("the class names are not known: no output has labels; --labels sets them")
    return tuple(notes)
