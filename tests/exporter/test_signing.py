"""Keys, signatures of manifests, and every way in which one is not what it should be."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.manifests import MANIFEST

from exporter.artifacts.files import FileEntry
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import ParityRecord
from exporter.artifacts.provenance import sign_manifest
from exporter.errors import BadInputError, IntegrityError, UsageError
from exporter.signing import PublicKey, SigningKey, check_signature, describe_signature, read_public_keys, signed_bytes

cryptography = pytest.importorskip("cryptography", reason="pip install 'c3d-export[sign]'")
from cryptography.hazmat.primitives import serialization as pem  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa, x25519  # noqa: E402

WHERE = Path("c3d.onnx.json")
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RECORD = ParityRecord(passed=True, engine="onnxruntime", device="cpu", factor=4.0, max_budget_used=1.5e-05)
COMPLETE = replace(
    MANIFEST,
    files=(FileEntry("c3d.onnx", 10, "a" * 64),),
    parity=RECORD,
    class_names=tuple(f"class {number}" for number in range(101)),
    tensors={"fc8.bias": "b" * 64},
)


def private_pem(key: Any, passphrase: bytes | None = None) -> bytes:
    encryption = pem.BestAvailableEncryption(passphrase) if passphrase else pem.NoEncryption()
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption)


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    path = tmp_path / "sign.key"
    path.write_bytes(private_pem(KEY))
    path.chmod(0o600)
    return SigningKey.read(path)


@pytest.fixture
def signed(key: SigningKey) -> Manifest:
    return sign_manifest(COMPLETE, key)


def check(manifest: bytes | str, *keys: PublicKey) -> None:
    text = manifest if isinstance(manifest, bytes) else manifest.encode()
    check_signature(WHERE, text, Manifest.from_json(text).signed, keys)


def test_a_signature_is_what_openssl_makes_of_the_documented_bytes(signed: Manifest, key: SigningKey) -> None:
    assert signed.signed is not None
    fields = json.loads(signed.to_json())
    del fields["signed"]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    value = KEY.sign(b"c3d-export manifest 1\n" + canonical)
    assert base64.b64decode(signed.signed.value) == value
    assert base64.b64decode(signed.signed.public_key) == KEY.public_key().public_bytes_raw()
    assert sign_manifest(signed, key) == signed  # a second time gives the same bytes
    check(signed.to_json(), key.public)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a JSON object that is none itself, and of every empty one."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, (dict, list)) or not value:
        yield path
    for name, inner in entries:
        yield from leaves(inner, (*path, name))


def test_every_forged_field_is_found(signed: Manifest, key: SigningKey) -> None:
    original = json.loads(signed.to_json())
    forged = 0
    for path in leaves(original):
        changed = json.loads(signed.to_json())
        place = changed
        for name in path[:-1]:
            place = place[name]
        value = place[path[-1]]
        place[path[-1]] = (not value) if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else 12345
        with pytest.raises(IntegrityError, match="does not hold|another key|malformed"):
            check_signature(WHERE, json.dumps(changed).encode(), _signature(changed), [key.public])
        forged += 1
    assert forged > 150  # class names included


def _signature(fields: dict[str, Any]) -> Any:
    from exporter.signing import ManifestSignature

    return ManifestSignature(**fields["signed"])


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(unknown=1),  # of a later release: covered too
        lambda fields: fields.pop("parity"),
        lambda fields: fields.pop("class_names"),
        lambda fields: fields.pop("tensors"),
        lambda fields: fields["files"].append(fields["files"][0]),
        lambda fields: fields["signed"].update(value=fields["signed"]["value"][:-4]),
        lambda fields: fields["signed"].update(value=""),
        lambda fields: fields["signed"].update(value=base64.b64encode(bytes(64)).decode()),
        lambda fields: fields["signed"].update(public_key="not base64"),
    ],
)
def test_what_is_added_or_cut_off_is_found(
    change: Callable[[dict[str, Any]], Any], signed: Manifest, key: SigningKey
) -> None:
    fields = json.loads(signed.to_json())
    change(fields)
    with pytest.raises(IntegrityError, match="does not hold|malformed"):
        check_signature(WHERE, json.dumps(fields).encode(), _signature(fields), [key.public])


def test_spaces_and_order_are_no_change(signed: Manifest, key: SigningKey) -> None:
    fields = dict(reversed(json.loads(signed.to_json()).items()))
    check(json.dumps(fields), key.public)


def test_of_a_field_that_is_there_twice_the_same_one_is_checked_and_read(signed: Manifest, key: SigningKey) -> None:
    text = signed.to_json().rstrip().removesuffix("}")
    check(f'{{"name": "forged", {text.lstrip()[1:]}}}', key.public)  # the last one counts, for both
    twice = f'{text}, "name": "forged"}}'
    assert Manifest.from_json(twice).name == "forged"
    with pytest.raises(IntegrityError, match="does not hold"):
        check(twice, key.public)


UNREAD = {
    "digits": "9" * 5000,
    "negative": f"-{'9' * 5000}",
    "infinite": "1e400",
    "tiny": "1e-400",
    "pair": '"\\ud83d\\ude00"',
    "lists": "[" * 700 + "]" * 700,
    "key twice": '{"a": 1, "a": 2}',
    "null": "null",
}
"""Values that JSON may have in a field that this release does not know."""


@pytest.mark.parametrize("value", UNREAD.values(), ids=UNREAD)
def test_whatever_is_added_in_a_field_that_is_not_read_is_found(value: str, signed: Manifest, key: SigningKey) -> None:
    text = signed.to_json().rstrip().removesuffix("}")
    with pytest.raises(IntegrityError, match="its signature by ED25519"):
        check(f'{text}, "later": {value}}}', key.public)


def test_who_signed_is_said(signed: Manifest, key: SigningKey) -> None:
    other = PublicKey(bytes(32))
    with pytest.raises(IntegrityError, match="is not signed, which --verify-key requires"):
        check(COMPLETE.to_json(), key.public)
    with pytest.raises(IntegrityError, match=r"signed by another key, ED25519:\S+, not by ED25519:A{43}="):
        check(signed.to_json(), other)
    check(signed.to_json(), other, key.public)
    forged = replace(signed, signed=replace(signed.signed, public_key=base64.b64encode(other.raw).decode()))  # pyright: ignore
    with pytest.raises(IntegrityError, match="does not hold"):
        check(forged.to_json(), other)
    assert describe_signature(None, checked=False) == "not signed"
    assert describe_signature(signed.signed, checked=True) == f"signed by {key.public}"
    assert describe_signature(signed.signed, checked=False).endswith("not checked: give --verify-key")


def test_a_signature_of_other_bytes_is_none_of_a_manifest(key: SigningKey) -> None:
    text = COMPLETE.to_json()
    value = KEY.sign(signed_bytes(text).partition(b"\n")[2])  # without the context
    bare = replace(COMPLETE, signed=replace(key.sign(text), value=base64.b64encode(value).decode()))
    with pytest.raises(IntegrityError, match="does not hold"):
        check(bare.to_json(), key.public)


def test_a_key_is_never_in_a_model_file(signed: Manifest) -> None:
    assert signed.embedded().signed is None
    assert Manifest.from_json(signed.to_json()) == signed
    assert '"signed"' not in COMPLETE.to_json()


def test_public_keys_in_every_form(key: SigningKey, tmp_path: Path) -> None:
    (tmp_path / "sign.pub").write_bytes(public_pem(KEY))
    forms = [tmp_path / "sign.pub", str(key.public), str(key.public).removeprefix("ED25519:"), key.public.raw.hex()]
    assert read_public_keys(forms) == (key.public,) * 4


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (private_pem(KEY), r"a private key; .* openssl pkey -in KEY -pubout"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "RSAPublicKey"),
        (b"text", "not an Ed25519 public key in PEM"),
        (bytes(1 << 17), "too large for a public key"),
    ],
)
def test_what_is_no_public_key(content: bytes, reported: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(BadInputError, match=reported):
        read_public_keys([tmp_path / "key"])


def test_a_key_that_is_cut_off_is_no_missing_file(key: SigningKey) -> None:
    with pytest.raises(BadInputError, match="not a key: 32 bytes in base64 or hexadecimal"):
        read_public_keys([str(key.public)[:-3]])


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (public_pem(KEY), "a public key; signing needs the private one"),
        (private_pem(rsa.generate_private_key(65537, 1024)), "RSAPrivateKey"),
        (private_pem(x25519.X25519PrivateKey.generate()), "X25519PrivateKey"),
        (private_pem(KEY)[:60], "not an Ed25519 private key in PEM"),
        (
            KEY.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.OpenSSH, pem.NoEncryption()),
            "an OpenSSH key",
        ),
        (b"", "not an Ed25519 private key in PEM"),
    ],
)
def test_what_is_no_private_key(content: bytes, reported: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(BadInputError, match=reported) as caught:
        SigningKey.read(tmp_path / "key")
    assert "\n" not in str(caught.value)


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(private_pem(KEY, b"open sesame"))
    with pytest.raises(UsageError, match="is encrypted"):
        SigningKey.read(path)
    with pytest.raises(BadInputError, match="wrong passphrase"):
        SigningKey.read(path, "wrong")
    assert SigningKey.read(path, lambda: "open sesame").public.raw == KEY.public_key().public_bytes_raw()


def test_a_key_that_others_can_read_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(private_pem(KEY))
    path.chmod(stat.S_IRUSR | stat.S_IRGRP)
    assert "other users can read this private key; chmod 600" in SigningKey.read(path).notes[0]
    path.chmod(stat.S_IRUSR)
    assert SigningKey.read(path).notes == ()
