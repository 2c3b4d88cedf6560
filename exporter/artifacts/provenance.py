"""Whose artifact it is: its signature, a hash that the user expects, and whether code of it may run (`LoadChecks`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exporter.artifacts.files import data_files, manifest_path
from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError, IntegrityError, UsageError
from exporter.file_state import FileState, hashed_file_state
from exporter.load_checks import LoadChecks, Vouched
from exporter.signing import SigningKey, check_signature, describe_signature, read_public_keys
from exporter.trust import CODE_FORMATS, is_recorded, record_written, require_recorded
from exporter.types import FormatName
from models.http.addresses import parse_sha256


def sign_manifest(manifest: Manifest, key: SigningKey | None) -> Manifest:
    """Return a complete manifest with its signature; without a key, with none."""
    bare = replace(manifest, signed=None)
    return bare if key is None else replace(bare, signed=key.sign(bare.to_json()))


def check_provenance(model: Path, manifest: Manifest | None, text: bytes | None, checks: LoadChecks) -> str:
    """Refuse an artifact that none of the keys signed that the user names; return who did, in words.

    Args:
        model: the model file.
        manifest: its manifest, from beside or inside it.
        text: the bytes of the manifest beside it; None without one: what is inside the file is never signed.
        checks: the keys.

    Raises:
        IntegrityError: it is not signed by one of them, or was changed since.
        BadInputError: a key cannot be read.
        UnavailableError: the package `cryptography` is not installed.
    """
    signed = None if manifest is None or text is None else manifest.signed
    if not checks.verify_keys:
        return describe_signature(signed, checked=False)
    keys = read_public_keys(checks.verify_keys)
    beside = manifest_path(model)
    if text is None:
        raise IntegrityError(f"{model} is not signed: {beside.name}, where a signature would be, is not beside it")
    check_signature(beside, text, signed, keys)
    return describe_signature(signed, checked=True)


def record_manifest(manifest: Manifest) -> None:
    """Record that this tool writes a manifest here, if it states an accuracy: `LoadedArtifact.is_believed` then."""
    if manifest.precision != "fp32":
        record_written([hashlib.sha256(manifest.to_json().encode()).hexdigest()])


def is_manifest_recorded(text: bytes | None) -> bool:
    """Return whether `record_manifest` has recorded the manifest of these bytes; None is that of no file."""
    return text is not None and is_recorded(hashlib.sha256(text).hexdigest())


def require_single(artifacts: Sequence[object], checks: LoadChecks) -> None:
    """Refuse an expected hash for several artifacts.

    Raises:
        UsageError: there is one, and not one artifact.
    """
    if checks.expect_sha256 is not None and len(artifacts) != 1:
        raise UsageError(f"--expect-sha256 is the hash of one artifact; {len(artifacts)} are named")


def check_expected(named: Path, model: Path, text: bytes | None, checks: LoadChecks) -> tuple[FileState, ...]:
    """Refuse a file that has not the hash that the user expects, before anything of it is parsed.

    Args:
        named: the path that the user gave: the model, or its manifest.
        model: the model file.
        text: the bytes of the manifest beside it, which are those that are parsed.
        checks: the hash.

    Returns:
        the model file as it was when it was hashed: it must still be that one in the end.

    Raises:
        IntegrityError: it has another hash.
        UsageError: no SHA-256.
        ArtifactError: the model cannot be read.
    """
    if checks.expect_sha256 is None:
        return ()
    expected, states = parse_sha256(checks.expect_sha256), ()
    if named != model and text is not None:
        found = hashlib.sha256(text).hexdigest()
    else:
        try:
            states = (hashed_file_state(model),)
        except OSError as error:
            raise ArtifactError(f"cannot read {model}: {error.strerror or error}") from error
        found = states[0].sha256
    if found != expected:
        raise IntegrityError(f"{named} is not the file that was expected: SHA-256 {found}, not {expected}")
    return states


def require_covered(named: Path, model: Path, format_name: FormatName, checks: LoadChecks) -> None:
    """Refuse an expected hash that does not cover the artifact's weights.

    Raises:
        UsageError: they are in files of their own, and the model file was named and not the manifest.
    """
    if checks.expect_sha256 is not None and named == model and data_files(model, format_name):
        raise UsageError(
            f"--expect-sha256: {model} has its weights in other files, which its hash does not cover; name the "
            f"manifest, {manifest_path(model).name}, and the manifest's SHA-256"
        )


def vouch(model: Path, format_name: FormatName, sha256: str, checks: LoadChecks, provenance: str) -> Vouched:
    """Refuse code that may not run here, before any long computation; return what lets it run later.

    Args:
        model: the model file.
        format_name: its format.
        sha256: its hash.
        checks: whether the user trusts it, and whether its signature was checked.
        provenance: who signed it, in words.

    Raises:
        ArtifactError: nothing vouches for it.
    """
    if format_name not in CODE_FORMATS or checks.trust:
        return Vouched(everything=checks.trust)
    if not checks.verify_keys:  # otherwise its signature was checked, and covers the hash
        require_recorded(model, CODE_FORMATS[format_name], sha256, f"it is {provenance}")
    return Vouched(sha256=(sha256,))
