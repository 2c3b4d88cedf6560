"""An artifact becomes a model of a Triton repository, or a further version of one; nothing of the user's is lost."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.code_files import own
from helpers.extras import needs_openvino
from helpers.framed import small
from helpers.pbtxt import parse
from helpers.run import call
from helpers.small_models import network

from exporter.artifacts.files import sha256_file
from exporter.errors import ArtifactError, BadInputError, OutputError, UsageError
from exporter.foreign_logging import import_openvino
from exporter.requests import ExportRequest
from exporter.triton.types import TritonRequest
from exporter.types import FormatName, ParityOptions, PrecisionOptions
from exporter.workflows.export import export
from exporter.workflows.integrity import verify_integrity
from exporter.workflows.triton import triton_repository
from exporter.workflows.verify import verify_parity
from models.built_model import BuiltModel
from models.preprocessing.profiles import PROFILES

NAMES = ("archery", "bowling", "café", "diving", "a class, with a comma")
QUICK = ParityOptions(input_types=("random",), samples=1)
PROFILE = next(profile for profile in PROFILES if profile.name == "mmaction2")
Make = Callable[..., Path]


def weighted(seed: int) -> BuiltModel:
    """The small network with its class names, and weights from a seed."""
    model = replace(small(PROFILE), class_names=NAMES)
    torch.manual_seed(seed)
    for parameter in model.network.parameters():
        parameter.data = torch.randn_like(parameter) / 30
    return model


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Export the small network, once for each set of options."""
    made: dict[str, Path] = {}

    def export_small(kind: FormatName = "onnx", seed: int = 0, **options: Any) -> Path:
        key = repr((kind, seed, sorted(options.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp("artifacts")
            request = ExportRequest((kind,), weighted(seed), output_dir=folder, name="clips", verify=False, **options)
            made[key] = export(request).artifacts[0].path
        return made[key]

    return export_small


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def parameters(folder: Path) -> dict[str, str]:
    found = parse((folder / "config.pbtxt").read_text())["parameters"]
    return {one["key"][0]: one["value"][0]["string_value"][0] for one in found}


def test_a_model_has_its_files_its_labels_and_its_hashes(make: Make, tmp_path: Path) -> None:
    artifact = make()
    result = triton_repository(TritonRequest(artifact, tmp_path / "models"))
    folder = tmp_path / "models" / "clips"
    assert (result.folder, result.version, result.is_new, result.backend) == (folder, 1, True, "onnxruntime")
    assert {path.relative_to(tmp_path).as_posix() for path in result.files} == files(tmp_path)
    assert files(tmp_path) == {
        f"models/clips/{name}" for name in ("config.pbtxt", "labels.txt", "1/model.onnx", "1/model.onnx.json")
    }
    assert (folder / "1" / "model.onnx").read_bytes() == artifact.read_bytes()
    assert (folder / "labels.txt").read_text("utf-8").splitlines() == [*NAMES]
    config = parse(result.config)
    assert [output.get("label_filename") for output in config["output"]] == [["labels.txt"], None]
    state = json.loads(artifact.with_suffix(".onnx.json").read_text())["network"]["state_sha256"]
    assert parameters(folder)["c3d_export.sha256.1"] == sha256_file(artifact)
    assert parameters(folder)["c3d_export.state_sha256.1"] == state


def test_the_copy_is_an_artifact_with_its_weights_beside_it(make: Make, tmp_path: Path) -> None:
    artifact = make(external_data=True)
    folder = triton_repository(TritonRequest(artifact, tmp_path)).folder
    copy = folder / "1" / "model.onnx"
    assert len(files(folder / "1")) == 3
    (report,) = verify_parity([copy], QUICK, reference=weighted(0))
    assert report.passed
    clips = np.random.default_rng(0).standard_normal((2, 3, 2, 112, 112), dtype=np.float32)
    scores = onnxruntime.InferenceSession(copy).run(["scores"], {"clip": clips})[0]
    assert np.asarray(scores).shape == (2, 5)


def test_frames_go_in_where_the_preprocessing_is_inside(make: Make, tmp_path: Path) -> None:
    result = triton_repository(TritonRequest(make(with_preprocess=True), tmp_path, backend="openvino", max_batch=2))
    (frames,) = parse(result.config)["input"]
    assert frames == {"name": ["frames"], "data_type": ["TYPE_UINT8"], "dims": [[2, -1, -1, 3]]}
    assert parameters(result.folder)["c3d_export.preprocessing"] == "mmaction2, inside the model"
    assert not any("--with-preprocess" in note for note in result.notes)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_torchscript(make: Make, tmp_path: Path) -> None:
    result = triton_repository(TritonRequest(make("torchscript"), tmp_path, name="script"))
    assert files(result.folder) == {"config.pbtxt", "labels.txt", "1/model.pt", "1/model.pt.json"}
    assert [output["name"] for output in parse(result.config)["output"]] == [["scores__0"], ["features__1"]]
    assert any(f"torch {torch.__version__.partition('+')[0]}" in note for note in result.notes)


@needs_openvino
@pytest.mark.parametrize(
    ("kind", "options", "max_batch"),
    [
        ("openvino", {}, None),
        ("openvino", {"with_preprocess": True}, 2),
        ("onnx", {}, None),
        ("onnx", {"with_preprocess": True}, 2),
    ],
)
def test_tritons_openvino_backend_accepts_the_model(
    kind: FormatName, options: dict[str, Any], max_batch: int | None, make: Make, tmp_path: Path
) -> None:
    """What `ValidateConfigureModel` of openvino_backend/src/openvino.cc compares: names, types, ranks and sizes."""
    openvino = import_openvino()
    request = TritonRequest(make(kind, **options), tmp_path, backend="openvino", max_batch=max_batch)
    result = triton_repository(request)
    config = parse(result.config)
    model = openvino.Core().read_model(str(result.folder / "1" / config["default_model_filename"][0]))
    prepared = openvino.preprocess.PrePostProcessor(model)
    assert [one["name"][0] for one in config["input"]] == [port.get_any_name() for port in model.inputs]
    for given in config["input"]:
        element = {"TYPE_FP32": openvino.Type.f32, "TYPE_UINT8": openvino.Type.u8}[given["data_type"][0]]
        prepared.input(given["name"][0]).tensor().set_element_type(element)
        if max_batch is not None:
            prepared.input(given["name"][0]).tensor().set_layout(openvino.Layout("N..."))
    model = prepared.build()
    if max_batch is not None:
        openvino.set_batch(model, max_batch)
    ports = {port.get_any_name(): port.partial_shape for port in model.outputs}
    assert [*ports] == [one["name"][0] for one in config["output"]]
    for found in config["output"]:
        sizes = [-1 if size.is_dynamic else size.get_length() for size in ports[found["name"][0]]]
        assert sizes == [*([max_batch] if max_batch is not None else []), *found["dims"][0]]


@needs_openvino
def test_an_openvino_model_keeps_its_weights_beside_it_and_says_what_triton_computes_in(
    make: Make, tmp_path: Path
) -> None:
    result = triton_repository(TritonRequest(make("openvino"), tmp_path))
    assert result.backend == "openvino"
    assert files(result.folder / "1") == {"model.xml", "model.bin", "model.xml.json"}
    (report,) = verify_integrity([result.folder / "1" / "model.xml"])
    assert report.passed
    assert any("bfloat16" in note for note in result.notes)
    lower = triton_repository(
        TritonRequest(make("openvino", precision=PrecisionOptions("bf16")), tmp_path, name="lower")
    )
    assert parameters(lower.folder)["HINT_BF16"] == "YES"
    assert not any("bfloat16" in note for note in lower.notes)


def test_a_fixed_batch(make: Make, tmp_path: Path) -> None:
    result = triton_repository(TritonRequest(make(batch=3), tmp_path))
    assert result.max_batch_size == 0
    assert parse(result.config)["input"][0]["dims"] == [[3, 3, 2, 112, 112]]
    assert any("fixed at 3" in note for note in result.notes)


def test_another_artifact_of_the_same_model_is_the_next_version(make: Make, tmp_path: Path) -> None:
    triton_repository(TritonRequest(make(), tmp_path))
    again = triton_repository(TritonRequest(make(), tmp_path, max_batch=4))
    assert (again.version, again.is_new, again.max_batch_size) == (1, False, 4)
    second = triton_repository(TritonRequest(make(seed=1), tmp_path))
    assert (second.version, second.is_new) == (2, True)
    tenth = triton_repository(TritonRequest(make(seed=2), tmp_path, version=10))
    assert {path.name for path in tenth.folder.iterdir()} == {"1", "2", "10", "config.pbtxt", "labels.txt"}
    hashes = {key: value for key, value in parameters(tenth.folder).items() if key.startswith("c3d_export.sha256")}
    assert hashes == {
        f"c3d_export.sha256.{number}": sha256_file(make(seed=seed)) for number, seed in ((1, 0), (2, 1), (10, 2))
    }


def test_a_version_that_is_there_is_replaced_only_when_asked(make: Make, tmp_path: Path) -> None:
    folder = triton_repository(TritonRequest(make(), tmp_path)).folder
    with pytest.raises(UsageError, match=r"it becomes 2, or --overwrite replaces it"):
        triton_repository(TritonRequest(make(seed=1), tmp_path, version=1))
    assert (folder / "1" / "model.onnx").read_bytes() == make().read_bytes()
    triton_repository(TritonRequest(make(seed=1), tmp_path, version=1, overwrite=True))
    assert (folder / "1" / "model.onnx").read_bytes() == make(seed=1).read_bytes()
    assert {path.name for path in folder.iterdir()} == {"1", "config.pbtxt", "labels.txt"}


@pytest.mark.parametrize("case", ["another signature", "another's config", "another format"])
def test_another_model_is_replaced_only_when_asked(case: str, make: Make, tmp_path: Path) -> None:
    folder = triton_repository(TritonRequest(make(), tmp_path)).folder
    if case == "another's config":
        (folder / "config.pbtxt").write_text('name: "clips"\n')
    if case == "another format":
        (folder / "1" / "model.onnx").rename(folder / "1" / "model.plan")
    artifact = make(outputs=("features",)) if case == "another signature" else make(seed=1)
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    with pytest.raises(UsageError, match="choose another --name, or --overwrite replaces the model"):
        triton_repository(TritonRequest(artifact, tmp_path))
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    replaced = triton_repository(TritonRequest(artifact, tmp_path, overwrite=True))
    assert (folder / "1" / "model.onnx").read_bytes() == artifact.read_bytes()
    assert (replaced.version, {path.name for path in tmp_path.iterdir()}) == (1, {"clips"})


def test_a_disk_that_fills_leaves_the_model_as_it_was(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = triton_repository(TritonRequest(make(), tmp_path / "models")).folder
    before = {name: (folder / name).read_bytes() for name in files(tmp_path / "models" / "clips")}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    for request in (
        TritonRequest(make(seed=1), tmp_path / "models"),
        TritonRequest(make(), tmp_path / "models", "new"),
    ):
        with pytest.raises(OutputError, match="No space left"):
            triton_repository(request)
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["clips"]


def test_a_configuration_that_was_edited_is_kept(make: Make, tmp_path: Path) -> None:
    folder = triton_repository(TritonRequest(make(), tmp_path)).folder
    edited = (folder / "config.pbtxt").read_text().replace("5000", "77")
    (folder / "config.pbtxt").write_text(edited)
    result = triton_repository(TritonRequest(make(seed=1), tmp_path, max_batch=2))
    assert (result.version, result.config) == (2, edited) == (2, (folder / "config.pbtxt").read_text())
    assert any("edited" in note for note in result.notes)
    assert not {"config.pbtxt", "labels.txt"} & {path.name for path in result.files}


def test_a_foreign_onnx_file_with_labels(tmp_path: Path) -> None:
    network(tmp_path / "net.onnx")
    (tmp_path / "names.txt").write_text("".join(f"class {n}\n" for n in range(7)))
    request = TritonRequest(tmp_path / "net.onnx", tmp_path / "models", labels=tmp_path / "names.txt")
    result = triton_repository(request)
    assert result.max_batch_size == 8
    assert files(result.folder) == {"config.pbtxt", "labels.txt", "1/model.onnx"}
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(UsageError, match="2 names"):
        triton_repository(replace(request, name="other"))
    assert not (tmp_path / "models" / "other").exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"backend": "pytorch"}, UsageError),
        ({"name": "../up"}, UsageError),
        ({"name": ""}, UsageError),
        ({"version": 0}, UsageError),
        ({"labels": Path("nowhere.txt")}, BadInputError),
        ({"artifact": Path("nowhere.onnx")}, ArtifactError),
        ({"max_batch": -1}, UsageError),
    ],
)
def test_a_refusal_writes_nothing(change: dict[str, Any], error: type[Exception], make: Make, tmp_path: Path) -> None:
    with pytest.raises(error):
        triton_repository(replace(TritonRequest(make(), tmp_path / "models"), **change))
    assert not (tmp_path / "models").exists() or not any((tmp_path / "models").iterdir())


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_file_without_a_manifest_is_refused(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.ReLU()).save(tmp_path / "net.pt")
    with pytest.raises(ArtifactError, match="does not state its inputs and outputs"):
        triton_repository(TritonRequest(own(tmp_path / "net.pt"), tmp_path / "models"))


def test_the_command_prints_what_it_wrote(make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(make().parent, tmp_path / "a")
    command = ("c3d-export", "triton", "a/clips.onnx", "-o", "models", "--preferred-batch", "2,4", "--threads", "2")
    done = call(*command, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stderr) == (0, "")
    assert "model    clips, version 1, onnxruntime, batches of up to 8" in done.stdout
    shown = json.loads(call(*command, "--json", cwd=tmp_path, capture=capfd).stdout)
    assert (shown["name"], shown["version"], shown["is_new"]) == ("clips", 1, False)
    assert parse(shown["config"])["model_warmup"][1]["batch_size"] == [2]
    assert call(*command, "--instances", "0", cwd=tmp_path, capture=capfd).returncode == 2
