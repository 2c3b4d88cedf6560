"""OpenVINO models in int8, quantised by NNCF on calibration clips."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.framed import small

from exporter.errors import UnavailableError
from exporter.formats.openvino_int8 import METHODS, Quantizer
from exporter.formats.openvino_model import save
from exporter.openvino_ir import read_ir
from exporter.requests import ExportRequest
from exporter.types import PrecisionOptions
from exporter.workflows.export import ExportResult, export
from exporter.workflows.export_checks import check_request
from exporter.workflows.inspect import inspect
from models.preprocessing.profiles import JFZHANG95

needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="NNCF is an extra: pip install 'c3d-export[int8]'")
INT8 = PrecisionOptions("int8", min_snr=25.0)


def request(folder: Path, precision: PrecisionOptions = INT8, *, with_preprocess: bool = False) -> ExportRequest:
    return ExportRequest(
        ("openvino",),
        small(JFZHANG95),
        output_dir=folder,
        name="m",
        precision=precision,
        verify=False,
        with_preprocess=with_preprocess,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return export(request(tmp_path_factory.mktemp("int8")))


def snr_db(values: np.ndarray, exact: np.ndarray) -> float:
    return 10 * float(np.log10(np.sum(exact**2) / np.sum((values - exact) ** 2)))


@needs_nncf
@pytest.mark.heavy
def test_a_quantised_network_is_as_accurate_as_stated(written: ExportResult) -> None:
    openvino = pytest.importorskip("openvino")

    (artifact,) = written.artifacts
    options = artifact.manifest.options
    assert options["weight_dtype"] == "int8"
    assert options["range_method"] in METHODS
    assert "nncf" in artifact.manifest.versions
    assert "raised_layers" not in options
    assert read_ir(artifact.path).precision == "int8"
    assert (
        inspect(artifact.path).facts["compile with"]
        == f"INFERENCE_PRECISION_HINT={options['inference_precision_hint']}"
    )
    hint = {"INFERENCE_PRECISION_HINT": str(options["inference_precision_hint"])}
    compiled = openvino.Core().compile_model(str(artifact.path), "CPU", hint)
    clips = np.random.default_rng(8).standard_normal((4, 3, 2, 112, 112)).astype(np.float32) * 60
    with torch.inference_mode():
        expected = small(None).network.double()(torch.from_numpy(clips).double())[0].numpy()
    found = snr_db(compiled({"clip": clips})["scores"], expected)
    assert 20 < found < 60, "worse than its kind, or not in int8"


@needs_nncf
@pytest.mark.heavy
def test_a_raised_layer_keeps_its_weights(written: ExportResult, tmp_path: Path) -> None:
    float32 = export(request(tmp_path, PrecisionOptions())).artifacts[0].path
    openvino = pytest.importorskip("openvino")

    clips = np.random.default_rng(1).standard_normal((2, 3, 2, 112, 112)).astype(np.float32)
    quantize = Quantizer(openvino.Core().read_model(str(float32)), clips)
    assert quantize.layers == ["conv", "fc"]
    for raised, kept in ((frozenset[str](), set[str]()), (frozenset({"conv"}), {"conv.weight"})):
        path, _ = save(quantize("NNCF's default", raised), tmp_path, "q", "", compress=False)
        dtypes = {one.name: one.dtype for one in read_ir(path).constants if len(one.shape) > 1}
        assert {name for name, dtype in dtypes.items() if name.endswith(".weight") and dtype == "float32"} == kept
        assert sum(dtype == "int8" for dtype in dtypes.values()) == 2 - len(kept)


@needs_nncf
@pytest.mark.heavy
def test_layers_are_raised_until_the_ratio_holds_and_are_named(tmp_path: Path) -> None:
    (artifact,) = export(request(tmp_path, PrecisionOptions("int8", min_snr=48.0))).artifacts
    raised = artifact.manifest.options["raised_layers"]
    assert isinstance(raised, list)
    assert raised
    assert all(str(row).split(":")[0] in ("conv", "fc") for row in raised)


@needs_nncf
@pytest.mark.heavy
def test_preprocessing_goes_in_front_of_the_quantised_network(written: ExportResult, tmp_path: Path) -> None:
    (artifact,) = export(request(tmp_path, with_preprocess=True)).artifacts
    model, network = read_ir(artifact.path), read_ir(written.artifacts[0].path)
    assert model.signature.inputs[0].dtype == "uint8"
    assert model.operators["FakeQuantize"] == network.operators["FakeQuantize"]
    assert model.rt_info[("Runtime_version",)] == network.rt_info[("Runtime_version",)]


def test_without_nncf_a_line_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.formats.openvino.find_spec", lambda name: None if name == "nncf" else name)
    with pytest.raises(UnavailableError, match=r"nncf not installed; pip install 'c3d-export\[int8\]'"):
        check_request(request(tmp_path))
