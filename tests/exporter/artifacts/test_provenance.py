"""Artifacts that are signed, pinned by their hash, or not what their user expects, in the commands that open them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.exported import NARROW
from helpers.manifests import MANIFEST
from helpers.run import Done, call

from exporter.artifacts.files import sha256_file
from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest_fields import PRECISION
from exporter.artifacts.provenance import is_manifest_recorded, record_manifest
from exporter.errors import ArtifactError, IntegrityError, UsageError
from exporter.formats import load_artifact
from exporter.load_checks import LoadChecks
from exporter.reports.console import stdout
from exporter.reports.export import print_export
from exporter.requests import ExportRequest, OptimizeRequest
from exporter.signing import SigningKey
from exporter.types import ParityOptions
from exporter.workflows.export import ExportResult, export
from exporter.workflows.integrity import verify_integrity
from exporter.workflows.optimize import optimize
from exporter.workflows.verify import verify_parity
from models.builder import build
from models.errors import CheckpointError
from models.options import BuildOptions

pytest.importorskip("cryptography", reason="pip install 'c3d-export[sign]'")

COMMANDS = {
    "verify parity": ("verify", "parity"),
    "verify integrity": ("verify", "integrity"),
    "predict": ("c3d-export", "predict"),
    "features": ("c3d-export", "features"),
    "bench": ("c3d-export", "bench"),
    "triton": ("c3d-export", "triton"),
    "inspect": ("c3d-export", "inspect"),
}
VIDEO = (Path(__file__).parents[2] / "data" / "bikes.mp4",)


@pytest.fixture(scope="module")
def signed(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The narrow network as ONNX and TorchScript, signed."""
    sign = SigningKey.read(keys / "ours.key")
    folder = tmp_path_factory.mktemp("signed")
    return export(ExportRequest(("onnx", "torchscript"), model=NARROW, output_dir=folder, verify=False, sign=sign))


@pytest.fixture
def elsewhere(signed: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The signed artifacts on another machine, which has no record of having written them."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(signed.artifacts[0].path.parent, folder)
    monkeypatch.setenv("C3D_EXPORT_STATE", str(tmp_path / "their state"))
    return folder


def ask(name: str, *arguments: object, cwd: Path, capture: pytest.CaptureFixture[str]) -> Done:
    command, verb = COMMANDS[name]
    return call(command, verb, *map(str, arguments), cwd=cwd, capture=capture)


def test_a_signed_artifact_runs_where_its_key_is_known(elsewhere: Path, keys: Path) -> None:
    script = elsewhere / "c3d.pt"
    with pytest.raises(ArtifactError, match=r"is code, .*, and it is signed by ED25519:\S+, not checked: .*--trust"):
        load_artifact(script, LoadChecks())
    found = load_artifact(script, LoadChecks(verify_keys=(keys / "other.pub", keys / "ours.pub")))
    assert found.provenance.startswith("signed by ED25519:")
    assert found.vouched.sha256 == (sha256_file(script),)
    assert load_artifact(script, LoadChecks(trust=True)).vouched.everything
    with pytest.raises(IntegrityError, match="is signed by another key"):  # trust in code is no signature
        load_artifact(script, LoadChecks(trust=True, verify_keys=(keys / "other.pub",)))


def test_export_and_integrity_say_who_signed(
    signed: ExportResult, elsewhere: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by = f"signed by {SigningKey.read(keys / 'ours.key').public}"
    print_export(signed, stdout())
    assert capsys.readouterr().out.count(f"(manifest, {by})") == 2
    (checked,) = verify_integrity([elsewhere / "c3d.onnx"], verify_keys=(keys / "ours.pub",))
    assert (checked.passed, checked.provenance) == (True, by)
    (unchecked,) = verify_integrity([elsewhere / "c3d.onnx"])
    assert (unchecked.passed, unchecked.provenance) == (True, f"{by}, not checked: give --verify-key")
    (other,) = verify_integrity([elsewhere / "c3d.onnx"], verify_keys=(keys / "other.pub",))
    assert (other.passed, other.provenance) == (False, "")


def test_the_manifest_of_another_artifact_is_no_signature(elsewhere: Path, keys: Path) -> None:
    script, checks = elsewhere / "c3d.pt", LoadChecks(verify_keys=(keys / "ours.pub",))
    whole = script.read_bytes()
    with script.open("r+b") as stream:
        stream.seek(len(whole) // 2)
        stream.write(b"\xff\xfe")
    with pytest.raises(IntegrityError, match="is not the file that c3d.pt.json describes"):
        load_artifact(script, checks)
    script.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match="is not the file that c3d.pt.json describes"):
        load_artifact(script, checks)
    script.write_bytes(whole)
    shutil.copy(elsewhere / "c3d.onnx.json", elsewhere / "c3d.pt.json")
    with pytest.raises(ArtifactError, match="does not list c3d.pt"):
        load_artifact(script, checks)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_asks_for_a_signature(
    name: str, elsewhere: Path, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, manifest = elsewhere / "c3d.onnx", elsewhere / "c3d.onnx.json"
    video = VIDEO if name in ("predict", "features") else ()
    wrong = ask(name, model, *video, "--verify-key", keys / "other.pub", cwd=elsewhere, capture=capfd)
    assert wrong.returncode == 1
    assert "is signed by another key, ED25519:" in wrong.stderr + wrong.stdout
    fields = json.loads(manifest.read_bytes())
    del fields["signed"]
    manifest.write_text(json.dumps(fields))
    stripped = ask(name, model, *video, "--verify-key", keys / "ours.pub", cwd=elsewhere, capture=capfd)
    assert stripped.returncode == 1
    assert "is not signed, which --verify-key requires" in stripped.stderr + stripped.stdout
    manifest.unlink()
    removed = ask(name, model, *video, "--verify-key", keys / "ours.pub", cwd=elsewhere, capture=capfd)
    assert removed.returncode == 1
    expected = "has no manifest" if name == "verify integrity" else "is not signed: c3d.onnx.json"
    assert expected in removed.stderr + removed.stdout


def test_inspect_says_what_is_unverified(
    elsewhere: Path, keys: Path, narrow_artifacts: ExportResult, capfd: pytest.CaptureFixture[str]
) -> None:
    unsigned = ask("inspect", narrow_artifacts.artifacts[0].path, cwd=elsewhere, capture=capfd).stdout
    assert re.search("^manifest +not signed; unverified: weights", unsigned, re.MULTILINE)
    unchecked = ask("inspect", "c3d.onnx", cwd=elsewhere, capture=capfd).stdout
    assert "not checked: give --verify-key; unverified: weights" in unchecked
    checked = ask("inspect", "c3d.onnx", "--verify-key", keys / "ours.pub", cwd=elsewhere, capture=capfd)
    assert checked.returncode == 0
    assert "unverified" not in checked.stdout
    assert re.search("^manifest +signed by ED25519:", checked.stdout, re.MULTILINE)


def test_inspect_says_whether_hashes_of_weights_are_signed(
    elsewhere: Path, keys: Path, narrow_artifacts: ExportResult, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = len(narrow_artifacts.artifacts[0].manifest.tensors or ())
    cases = (
        ((narrow_artifacts.artifacts[0].path,), "covered by no signature"),
        (("c3d.onnx",), "covered by its signature"),
        (("c3d.onnx", "--verify-key", keys / "other.pub"), "covered by no signature"),
    )
    for arguments, covered in cases:
        facts = json.loads(ask("inspect", *arguments, "--json", cwd=elsewhere, capture=capfd).stdout)["facts"]
        assert facts["weight hashes"] == f"{weights} weights by SHA-256 in the manifest, {covered}"


def test_a_parity_report_says_who_signed(elsewhere: Path, keys: Path, capfd: pytest.CaptureFixture[str]) -> None:
    by = f"signed by {SigningKey.read(keys / 'ours.key').public}"
    quick = ("c3d.onnx", "--inputs", "random", "--verify-key", keys / "ours.pub", "--html", "page.html")
    done = ask("verify parity", *quick, cwd=elsewhere, capture=capfd)
    assert done.returncode == 0
    assert f"manifest {by}\n" in done.stdout
    assert by in (elsewhere / "page.html").read_text()
    (unasked,) = verify_parity([elsewhere / "c3d.onnx"], ParityOptions(input_types=("random",)))
    assert unasked.provenance is None
    (asked,) = verify_parity(
        [elsewhere / "c3d.onnx"], ParityOptions(input_types=("random",), verify_keys=(keys / "ours.pub",))
    )
    assert asked.provenance == by


def test_a_file_that_is_not_trusted_does_not_hide_the_others(
    elsewhere: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for files in (("c3d.onnx", "c3d.pt"), (".",)):
        done = ask(
            "verify parity", *files, "--inputs", "random", "--junit", "j.xml", "--json", cwd=elsewhere, capture=capfd
        )
        assert done.returncode == 3
        result = json.loads(done.stdout)
        assert [(report["artifact"], report["passed"]) for report in result["reports"]] == [("c3d.onnx", True)]
        assert (result["passed"], [error["exit_code"] for error in result["errors"]]) == (False, [3])
        assert "c3d.pt: a TorchScript archive is code" in done.stderr
        suites = ET.parse(elsewhere / "j.xml").getroot()
        assert [suite.get("errors") for suite in suites] == ["0", "1"]


def test_integrity_of_several_reports_each(elsewhere: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = ask("verify integrity", "none.onnx", "c3d.onnx", "c3d.pt", "--deep", cwd=elsewhere, capture=capfd)
    assert done.returncode == 3
    assert (done.stdout.count("passed"), done.stdout.count("no library has read the weights")) == (2, 1)
    refused = done.stderr.splitlines()
    assert ["no such file" in refused[0], "is code" in refused[1], len(refused)] == [True, True, 2]
    assert ask("verify integrity", ".", cwd=elsewhere, capture=capfd).stdout.count("passed") == 2


def test_an_expected_hash_is_that_of_the_model_or_of_the_manifest(elsewhere: Path) -> None:
    for named in (elsewhere / "c3d.onnx", elsewhere / "c3d.onnx.json"):
        sha256 = hashlib.sha256(named.read_bytes()).hexdigest()
        assert load_artifact(named, LoadChecks(expect_sha256=sha256.upper())).path == elsewhere / "c3d.onnx"
        with pytest.raises(IntegrityError, match=f"{named.name} is not the file that was expected: SHA-256 {sha256}"):
            load_artifact(named, LoadChecks(expect_sha256="0" * 64))


def test_a_hash_that_covers_no_weights_is_refused(tmp_path: Path) -> None:
    export(ExportRequest(("onnx",), model=NARROW, output_dir=tmp_path, verify=False, external_data=True))
    model, manifest = tmp_path / "c3d.onnx", tmp_path / "c3d.onnx.json"
    with pytest.raises(UsageError, match="has its weights in other files.* name the manifest, c3d.onnx.json"):
        load_artifact(model, LoadChecks(expect_sha256=sha256_file(model)))
    assert load_artifact(manifest, LoadChecks(expect_sha256=sha256_file(manifest))).path == model


@pytest.mark.parametrize(("sha256", "code"), [("0" * 64, 1), ("0" * 63, 2), ("", 2), ("g" * 64, 2)])
@pytest.mark.parametrize("name", ["verify parity", "predict", "inspect", "bench"])
def test_commands_refuse_another_hash(
    name: str, sha256: str, code: int, narrow_artifacts: ExportResult, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = VIDEO if name == "predict" else ()
    done = ask(name, narrow_artifacts.artifacts[0].path, *video, "--expect-sha256", sha256, cwd=tmp_path, capture=capfd)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1


def test_integrity_pins_the_model_or_the_manifest(
    elsewhere: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, manifest = elsewhere / "c3d.onnx", elsewhere / "c3d.onnx.json"
    for named in (model, manifest):
        assert verify_integrity([named], expect_sha256=sha256_file(named))[0].passed
        (other,) = verify_integrity([named], expect_sha256="0" * 64)
        assert "is not the file that was expected" in other.faults[0]
    for name in ("verify integrity", "verify parity", "bench"):
        done = ask(name, model, elsewhere / "c3d.pt", "--expect-sha256", "0" * 64, cwd=tmp_path, capture=capfd)
        assert done.returncode == 2
        assert "is the hash of one artifact; 2 are named" in done.stderr


def test_a_checkpoint_is_pinned_too(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, weight=np.ones(3, np.float32))
    with pytest.raises(CheckpointError, match="has the wrong hash: SHA-256"):
        build(BuildOptions(weights=path, expect_sha256="0" * 64))
    with pytest.raises(CheckpointError, match="its tensors are not those of any known C3D layout"):
        build(BuildOptions(weights=path, expect_sha256=sha256_file(path)))
    with pytest.raises(UsageError, match="is no SHA-256"):
        build(BuildOptions(weights=path, expect_sha256="0" * 65))
    with pytest.raises(UsageError, match="needs --weights"):
        build(BuildOptions(expect_sha256="0" * 64))
    with pytest.raises(UsageError, match="expect-sha256"):
        build(BuildOptions(weights=f"https://localhost/x#sha256={'1' * 64}", expect_sha256="0" * 64))


@pytest.mark.usefixtures("exported_anew")
def test_two_signed_exports_have_the_same_bytes(signed: ExportResult, keys: Path, tmp_path: Path) -> None:
    sign = SigningKey.read(keys / "ours.key")
    again = export(ExportRequest(("onnx",), model=NARROW, output_dir=tmp_path, verify=False, sign=sign))
    for path in signed.artifacts[0].files:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert again.notes == signed.notes


def test_what_optimize_writes_is_signed_anew(signed: ExportResult, keys: Path, tmp_path: Path) -> None:
    source = signed.artifacts[0].path
    request = OptimizeRequest(source, tmp_path / "fast.onnx", verify=False, measure=False)
    result = optimize(request).path
    assert load_artifact(result).provenance == "not signed"  # the signature was of another manifest
    result = optimize(replace(request, sign=SigningKey.read(keys / "other.key"))).path
    assert load_artifact(result, LoadChecks(verify_keys=(keys / "other.pub",))).manifest is not None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_manifest_that_states_an_accuracy_is_known_as_written_here(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C3D_EXPORT_STATE", str(tmp_path))
    manifest = replace(MANIFEST, options={**MANIFEST.options, PRECISION: precision})
    text = manifest.to_json().encode()
    assert not is_manifest_recorded(text)
    assert not is_manifest_recorded(None)
    record_manifest(manifest)
    assert is_manifest_recorded(text) == (precision == "bf16")
    assert not is_manifest_recorded(text + b" ")
    assert not is_manifest_recorded(None)
    assert not LoadedArtifact(Path("m.onnx"), "onnx", manifest, ()).is_believed
