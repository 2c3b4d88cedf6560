"""`verify integrity`: every change of a file or its manifest is found, named, and has its exit code."""

import json
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.exported import NARROW
from helpers.manifests import MANIFEST
from helpers.run import call, python

from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError, UnavailableError
from exporter.formats import FORMATS
from exporter.load_checks import LoadChecks
from exporter.requests import ExportRequest
from exporter.types import ComputePrecision, FormatName, PrecisionOptions
from exporter.workflows import weight_readers
from exporter.workflows.export import ExportResult, export
from exporter.workflows.integrity import verify_integrity


@pytest.fixture
def onnx_file(narrow_artifacts: ExportResult, tmp_path: Path) -> Path:
    for path in narrow_artifacts.artifacts[0].files:
        shutil.copy(path, tmp_path)
    return tmp_path / narrow_artifacts.artifacts[0].path.name


def test_whole_artifacts_pass(narrow_artifacts: ExportResult) -> None:
    reports = verify_integrity([artifact.path for artifact in narrow_artifacts.artifacts])
    assert [report.passed for report in reports] == [True, True]
    for report, artifact in zip(reports, narrow_artifacts.artifacts, strict=True):
        assert report.tensors == len(artifact.manifest.tensors or ()) > 20
        assert [file.sha256 for file in report.files] == [entry.sha256 for entry in artifact.manifest.files]


def test_no_engine_is_imported(narrow_artifacts: ExportResult, tmp_path: Path) -> None:
    code = (
        "import sys; from exporter.workflows.integrity import verify_integrity; reports = verify_integrity(sys.argv[1:])"
        "; print(all(report.passed for report in reports), {'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    done = python(code, *(artifact.path for artifact in narrow_artifacts.artifacts), cwd=tmp_path)
    assert done.stdout == "True set()\n", done.stderr


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_zeros(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


CHANGES = (remove, make_folder, make_pipe, link_to_zeros, truncate, flip)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_file_is_found_and_named(change: Callable[[Path], None], onnx_file: Path) -> None:
    change(onnx_file)
    (report,) = verify_integrity([onnx_file.with_name("c3d.onnx.json")])
    assert not report.passed
    assert report.files[0].fault.startswith(str(onnx_file))


def test_a_flipped_bit_is_found_in_its_weight(onnx_file: Path) -> None:
    flip(onnx_file)
    (report,) = verify_integrity([onnx_file])
    assert any(
        "1 weight with other values" in fault and "weight" in fault.rpartition(":")[2] for fault in report.faults
    )


@pytest.mark.parametrize("change", [make_folder, make_pipe, link_to_zeros, cut_in_half])
def test_a_bad_manifest_has_an_exit_code_of_its_own(
    change: Callable[[Path], None], onnx_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(onnx_file.with_name("c3d.onnx.json"))
    done = call("verify", "integrity", onnx_file, "--json", cwd=onnx_file.parent, capture=capsys)
    assert done.returncode == 3
    (report,) = json.loads(done.stdout)["reports"]
    assert report["bad_manifest"]


def changed_fields(manifest: Manifest) -> Iterator[tuple[str, object]]:
    tensors = dict(manifest.tensors or {})
    first, second = [*tensors][:2]
    yield "tensors", {**tensors, first: tensors[second]}
    yield "tensors", {name: digest for name, digest in tensors.items() if name != first}
    yield "tensors", {**tensors, "another": tensors[first]}
    yield "producer", "somebody else"
    yield "format", "torchscript"
    yield "options", {**manifest.options, "target": "cpu"}
    yield "versions", {}
    yield "name", "another"
    yield "files", [{"path": manifest.files[0].path, "bytes": 1, "sha256": manifest.files[0].sha256}]


def test_a_changed_field_of_the_manifest_is_found(narrow_artifacts: ExportResult, onnx_file: Path) -> None:
    beside = onnx_file.with_name("c3d.onnx.json")
    whole = json.loads(beside.read_text())
    for field, value in changed_fields(narrow_artifacts.artifacts[0].manifest):
        beside.write_text(json.dumps({**whole, field: value}, sort_keys=True, indent=2, ensure_ascii=False) + "\n")
        (report,) = verify_integrity([onnx_file])
        assert not report.passed, field


@pytest.mark.parametrize(
    "edit", [("{\n", "{ \n"), ("{\n", '{\n  "a": 1,\n'), ('"tensors"', '"tenzors"'), ("\n", "\n\n")]
)
def test_text_that_means_the_same_is_an_edited_manifest(edit: tuple[str, str], onnx_file: Path) -> None:
    beside = onnx_file.with_name("c3d.onnx.json")
    beside.write_text(beside.read_text().replace(*edit, 1))
    (report,) = verify_integrity([onnx_file])
    assert any("c3d.onnx.json was edited" in fault for fault in report.faults)


def test_a_data_file_that_the_manifest_does_not_list(onnx_file: Path) -> None:
    onnx_file.with_name("c3d.onnx.0123456789abcdef.data").write_bytes(b"old")
    (report,) = verify_integrity([onnx_file])
    assert "c3d.onnx.0123456789abcdef.data" in report.faults[0]


def test_a_manifest_of_an_earlier_release_passes_with_a_note(onnx_file: Path) -> None:
    beside = onnx_file.with_name("c3d.onnx.json")
    beside.write_text(replace(Manifest.from_json(beside.read_text()), tensors=None).to_json())
    (report,) = verify_integrity([onnx_file])
    assert (report.passed, report.tensors, len(report.notes)) == (True, None, 1)


def test_without_a_manifest_it_fails_and_says_so(onnx_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx_file.with_name("c3d.onnx.json").unlink()
    done = call("verify", "integrity", onnx_file, cwd=onnx_file.parent, capture=capsys)
    assert done.returncode == 1
    assert "has no manifest beside it (c3d.onnx.json)" in done.stdout


@pytest.mark.parametrize("name", ["c3d.pt", "c3d.pth"])
@pytest.mark.parametrize("command", [["verify", "integrity"], ["c3d-export", "sign", "--sign-key", "ours.key"]])
def test_a_checkpoint_is_told_from_an_artifact(
    name: str, command: list[str], keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(narrow_state(), tmp_path / name)
    shutil.copy(keys / "ours.key", tmp_path)
    done = call(*command, name, cwd=tmp_path, capture=capsys)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith(f"to export it: c3d-export --format onnx --weights {name}\n")


def test_the_artifacts_folder_and_junit(onnx_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    for name in ("c3d.onnx", "c3d.onnx.json"):
        shutil.move(tmp_path / name, tmp_path / "artifacts" / name)
    assert call("verify", "integrity", cwd=tmp_path, capture=capsys).returncode == 0
    (tmp_path / "artifacts" / "c3d.onnx").unlink()
    done = call("verify", "integrity", "--junit", "junit.xml", cwd=tmp_path, capture=capsys)
    assert done.returncode == 1
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.onnx", "no such file"),
        ("none.pth", "no such file"),
        ("c3d.txt", "not an exported file"),
        (".", "not a file"),
    ],
)
def test_what_is_no_artifact(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "c3d.txt").touch()
    with pytest.raises(ArtifactError, match=reason):
        verify_integrity([tmp_path / name])


def test_libraries_read_the_weights_bit_for_bit(narrow_artifacts: ExportResult) -> None:
    reports = verify_integrity([artifact.path for artifact in narrow_artifacts.artifacts], deep=True)
    assert [report.passed for report in reports] == [True] * len(narrow_artifacts.artifacts)
    for report in reports:
        assert {row.tensors for row in report.weights} == {report.tensors}


def test_a_library_that_reads_another_value(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(artifact: object) -> Iterator[tuple[str, bytes]]:
        for name, values in weight_readers._with_onnx(artifact):  # pyright: ignore
            array = np.frombuffer(values, np.float32).copy()
            if name == "conv1.weight":
                array[(4 * 3 + 1) * 27 + 5] += 1  # of (8, 3, 3, 3, 3)
            yield name, array.tobytes()

    monkeypatch.setitem(weight_readers.READERS, "onnx", {"onnx": read})
    (report,) = verify_integrity([onnx_file], deep=True)
    assert not report.passed
    assert report.weights[0].fault.startswith("conv1.weight[4, 1, 0, 1, 2] differs")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("form", "precision"),
    [
        ("onnx", "fp16"),
        ("onnx", "int8"),
        ("torchscript", "bf16"),
        ("pt2", "bf16"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
    ],
)
def test_libraries_read_weights_below_float32_bit_for_bit(
    form: FormatName, precision: ComputePrecision, tmp_path: Path
) -> None:
    if form == "openvino":
        pytest.importorskip("nncf" if precision == "int8" else "openvino", reason="pip install 'c3d-export[int8]'")
    request = ExportRequest(
        (form,),
        model=replace(NARROW, preprocess="mmaction2"),
        precision=PrecisionOptions(precision),
        output_dir=tmp_path,
        verify=False,
    )
    model = export(request).artifacts[0].path
    (report,) = verify_integrity([model], deep=True)
    assert report.passed
    assert report.weights
    assert {row.tensors for row in report.weights} == {report.tensors}
    tensor = max(FORMATS[form].read_stored(model).tensors or (), key=lambda stored: stored.length)
    with tensor.path.open("r+b") as stream:
        stream.seek(tensor.offset + tensor.length // 2)
        (value,) = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([value ^ 1]))
    (flipped,) = verify_integrity([model], deep=True)
    changed = f"1 weight with other values than {model.name}.json states by SHA-256: {tensor.name}"
    assert any(fault.endswith(changed) for fault in flipped.faults)


def test_a_missing_library_that_reads_weights_gives_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_readers, "find_spec", lambda _: None)  # pyright: ignore
    monkeypatch.setattr(weight_readers, "load_artifact", lambda *_: None)  # pyright: ignore
    manifest = replace(MANIFEST, format="openvino", tensors={})
    with pytest.raises(UnavailableError, match=r"openvino, which .*; pip install 'c3d-export\[openvino\]'"):
        weight_readers.read_weights(Path("c3d.xml"), manifest, LoadChecks())
