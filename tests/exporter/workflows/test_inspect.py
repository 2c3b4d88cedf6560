"""`inspect()` says what a file is, without running anything of it."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import small_models
from helpers.checkpoints import constant_state, narrow_state
from helpers.exported import ExportedByCommand
from helpers.mxnet_params import write_params
from onnx import TensorProto, helper
from rich.console import Console
from safetensors.torch import save_file

from exporter.artifacts.files import sha256_file
from exporter.errors import ArtifactError, CheckpointError
from exporter.reports.inspection import print_inspection
from exporter.workflows.export import ExportResult
from exporter.workflows.inspect import inspect
from models.builder import build
from models.options import BuildOptions
from models.preprocessing.profiles import NOT_KNOWN

State = dict[str, torch.Tensor]


def test_an_onnx_artifact(exported: ExportedByCommand) -> None:
    found = inspect(exported.onnx)
    assert (found.kind, found.integrity, found.sha256) == ("ONNX model", "ok", sha256_file(exported.onnx))
    assert found.facts["operators"] == "8 Conv, 3 Gemm, 5 MaxPool, 10 Relu, 1 Reshape"
    assert found.facts["signature"].startswith("clip float32 (batch, 3, 16, 112, 112)")
    assert "78,409,573 parameters" in found.facts["network"]
    assert found.facts["weights"] == "random, seed 0"
    assert {tensor.name: tensor.shape for tensor in found.tensors}["fc6.weight"] == (4096, 8192)


def test_a_torchscript_artifact_by_its_manifest(exported: ExportedByCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.jit, "load", lambda *_: pytest.fail("the archive was loaded"))  # pyright: ignore
    found = inspect(exported.torchscript.with_name("c3d.pt.json"))
    assert (found.path, found.kind, found.integrity) == (str(exported.torchscript), "TorchScript archive", "ok")
    assert found.facts["producer"] == "c3d-export 0.1.0"


def test_a_changed_artifact(narrow_artifacts: ExportResult, tmp_path: Path) -> None:
    for path in narrow_artifacts.artifacts[0].files:
        shutil.copy(path, tmp_path)
    changed = tmp_path / "c3d.onnx"
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    assert "is not the file that c3d.onnx.json describes" in str(inspect(changed).integrity)


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (lambda s: s, "yes: 22 of 22 tensors, 487 classes"),
        (lambda s: {k: v.half() for k, v in s.items()}, "yes: 22 of 22 tensors, 487 classes, converted from float16"),
        (lambda s: {k: v for k, v in s.items() if k != "fc7.bias"}, "no: 1 of 22 tensors is missing: fc7.bias"),
    ],
)
def test_a_checkpoint(change: Callable[[State], State], reported: str, tmp_path: Path) -> None:
    torch.save({"state_dict": change(constant_state())}, tmp_path / "c3d.pth")
    found = inspect(tmp_path / "c3d.pth")
    assert found.kind == "checkpoint, torch zip"
    assert "tensors, float" in found.facts["holds"]
    assert found.facts["layout"].startswith("identity: ")
    assert found.facts["loads"].split("; unless")[0] == reported


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    torch.save({"layer1.weight": torch.zeros(3, 4)}, tmp_path / "other.pth")
    found = inspect(tmp_path / "other.pth")
    assert found.facts["layout"] == "none"
    assert found.facts["loads"].startswith("no: its tensors are not those of any known C3D layout")
    assert "command" not in found.facts
    assert [str(tensor) for tensor in found.tensors] == ["layer1.weight float32 (3, 4)"]


def test_preprocessing_is_that_of_the_network_s_clips(tmp_path: Path) -> None:
    flow = narrow_state()
    flow["conv1.weight"] = flow["conv1.weight"][:, :2]
    torch.save(flow, tmp_path / "flow.pth")
    assert inspect(tmp_path / "flow.pth").facts["preprocessing"] == "none for clips of 2 channels"
    pooled = {name: value for name, value in narrow_state().items() if name.startswith("conv")}
    pooled |= {"fc8.weight": torch.ones(5, 16), "fc8.bias": torch.ones(5)}
    torch.save(pooled, tmp_path / "pooled.pth")
    options = BuildOptions(layout="jfzhang95-training", input_size=(3, 16, 160, 160))
    assert "244x183, centre crop 160" in inspect(tmp_path / "pooled.pth", options=options).facts["preprocessing"]


def test_a_checkpoint_whose_preprocessing_is_not_known_says_what_to_add(tmp_path: Path) -> None:
    torch.save(narrow_state(), tmp_path / "c3d.pth")
    found = inspect(tmp_path / "c3d.pth")
    assert found.facts["preprocessing"] == NOT_KNOWN
    assert "--preprocess NAME|FILE" in NOT_KNOWN
    built = build(BuildOptions(weights=tmp_path / "c3d.pth"))
    assert f"the preprocessing is {NOT_KNOWN}" in built.notes
    named = build(BuildOptions(weights=tmp_path / "c3d.pth", preprocess="mmaction2"))
    assert not any("preprocessing" in note for note in named.notes)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        inspect(tmp_path / "none")
    with pytest.raises(ArtifactError, match="not a file"):
        inspect(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(CheckpointError, match="unknown checkpoint format"):
        inspect(tmp_path / "x.txt")


def test_a_data_file_that_is_missing_is_named(tmp_path: Path) -> None:
    model = onnx.load(small_models.network(tmp_path / "source.onnx"))
    onnx.save(model, path := tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert inspect(path).facts["external data"] == "m.data"
    (tmp_path / "m.data").unlink()
    assert inspect(path).facts["external data"] == "m.data (missing)"


FORGED = (
    "a\nintegrity  the manifest beside it describes this file\n\x1b[2K\x1b[1A\x1b[31mloads     yes: 22 of 22 tensors"
)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "onnx", "params", "npz"])
def test_names_in_a_file_cannot_forge_what_inspect_prints(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c3d\x1b[2K.{suffix}"
    match suffix:
        case "safetensors":
            save_file({FORGED: torch.ones(1)}, path)
        case "pth":
            torch.save({FORGED: torch.ones(1)}, path)
        case "onnx":
            weight = helper.make_tensor(FORGED, TensorProto.FLOAT, [1], [1.0])
            node = helper.make_node("Identity", [FORGED], ["y"], name=FORGED)
            output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
            onnx.save(helper.make_model(helper.make_graph([node], FORGED, [], [output], [weight])), path)
        case "params":
            write_params(path, {FORGED: np.ones(1, np.float32)})
        case _:
            np.savez(path, allow_pickle=False, **{FORGED: np.ones(1, np.float32)})
    shown = io.StringIO()
    print_inspection(inspect(path), Console(file=shown, width=400))
    printed = shown.getvalue()
    assert printed.replace("\n", "").isprintable()
    assert "a\\nintegrity" in printed
    assert not any(line.startswith("integrity") for line in printed.splitlines())
    assert not any(line.startswith("loads") and "no:" not in line for line in printed.splitlines())


def test_hashes_of_weights_are_in_the_manifest_beside_the_file(narrow_artifacts: ExportResult, tmp_path: Path) -> None:
    path = narrow_artifacts.artifacts[0].path
    assert "by SHA-256" in inspect(path).facts["weight hashes"]
    shutil.copy(path, tmp_path / "alone.onnx")
    assert "manifest beside the file" in inspect(tmp_path / "alone.onnx").facts["weight hashes"]
