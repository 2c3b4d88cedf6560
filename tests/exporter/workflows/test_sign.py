"""`c3d-export sign`: artifacts that exist are signed if they are whole, and not otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.run import Done, call
from helpers.signing_keys import write_key

from exporter.artifacts.files import manifest_path
from exporter.workflows.export import ExportResult
from exporter.workflows.integrity import verify_integrity

pytest.importorskip("cryptography", reason="pip install 'c3d-export[sign]'")

Sign = Callable[..., Done]


@pytest.fixture
def artifacts(narrow_artifacts: ExportResult, tmp_path: Path) -> Path:
    """./a with the narrow artifacts, and beside it ours.key, other.key and their public keys."""
    shutil.copytree(narrow_artifacts.artifacts[0].path.parent, tmp_path / "a")
    write_key(tmp_path, "ours")
    write_key(tmp_path, "other")
    return tmp_path / "a"


@pytest.fixture
def sign(artifacts: Path, capfd: pytest.CaptureFixture[str]) -> Sign:
    return lambda *arguments: call("c3d-export", "sign", *arguments, cwd=artifacts.parent, capture=capfd)


def manifests(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json"))}


def test_a_folder_is_signed_and_nothing_but_the_signature_changes(artifacts: Path, sign: Sign) -> None:
    models = {path: path.read_bytes() for path in artifacts.iterdir() if path.suffix != ".json"}
    before = manifests(artifacts)
    done = sign("a", "a/c3d.onnx", "--sign-key", "ours.key", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert [(row["artifact"], row["replaced"]) for row in result["artifacts"]] == [
        ("a/c3d.onnx", None),
        ("a/c3d.pt", None),
    ]
    for name, text in manifests(artifacts).items():
        fields = json.loads(text)
        assert fields.pop("signed")["public_key"] in result["public_key"]
        assert fields == json.loads(before[name])
    assert models == {path: path.read_bytes() for path in models}
    reports = verify_integrity([*models], verify_keys=(result["public_key"],))
    assert [report.passed for report in reports] == [True, True]
    signed = manifests(artifacts)
    assert sign("a", "--sign-key", "ours.key").returncode == 0
    assert manifests(artifacts) == signed  # the same key gives the same bytes


def flip(model: Path) -> None:
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def edit(model: Path) -> None:
    beside = manifest_path(model)
    beside.write_text(beside.read_text().replace('"name": "c3d"', '"name": "c3e"'))


def remove_manifest(model: Path) -> None:
    manifest_path(model).unlink()


def damage_manifest(model: Path) -> None:
    manifest_path(model).write_bytes(b"{")


@pytest.mark.parametrize(
    ("change", "code"), [(flip, 1), (edit, 1), (remove_manifest, 1), (damage_manifest, 3), (Path.unlink, 1)]
)
def test_nothing_is_signed_where_one_artifact_is_not_whole(
    change: Callable[[Path], object], code: int, artifacts: Path, sign: Sign
) -> None:
    change(artifacts / "c3d.pt")
    before = manifests(artifacts)
    done = sign("a/c3d.onnx", "a/c3d.pt", "--sign-key", "ours.key")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert "nothing was signed: " in done.stderr
    assert manifests(artifacts) == before


def test_the_signature_of_another_is_replaced_only_where_it_is_named_and_holds(artifacts: Path, sign: Sign) -> None:
    beside = artifacts / "c3d.onnx.json"
    assert sign("a/c3d.onnx", "--sign-key", "other.key").returncode == 0
    theirs = beside.read_bytes()
    refused = sign("a/c3d.onnx", "--sign-key", "ours.key")
    assert refused.returncode == 1
    assert "is signed by another key; --verify-key ED25519:" in refused.stderr
    assert sign("a/c3d.onnx", "--sign-key", "ours.key", "--verify-key", "ours.pub").returncode == 1
    beside.write_bytes(theirs.replace(b'"value": "', b'"value": "AAAA', 1))
    assert sign("a/c3d.onnx", "--sign-key", "ours.key", "--verify-key", "other.pub").returncode == 1
    beside.write_bytes(theirs)
    done = sign("a/c3d.onnx", "--sign-key", "ours.key", "--verify-key", "other.pub")
    assert done.returncode == 0
    assert "replaces the signature by ED25519:" in done.stdout
    (report,) = verify_integrity([artifacts / "c3d.onnx"], verify_keys=(artifacts.parent / "ours.pub",))
    assert report.passed


def test_a_signature_of_ones_own_that_does_not_hold_is_not_renewed(artifacts: Path, sign: Sign) -> None:
    beside = artifacts / "c3d.onnx.json"
    assert sign("a/c3d.onnx", "--sign-key", "ours.key").returncode == 0
    fields = json.loads(beside.read_bytes())
    value = fields["signed"]["value"]
    fields["signed"]["value"] = ("B" if value[0] == "A" else "A") + value[1:]
    beside.write_text(json.dumps(fields, sort_keys=True, indent=2, ensure_ascii=False) + "\n")
    done = sign("a/c3d.onnx", "--sign-key", "ours.key")
    assert done.returncode == 1
    assert "does not hold" in done.stderr
