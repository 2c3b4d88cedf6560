"""Ed25519 signatures of manifests: keys, the bytes that are signed, and what is checked. docs/how-to/signing.md.

What is signed is the manifest as JSON without its field `signed`: keys sorted, no spaces, UTF-8, numbers as Python
writes them, after `CONTEXT`. It is made from the JSON text and not from what this release knows of it, so that a
manifest of a later release, with fields that this one does not know, is checked whole.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from exporter.errors import BadInputError, IntegrityError, UnavailableError, UsageError
from models.errors import install_command
from models.paths import read_small_file

CONTEXT = b"c3d-export manifest 1\n"
"""What is signed begins with this, so that a signature of something else is none of a manifest."""
SIGNED = "signed"
"""The manifest's field."""
KEY_BYTES, VALUE_BYTES = 32, 64
MAX_FILE_BYTES = 1 << 16
_PREFIX = re.compile("ed25519:", re.IGNORECASE)
_OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH


@dataclass(frozen=True)
class ManifestSignature:
    """The signature of a manifest.

    Attributes:
        public_key: the signer's key, 32 bytes in base64.
        value: the signature, 64 bytes in base64.
    """

    public_key: str
    value: str


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key: its 32 bytes."""

    raw: bytes

    def __str__(self) -> str:
        """Return `ED25519:` and the key in base64. It is as short as a fingerprint, and `--verify-key` takes it."""
        return f"ED25519:{base64.b64encode(self.raw).decode()}"

    def verifies(self, value: bytes, content: bytes) -> bool:
        """Return whether `value` is a signature of `content` by this key.

        Raises:
            UnavailableError: the package `cryptography` is not installed.
        """
        key: Any = _cryptography("ed25519").Ed25519PublicKey.from_public_bytes(self.raw)
        try:
            key.verify(value, content)
        except import_module("cryptography.exceptions").InvalidSignature:
            return False
        return True


class SigningKey:
    """An Ed25519 private key. `read` makes one; it signs manifests of `export` and `optimize`.

    Attributes:
        public: its public key.
        notes: what its owner should know: that others may read the file.
    """

    def __init__(self, key: Any, notes: tuple[str, ...] = ()) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())
        self.notes = notes

    @staticmethod
    def read(path: Path, passphrase: str | Callable[[], str | None] | None = None) -> SigningKey:
        """Read a private key from a PEM file, as `openssl genpkey -algorithm ed25519` writes it.

        Args:
            path: the file.
            passphrase: of an encrypted key, or a function that asks for it and is called only then.

        Raises:
            BadInputError: no such file, no Ed25519 private key, or another passphrase.
            UsageError: the key is encrypted, and there is no passphrase.
            UnavailableError: the package `cryptography` is not installed.
        """
        content, serialization = _read_pem(path, "private key"), _cryptography("serialization")
        encrypted = b"ENCRYPTED" in content
        given = (passphrase() if callable(passphrase) else passphrase) if encrypted else None
        if encrypted and not given:
            raise UsageError(
                f"{path}: the key is encrypted; its passphrase is asked for on a terminal, or taken from "
                "$C3D_EXPORT_KEY_PASSPHRASE"
            )
        try:
            key = serialization.load_pem_private_key(content, given.encode() if given else None)
        except Exception as error:
            # the package raises ValueError, TypeError, UnsupportedAlgorithm and errors of OpenSSL's own
            reason = "wrong passphrase, or a damaged key" if encrypted else _describe_pem(content, "private key")
            raise BadInputError(f"{path}: {reason}") from error
        if not hasattr(key, "sign") or type(key.public_key()).__name__ != "Ed25519PublicKey":
            raise BadInputError(
                f"{path}: not an Ed25519 key ({type(key).__name__}); openssl genpkey -algorithm ed25519 -out sign.key "
                "makes one"
            )
        shared = path.stat().st_mode & _OTHERS_MAY_READ
        return SigningKey(key, (f"{path}: other users can read this private key; chmod 600 it",) if shared else ())

    def sign(self, manifest: str) -> ManifestSignature:
        """Return the signature of a manifest's JSON. The same key and manifest give the same signature."""
        value: bytes = self._key.sign(signed_bytes(manifest))
        return ManifestSignature(base64.b64encode(self.public.raw).decode(), base64.b64encode(value).decode())


def signed_bytes(manifest: str | bytes) -> bytes:
    """Return what is signed of a manifest's JSON, whether it has a signature already or not.

    Raises:
        ValueError: it is no JSON object.
    """
    fields = msgspec.json.decode(manifest, type=dict[str, Any])
    fields.pop(SIGNED, None)
    # msgspec writes 1e-05 as 0.00001: a checker in Python would compute other bytes
    return CONTEXT + json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_public_keys(keys: Sequence[str | Path]) -> tuple[PublicKey, ...]:
    """Read public keys: each the key itself in base64 or hexadecimal, as `PublicKey` prints it, or a PEM file.

    Raises:
        BadInputError: no such file, or no Ed25519 public key.
        UnavailableError: the package `cryptography` is not installed.
    """
    return tuple(_parse_key(str(key)) or _read_public_key(Path(key)) for key in keys)


def _parse_key(text: str) -> PublicKey | None:
    """Return the key that a text is; None where it is none."""
    bare = _PREFIX.sub("", text.strip(), count=1)
    with contextlib.suppress(ValueError):
        if len(bare) == 2 * KEY_BYTES:
            return PublicKey(bytes.fromhex(bare))
        raw = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        if len(raw) == KEY_BYTES:
            return PublicKey(raw)
    return None


def _read_public_key(path: Path) -> PublicKey:
    if _PREFIX.match(str(path)) and not path.exists():
        raise BadInputError(f"{path}: not a key: {KEY_BYTES} bytes in base64 or hexadecimal")
    content, serialization = _read_pem(path, "public key"), _cryptography("serialization")
    try:
        key = serialization.load_pem_public_key(content)
    except Exception as error:
        raise BadInputError(f"{path}: {_describe_pem(content, 'public key')}") from error
    if type(key).__name__ != "Ed25519PublicKey":
        raise BadInputError(f"{path}: not an Ed25519 key ({type(key).__name__}); manifests are signed with Ed25519")
    return PublicKey(key.public_bytes_raw())


def _read_pem(path: Path, what: str) -> bytes:
    return read_small_file(path, what, MAX_FILE_BYTES, BadInputError)


def _describe_pem(content: bytes, wanted: str) -> str:
    """Return what a file is that is not the PEM file that it should be."""
    if b"PRIVATE KEY-----" in content and wanted == "public key":
        return (
            "a private key; --verify-key takes the public one, which openssl pkey -in KEY -pubout -out KEY.pub writes"
        )
    if b"PUBLIC KEY-----" in content and wanted == "private key":
        return "a public key; signing needs the private one"
    if b"OPENSSH" in content:
        return "an OpenSSH key, not PEM; openssl genpkey -algorithm ed25519 -out sign.key makes a PEM key"
    return f"not an Ed25519 {wanted} in PEM"


def check_signature(where: Path, manifest: bytes, signed: ManifestSignature | None, keys: Sequence[PublicKey]) -> None:
    """Refuse a manifest that none of these keys has signed as it is.

    Args:
        where: the manifest's path, for messages.
        manifest: its JSON.
        signed: its field `signed`.
        keys: those that are accepted.

    Raises:
        IntegrityError: it is not signed, was signed by another key, or was changed since.
        UnavailableError: the package `cryptography` is not installed.
    """
    if signed is None:
        raise IntegrityError(
            f"{where} is not signed, which --verify-key requires; c3d-export sign without --verify-key signs it"
        )
    signer, value = decode_signature(where, signed)
    if signer not in keys:
        accepted = " or ".join(map(str, keys))
        raise IntegrityError(f"{where} is signed by another key, {signer}, not by {accepted}")
    try:
        content = signed_bytes(manifest)
    except (ValueError, RecursionError) as error:  # in fields that this release does not read
        raise IntegrityError(f"{where}: its signature by {signer} is not of what it holds: {error}") from error
    if not signer.verifies(value, content):
        raise IntegrityError(f"{where}: its signature by {signer} does not hold: it was changed after it was signed")


def describe_signature(signed: ManifestSignature | None, *, checked: bool) -> str:
    """Return who signed a manifest, and whether that was checked, in words."""
    if signed is None:
        return "not signed"
    try:
        signer, _ = decode_signature(Path("manifest"), signed)
    except IntegrityError:
        return "a malformed signature"
    return f"signed by {signer}" if checked else f"signed by {signer}, not checked: give --verify-key"


def decode_signature(where: Path, signed: ManifestSignature) -> tuple[PublicKey, bytes]:
    """Return the signer's key and the signature, unchecked.

    Raises:
        IntegrityError: they are none.
    """
    try:
        key, value = (base64.b64decode(text, validate=True) for text in (signed.public_key, signed.value))
    except (binascii.Error, ValueError):
        key = value = b""
    if (len(key), len(value)) != (KEY_BYTES, VALUE_BYTES):
        raise IntegrityError(f"{where}: its signature is malformed")
    return PublicKey(key), value


def _cryptography(module: str) -> Any:
    try:
        package = "asymmetric.ed25519" if module == "ed25519" else module
        return import_module(f"cryptography.hazmat.primitives.{package}")
    except ImportError as error:
        raise UnavailableError(f"signatures need the package cryptography; {install_command('sign')}") from error
