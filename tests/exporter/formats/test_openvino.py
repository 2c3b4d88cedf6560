"""OpenVINO models: two files that any OpenVINO loads, with the manifest inside."""

import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.exported import NARROW
from helpers.extras import needs_openvino
from helpers.framed import small
from helpers.openvino_files import MODEL, save

from exporter.artifacts.files import sha256_file
from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.errors import ArtifactError, IntegrityError, OutputError, UnavailableError, UsageError
from exporter.formats import FORMATS, bfloat16, load_artifact, openvino_cpu, openvino_model, runtime_options
from exporter.openvino_ir import read_ir
from exporter.requests import ExportRequest
from exporter.types import OptimizeOptions, ParityOptions, PrecisionOptions
from exporter.workflows.export import ExportResult, export
from exporter.workflows.export_checks import check_request
from exporter.workflows.inspect import inspect
from exporter.workflows.verify import verify_parity
from models.built_model import BuiltModel
from models.preprocessing.profiles import JFZHANG95


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The narrow network, in float32 and verified."""
    return export(ExportRequest(("openvino",), NARROW, output_dir=tmp_path_factory.mktemp("openvino")))


@pytest.fixture
def copied(written: ExportResult, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    for path in written.artifacts[0].files:
        shutil.copy(path, tmp_path)
    return tmp_path / "c3d.xml"


@needs_openvino
def test_the_files_and_what_they_state(written: ExportResult) -> None:
    (artifact,), (report,) = written.artifacts, written.reports
    assert [path.name for path in artifact.files] == ["c3d.xml", "c3d.bin", "c3d.xml.json"]
    assert report.passed
    assert report.engine.startswith("OpenVINO 20")
    assert {row.input for row in report.comparisons} >= {"random", "saturated"}
    manifest = artifact.manifest
    assert manifest.options["inference_precision_hint"] == "f32"
    assert {*manifest.versions} == {"torch", "onnx", "onnx-ir", "onnxscript", "openvino"}
    assert FORMATS["openvino"].read_embedded(artifact.path) == manifest.embedded()
    model = read_ir(artifact.path)
    assert model.signature == manifest.signature
    assert {constant.name for constant in model.constants} >= {"conv1.weight", "fc8.weight"}


@needs_openvino
def test_openvino_alone_loads_it_and_returns_what_the_network_returns(
    written: ExportResult, narrow: BuiltModel
) -> None:
    openvino = pytest.importorskip("openvino")

    compiled = openvino.Core().compile_model(str(written.artifacts[0].path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    clips = np.random.default_rng(5).standard_normal((3, 3, 16, 48, 48), np.float32)
    returned = compiled({"clip": clips})["logits"]
    with torch.inference_mode():
        expected = narrow.network(torch.from_numpy(clips)).numpy()
    assert np.abs(returned - expected).max() < 1e-5 * np.abs(expected).max()


def _without_manifest(path: Path) -> str:
    return re.sub('<manifest value="[^"]*"', "", path.read_text(encoding="utf-8"))


@needs_openvino
def test_bfloat16_is_the_same_file_opened_with_a_hint(
    written: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, although OpenVINO numbers its layers by a counter of the process."""
    monkeypatch.setattr(bfloat16, "cpu_features", partial(frozenset, {"avx2"}))
    result = export(
        ExportRequest(("openvino",), NARROW, output_dir=tmp_path, precision=PrecisionOptions("bf16", min_snr=25.0))
    )
    (artifact,), (report,) = result.artifacts, result.reports
    float32 = written.artifacts[0]
    assert sha256_file(artifact.files[1]) == sha256_file(float32.files[1])
    assert _without_manifest(artifact.path) == _without_manifest(float32.path)
    assert report.passed
    assert "INFERENCE_PRECISION_HINT bf16" in report.engine
    assert any(note.startswith("openvino: this processor") for note in result.notes)
    assert runtime_options(load_artifact(artifact.path)).precision == "bf16"
    assert inspect(artifact.path).facts["compile with"] == "INFERENCE_PRECISION_HINT=bf16"


@needs_openvino
def test_float16_storage_halves_the_weights(written: ExportResult, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")

    path = written.artifacts[0].path
    stored, weights = openvino_model.save(openvino.Core().read_model(str(path)), tmp_path, "m", "{}", compress=True)
    assert weights.stat().st_size < 0.51 * path.with_suffix(".bin").stat().st_size
    assert read_ir(stored).precision == "float16"
    assert read_ir(stored).rt_info["c3d_export", "weights_sha256"] == sha256_file(weights)


@needs_openvino
@pytest.mark.parametrize(("free", "message"), [(0, "No space left on device"), (1 << 40, "iostream error")])
def test_a_disk_that_takes_no_model_is_an_output_error(
    free: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(openvino, "save_model", refuse)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1 << 41, free=free))
    with pytest.raises(OutputError, match=message):
        export(ExportRequest(("openvino",), NARROW, output_dir=tmp_path, verify=False))
    assert not list(tmp_path.iterdir())


@needs_openvino
def test_inspect_shows_the_graph_and_the_compile_option(written: ExportResult) -> None:
    found = inspect(written.artifacts[0].path)
    assert (found.kind, found.integrity) == ("OpenVINO model", "ok")
    assert found.facts["operators"].startswith("11 Add, 8 Convolution, 3 MatMul, 5 MaxPool")
    assert found.facts["weights file"] == "float32, in c3d.bin"
    assert found.facts["compile with"] == "INFERENCE_PRECISION_HINT=f32"


@needs_openvino
@pytest.mark.parametrize("beside", [True, False])
def test_the_weights_of_another_model_are_an_integrity_error(copied: Path, beside: bool) -> None:
    if not beside:
        copied.with_name("c3d.xml.json").unlink()
    assert load_artifact(copied).manifest is not None
    weights = bytearray(copied.with_suffix(".bin").read_bytes())
    weights[100] ^= 1
    copied.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(IntegrityError, match="c3d.bin"):
        load_artifact(copied)
    assert "which is of another model" in inspect(copied).facts["weights file"]
    assert "c3d.bin" in str(inspect(copied).integrity)  # exit code 1
    copied.with_suffix(".bin").unlink()
    with pytest.raises(IntegrityError, match="c3d.bin.*missing"):
        load_artifact(copied)


@needs_openvino
def test_localization_names_the_layer_of_a_fault(copied: Path) -> None:
    """The padding of one convolution's time is all at the end."""
    copied.with_name("c3d.xml.json").unlink()
    before, found, after = copied.read_text(encoding="utf-8").partition('name="conv3a/WithoutBiases"')
    for old, new in (("begin", "0, 1, 1"), ("end", "2, 1, 1")):
        after = after.replace(f'pads_{old}="1, 1, 1"', f'pads_{old}="{new}"', 1)
    copied.write_text(before + found + after, encoding="utf-8")
    (report,) = verify_parity([copied], ParityOptions(input_types=("random",), localize=True))
    assert not report.passed
    assert report.localization is not None
    assert report.localization.first == "conv3a"


@needs_openvino
def test_the_graph_that_is_faster_here_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The times are made up: which graph wins depends on the network and the processor."""
    made_up = {"Winograd tiles up to 4": 1.0, "the portable graph": 2.0}
    monkeypatch.setattr(openvino_cpu, "measure", lambda *_: made_up)
    request = ExportRequest(("openvino",), NARROW, output_dir=tmp_path, optimize=OptimizeOptions(target="cpu"))
    (artifact,), (report,) = (result := export(request)).artifacts, result.reports
    assert report.passed
    assert artifact.manifest.options["variant"] == "Winograd tiles up to 4"
    assert artifact.manifest.options["measured"] == ["Winograd tiles up to 4: 1 ms", "the portable graph: 2 ms"]
    assert read_ir(artifact.path).operators["GroupConvolution"] > 0, "a transformed convolution's frequencies"


@needs_openvino
def test_preprocessing_is_computed_in_float32_whatever_the_hint(tmp_path: Path) -> None:
    """In bfloat16, whose numbers above 128 are whole, pixels between two others would be wrong by up to one half."""
    request = ExportRequest(
        ("openvino",),
        small(JFZHANG95),
        output_dir=tmp_path,
        name="m",
        precision=PrecisionOptions("bf16"),
        with_preprocess=True,
        verify=False,
    )
    path = export(request).artifacts[0].path
    assert re.match(r"OpenVINO \d", inspect(path).facts["producer"])
    frames = np.random.default_rng(2).integers(0, 256, (1, 2, 130, 180, 3), dtype=np.uint8)
    returned: list[np.ndarray] = []
    for precision in ("fp32", "bf16"):
        with find_engine("openvino").open(path, RuntimeOptions(precision=precision)) as runtime:
            returned.append(runtime.run({"frames": frames})["features"].astype(np.float64))
    exact, low = returned
    assert np.sum((low - exact) ** 2) < 10**-4.5 * np.sum(exact**2), "below 45 dB"


@needs_openvino
def test_an_openvino_model_is_no_float64_reference(written: ExportResult) -> None:
    path = written.artifacts[0].path
    with pytest.raises(UsageError, match="nothing computes openvino files in float64"):
        verify_parity([path], ParityOptions(against=path))


@needs_openvino
def test_another_tools_model_is_read_by_its_graph(copied: Path) -> None:
    openvino = pytest.importorskip("openvino")

    other = copied.with_name("other.xml")
    openvino.save_model(openvino.Core().read_model(str(copied)), str(other))
    text = other.read_text(encoding="utf-8")
    start = text.index("<c3d_export>")
    other.write_text(text[:start] + text[text.index("</c3d_export>") + len("</c3d_export>") :], encoding="utf-8")
    loaded = load_artifact(other)
    assert loaded.manifest is None
    assert "not stated" in inspect(other).facts["compile with"]
    with find_engine("openvino").open(other, runtime_options(loaded)) as runtime:
        assert runtime.signature == read_ir(copied).signature
        assert runtime.precision == "float16"  # save_model compresses unless told otherwise


def test_without_the_library_a_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.formats.openvino.find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match=r"pip install 'c3d-export\[openvino\]'"):
        check_request(ExportRequest(("openvino",), NARROW))


def test_what_openvino_does_not_store_is_refused() -> None:
    request = ExportRequest(("openvino",), NARROW, optimize=OptimizeOptions(weight_dtype="int8"))
    with pytest.raises(UsageError, match="--weight-dtype int8 is an option of --format onnx"):
        check_request(request)
    with pytest.raises(UsageError, match="--precision fp16 .* no faster"):
        check_request(replace(request, optimize=OptimizeOptions(), precision=PrecisionOptions("fp16")))


def test_a_damaged_file_is_an_artifact_error(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_text("<net>")
    (tmp_path / "m.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match="m.xml: not an OpenVINO model"):
        load_artifact(tmp_path / "m.xml")


def test_another_tools_model_without_its_weights_is_described_and_not_run(tmp_path: Path) -> None:
    path = save(tmp_path, MODEL.replace("{weight}", "f32"))
    path.with_suffix(".bin").unlink(missing_ok=True)
    with pytest.raises(ArtifactError, match="m.bin, which is missing; copy both files"):
        load_artifact(path)
    found = inspect(path)
    assert found.integrity is None
    assert "m.bin, which is missing" in found.facts["weights file"]
