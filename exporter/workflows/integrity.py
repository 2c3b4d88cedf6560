"""`verify_integrity()`: are an artifact's files the ones that were exported? Nothing runs, and no engine is loaded.

Every file that the manifest lists is compared with its size and SHA-256, each weight with its own, and the manifest
inside the model file with the one beside it. With `deep`, the libraries that load the format also read the weights, and
what they read is compared (`exporter.workflows.weight_readers`).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.artifacts.files import (
    MANIFEST_SUFFIX,
    FileCheck,
    check_files,
    has_manifest,
    manifest_path,
    read_manifest,
    read_manifest_text,
)
from exporter.artifacts.loading import wrong_file
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_rules import is_as_written
from exporter.artifacts.provenance import check_expected, check_provenance, require_covered, require_single
from exporter.artifacts.store import recover
from exporter.errors import ArtifactError, C3DExportError, IntegrityError, Refuse, refuse_one
from exporter.file_state import require_unchanged
from exporter.formats import FORMATS, find_format
from exporter.formats.base import Format
from exporter.formats.torchscript import is_plain_checkpoint
from exporter.load_checks import LoadChecks
from exporter.onnx_io.data_links import link_fault
from exporter.signing import read_public_keys
from exporter.stored_tensors import StoredModel, hash_tensors
from exporter.workflows.weight_readers import ReadWeights, read_weights
from models.errors import count, join_limited
from models.paths import require_file
from models.progress import Progress, no_progress

DATA_FILE = re.compile(r"\.[0-9a-f]{16}\.data")
"""How the name of an ONNX artifact's data file goes on after the model's."""

NOT_READ = "--deep: no library has read the weights"


@dataclass(frozen=True)
class CheckedFile:
    """A file of an artifact.

    Attributes:
        path: the file.
        bytes: its size; None where it is not there.
        sha256: its SHA-256; None where it was not computed, because it has another size than the manifest states.
        fault: what is wrong with it; empty if nothing is.
    """

    path: str
    bytes: int | None
    sha256: str | None
    fault: str = ""


@dataclass(frozen=True)
class IntegrityReport:
    """Whether an artifact is what its manifest describes.

    Attributes:
        artifact: the model file.
        files: its files, in the order of the manifest.
        tensors: how many weights were compared with their hashes; None where the manifest or the format lists none.
        faults: what else is wrong: no manifest, another one inside the model file, a weight that differs.
        bad_manifest: whether the manifest cannot be read or cannot be this artifact's; it is then the only fault.
        weights: what libraries read (`deep`).
        provenance: who signed the manifest, in words, and whether that was checked; empty for an unsigned manifest.
        notes: what was not compared, and why.
        seconds: how long it took.
    """

    artifact: str
    files: tuple[CheckedFile, ...] = ()
    tensors: int | None = None
    faults: tuple[str, ...] = ()
    bad_manifest: bool = False
    weights: tuple[ReadWeights, ...] = ()
    provenance: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether everything is as the manifest states it."""
        return not any((*self.faults, *(row.fault for row in (*self.files, *self.weights))))


def verify_integrity(
    artifacts: Sequence[str | Path],
    *,
    deep: bool = False,
    trust: bool = False,
    verify_keys: tuple[str | Path, ...] = (),
    expect_sha256: str | None = None,
    progress: Progress = no_progress,
    refuse: Refuse | None = None,
) -> tuple[IntegrityReport, ...]:
    """Compare artifacts with their manifests; one report each, in order. Faults are in the reports.

    Args:
        artifacts: model files, or their manifests.
        deep: also have the libraries that load the format read the weights.
        trust: with `deep`, load files that are code although this tool has not written them here.
        verify_keys: public keys, one of which must have signed each manifest (`LoadChecks`).
        expect_sha256: SHA-256 that the one artifact must have (`LoadChecks`).
        progress: called for each artifact.
        refuse: called with the error of an artifact that cannot be checked; the others are checked. It has no report,
            or one without `deep` where only that is refused. None raises the error.

    Raises:
        ArtifactError: a path is of nothing at all, or by its name of no artifact.
        BadInputError: a key cannot be read.
        UnavailableError: with `deep`, no library of the format is installed; or `cryptography` is not.
        UsageError: a hash for several artifacts, or one that does not cover the weights.
    """
    checks = LoadChecks(trust=trust, verify_keys=verify_keys, expect_sha256=expect_sha256)
    require_single(artifacts, checks)
    read_public_keys(verify_keys)  # a bad key is of the whole command
    reports: list[IntegrityReport] = []
    for path in map(Path, artifacts):
        start = time.perf_counter()
        with refuse_one(refuse):
            model, form = _find(path)
            progress(f"checking {model.name}")
            report = _verify(path, model, form, checks)
            reports.append(replace(report, seconds=time.perf_counter() - start))
            if deep and report.passed:
                reports[-1] = replace(reports[-1], notes=(*report.notes, NOT_READ))  # until it is
                read = _read_deep(report, model, checks, progress)
                reports[-1] = replace(read, seconds=time.perf_counter() - start)
    return tuple(reports)


def _read_deep(report: IntegrityReport, model: Path, checks: LoadChecks, progress: Progress) -> IntegrityReport:
    progress(f"reading the weights of {model.name}")
    weights, notes = read_weights(model, read_manifest(manifest_path(model)), replace(checks, expect_sha256=None))
    return replace(report, weights=weights, notes=(*report.notes, *notes))


def _find(path: Path) -> tuple[Path, Format]:
    """Return the model file that a path names, itself or by its manifest, and its format; it need not be there."""
    model = path.with_suffix("") if path.suffix == MANIFEST_SUFFIX else path
    form = find_format(model)
    if form is None or is_plain_checkpoint(model):
        require_file(path, "file", ArtifactError)
        raise wrong_file(path, FORMATS.values())
    recover(model.parent)
    if not (os.path.lexists(model) or has_manifest(model)):
        raise ArtifactError(f"no such file: {path}")
    return model, form


def _verify(named: Path, model: Path, form: Format, given: LoadChecks) -> IntegrityReport:
    if not has_manifest(model):
        missing = f"{model} has no manifest beside it ({manifest_path(model).name}), so nothing states its hashes"
        return IntegrityReport(str(model), faults=(missing,))
    try:
        text = read_manifest_text(manifest_path(model))
        check_expected(named, model, text, given)
        manifest = Manifest.from_json(text, str(manifest_path(model)))
        with ThreadPoolExecutor(1) as pool:
            stored = pool.submit(_read_stored, model, form, manifest)
            checks = check_files(model, manifest)
            tensors, faults = stored.result()
    except ArtifactError as error:
        return IntegrityReport(str(model), faults=(str(error),), bad_manifest=True)
    except IntegrityError as error:
        return IntegrityReport(str(model), faults=(str(error),))
    require_covered(named, model, form.name, given)
    files, provenance = tuple(_checked(check) for check in checks), ""
    try:
        provenance = check_provenance(model, manifest, text, given) if manifest.signed or given.verify_keys else ""
    except IntegrityError as error:
        faults = (*faults, str(error))
    if not is_as_written(text, manifest):
        faults = (*faults, f"{manifest_path(model)} was edited: it is not as this tool writes a manifest")
    if unlisted := _unlisted(model, manifest):
        faults = (*faults, f"{join_limited(unlisted)}: beside {model.name}, and not listed by its manifest")
    try:
        require_unchanged(check.found for check in checks if check.found is not None and not check.fault)
    except C3DExportError as error:
        faults = (*faults, str(error))
    notes = () if not form.hides_weights else (f"weights are not compared one by one: {form.hides_weights}",)
    if manifest.tensors is None and not form.hides_weights:
        notes = ("the manifest is of a release that recorded no hashes of weights",)
    return IntegrityReport(str(model), files, tensors, faults, provenance=provenance, notes=notes)


def _checked(check: FileCheck) -> CheckedFile:
    found = check.found
    return CheckedFile(
        str(check.path), None if found is None else found.bytes, found.sha256 if found else None, check.fault
    )


def _read_stored(model: Path, form: Format, manifest: Manifest) -> tuple[int | None, tuple[str, ...]]:
    """Return how many weights were compared with the manifest, and what is wrong inside the model file."""
    if not model.is_file():
        return None, ()
    try:
        stored = form.read_stored(model)
        faults = _contradictions(model, form, manifest, stored)
        if manifest.tensors is None or stored.tensors is None:
            return None, faults
        listed = {model.with_name(entry.path) for entry in manifest.files}
        outside = [tensor.name for tensor in stored.tensors if tensor.path not in listed or not tensor.path.is_file()]
        if outside:
            return None, (*faults, f"{model}: the values of {join_limited(outside)} are in no file of the manifest")
        return len(stored.tensors), (*faults, *_tensor_faults(model, manifest.tensors, hash_tensors(stored.tensors)))
    except ArtifactError as error:
        return None, (str(error),)


def _contradictions(model: Path, form: Format, manifest: Manifest, stored: StoredModel) -> tuple[str, ...]:
    """Return how what the model file states of itself contradicts the manifest beside it."""
    faults: list[str] = []
    if form.name != manifest.format:
        faults.append(f"{manifest_path(model)} is of the format {manifest.format}, {model.name} of {form.name}")
    if form.embeds_manifest:
        inside = None if stored.manifest is None else Manifest.from_json(stored.manifest, f"{model} (inside)")
        if inside != manifest.embedded():
            faults.append(f"{manifest_path(model)} differs from the manifest inside {model.name}")
    if form.name == "onnx":
        faults += filter(None, (link_fault(model, name) for name in stored.data))
    listed = {entry.path for entry in manifest.files}
    if stored.tensors is not None and listed != {model.name, *stored.data}:
        faults.append(
            f"{manifest_path(model)} lists {join_limited(sorted(listed))}, and {model.name} has its weights in "
            f"{join_limited(stored.data) or 'no other file'}"
        )
    return tuple(faults)


def _tensor_faults(model: Path, recorded: dict[str, str], found: dict[str, str]) -> tuple[str, ...]:
    """Return which weights are not those that the manifest records."""
    beside = manifest_path(model).name
    changed = [name for name in recorded if name in found and found[name] != recorded[name]]
    kinds = (
        ([name for name in recorded if name not in found], f"listed by {beside}, and not in the file"),
        ([name for name in found if name not in recorded], f"not listed by {beside}"),
        (changed, f"with other values than {beside} states by SHA-256"),
    )
    return tuple(f"{model}: {count(len(n), 'weight')} {w}: {join_limited(n)}" for n, w in kinds if n)


def _unlisted(model: Path, manifest: Manifest) -> list[str]:
    """Return files in the folder that are called like a data file of this model, and are not listed."""
    listed = {entry.path for entry in manifest.files}
    names = [path.name for path in model.parent.iterdir()]
    return sorted(
        name
        for name in names
        if name.startswith(model.name) and DATA_FILE.fullmatch(name.removeprefix(model.name)) and name not in listed
    )
