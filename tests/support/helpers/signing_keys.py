"""Ed25519 keys in PEM files."""

import stat
from pathlib import Path


def write_key(folder: Path, name: str, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """Write a new private key and its public one."""
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    encryption = pem.BestAvailableEncryption(passphrase) if passphrase else pem.NoEncryption()
    private.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption))
    private.chmod(stat.S_IRUSR)
    public.write_bytes(key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    return private, public
