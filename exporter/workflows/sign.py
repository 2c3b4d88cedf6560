"""`sign_artifacts()`: sign the manifests of artifacts that exist, once their files are as the manifests state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.artifacts.files import manifest_path, read_manifest_text
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.provenance import is_manifest_recorded, record_manifest, sign_manifest
from exporter.errors import ArtifactError, IntegrityError
from exporter.signing import SigningKey, check_signature, decode_signature
from exporter.storage import translate_os_errors
from exporter.workflows.integrity import IntegrityReport, verify_integrity
from models.paths import atomic_write
from models.progress import Progress, no_progress
from models.temporary import lock_folder


@dataclass(frozen=True)
class SignedArtifact:
    """An artifact whose manifest was signed.

    Attributes:
        artifact: the model file.
        manifest: the manifest's file.
        files: how many files the signature covers by their hashes.
        tensors: how many weights were compared with their own hashes; None where there are none of such.
        replaced: the key whose signature was replaced; None where there was none, or the same key's.
    """

    artifact: str
    manifest: str
    files: int
    tensors: int | None
    replaced: str | None


@dataclass(frozen=True)
class SignResult:
    """What was signed.

    Attributes:
        public_key: the signer's public key, as `--verify-key` takes it.
        artifacts: in the order in which they were named.
        notes: what the key's owner should know.
    """

    public_key: str
    artifacts: tuple[SignedArtifact, ...]
    notes: tuple[str, ...]


def sign_artifacts(
    artifacts: Sequence[str | Path],
    key: SigningKey,
    *,
    verify_keys: tuple[str | Path, ...] = (),
    progress: Progress = no_progress,
) -> SignResult:
    """Sign the manifests of artifacts; none is signed unless all are whole. The model files stay as they are.

    Args:
        artifacts: model files, or their manifests.
        key: the private key.
        verify_keys: public keys, one of which must have signed each manifest so far. Without them a signature by
            another key is not replaced.
        progress: called for each artifact.

    Raises:
        IntegrityError: a file, a weight or the manifest is not what it should be; the signature that is there does not
            hold, or is another key's; or the manifest was replaced meanwhile.
        ArtifactError: no such artifact, or a manifest that cannot be read.
        OutputError: the manifest cannot be written.
    """
    checked: list[tuple[Path, bytes, Manifest, IntegrityReport]] = []
    for path in artifacts:
        (report,) = verify_integrity([path], verify_keys=verify_keys, progress=progress)
        model = Path(report.artifact)
        if any(model == known for known, *_ in checked):
            continue
        if not report.passed:
            faults = (*report.faults, *(file.fault for file in report.files if file.fault))
            kind = ArtifactError if report.bad_manifest else IntegrityError
            raise kind(f"nothing was signed: {faults[0]}")
        text = read_manifest_text(manifest_path(model))
        manifest = Manifest.from_json(text, str(manifest_path(model)))
        if {entry.sha256 for entry in manifest.files} != {file.sha256 for file in report.files}:
            raise _replaced(model)
        if manifest.signed is not None and not verify_keys:
            _require_own(manifest_path(model), text, manifest, key)
        checked.append((model, text, manifest, report))
    return SignResult(str(key.public), tuple(_write(*found, key) for found in checked), key.notes)


def _require_own(where: Path, text: bytes, manifest: Manifest, key: SigningKey) -> None:
    """Refuse a signature by another key, or one by this key that does not hold."""
    assert manifest.signed is not None
    signer, _ = decode_signature(where, manifest.signed)
    if signer != key.public:
        raise IntegrityError(
            f"nothing was signed: {where} is signed by another key; --verify-key {signer} checks that signature, and "
            "yours then replaces it"
        )
    check_signature(where, text, manifest.signed, (key.public,))


def _write(model: Path, text: bytes, manifest: Manifest, report: IntegrityReport, key: SigningKey) -> SignedArtifact:
    where, signed = manifest_path(model), sign_manifest(manifest, key)
    with translate_os_errors(model.parent), lock_folder(model.parent):
        if read_manifest_text(where) != text:
            raise _replaced(model)
        if is_manifest_recorded(text):
            record_manifest(signed)
        atomic_write(where, signed.to_json().encode())
    before = manifest.signed and str(decode_signature(where, manifest.signed)[0])
    replaced = before if before != str(key.public) else None
    return SignedArtifact(str(model), str(where), len(manifest.files), report.tensors, replaced)


def _replaced(model: Path) -> IntegrityError:
    return IntegrityError(f"{manifest_path(model)}: was replaced while it was checked, and is not signed: try again")
