"""OpenVINO, where it is installed."""

from importlib import import_module
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from helpers import small_models
from onnx import TensorProto

from exporter.engines import ENGINES, find_engine
from exporter.engines.base import RuntimeOptions
from exporter.engines.openvino import open_model
from exporter.errors import ArtifactError, CheckFailedError
from exporter.types import ParityOptions
from exporter.workflows.verify import verify_parity

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return small_models.network(tmp_path / "m.onnx")


@pytest.fixture
def openvino() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is an extra: pip install 'c3d-export[openvino]'")


@pytest.mark.usefixtures("openvino")
def test_it_answers_as_the_others(path: Path) -> None:
    with open_model(path, RuntimeOptions()) as runtime, find_engine("onnx").open(path, RuntimeOptions()) as other:
        assert runtime.description.startswith("OpenVINO 20")
        assert runtime.signature == other.signature
        assert (runtime.placement.device, runtime.placement.fallback_nodes) == ("cpu", ())
        assert runtime.placement.nodes > 0
        mine, theirs = runtime.run({"x": X})["scores"], other.run({"x": X})["scores"]
    assert np.abs(mine - theirs).max() < 1e-5  # bfloat16, its own default here and there, would be 1e-2 off


@pytest.mark.usefixtures("openvino")
def test_a_report_with_layers_and_determinism(path: Path, tmp_path: Path) -> None:
    options = ParityOptions(against=path, engine="openvino", localize=True, determinism=True)
    (report,) = verify_parity([path], options)
    assert report.passed
    assert report.localization is not None
    assert [layer.layer for layer in report.localization.layers if layer.value] == [*small_models.LAYERS]
    assert "nan" not in {row.input for row in report.comparisons}
    assert any("is not run on nan: it is known to differ there" in note for note in report.notes)
    assert report.determinism[0].identical
    fault = small_models.network(tmp_path / "f.onnx", change=small_models.scaled("w2", 1.001))
    (failed,) = verify_parity([fault], options)
    assert failed.localization is not None
    assert (failed.passed, failed.localization.first) == (False, "conv2")


@pytest.mark.usefixtures("openvino")
def test_bfloat16_in_and_out(path: Path, tmp_path: Path) -> None:
    model = onnx.load(small_models.narrowed(path, tmp_path / "h.onnx", TensorProto.BFLOAT16))
    del model.graph.node[0], model.graph.node[-1]
    for value in (*model.graph.input, *model.graph.output):
        value.name, value.type.tensor_type.elem_type = f"{value.name}.low", TensorProto.BFLOAT16
    onnx.save(model, tmp_path / "h.onnx")
    with (
        open_model(tmp_path / "h.onnx", RuntimeOptions()) as runtime,
        find_engine("onnx").open(path, RuntimeOptions()) as other,
    ):
        mine, theirs = runtime.run({"x.low": X.astype(ml_dtypes.bfloat16)}), other.run({"x": X})
    assert np.abs(mine["scores.low"] - theirs["scores"]).max() < 0.1


@pytest.mark.usefixtures("openvino")
def test_what_it_refuses_is_told_in_a_line(path: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x0a bad")
    with (
        pytest.raises(ArtifactError, match="OpenVINO rejects it: ") as caught,
        open_model(tmp_path / "bad.onnx", RuntimeOptions()),
    ):
        pass
    assert "\n" not in str(caught.value)
    with (
        open_model(path, RuntimeOptions()) as runtime,
        pytest.raises(CheckFailedError, match="fails in OpenVINO: ") as failed,
    ):
        runtime.run({"x": X[:, :2]})
    assert "\n" not in str(failed.value)


@pytest.mark.usefixtures("openvino")
def test_fixed_shapes_give_the_same_outputs_at_every_batch_size(path: Path) -> None:
    fixed = RuntimeOptions(threads=1, input_shapes={"x": (2, 3, 8, 8)})
    with open_model(path, fixed) as runtime, find_engine("onnx").open(path, RuntimeOptions()) as other:
        kept: list[np.ndarray] = []
        for batch in (X, X[:1], X):  # another batch size, and back
            mine, theirs = runtime.run({"x": batch})["scores"], other.run({"x": batch})["scores"]
            assert np.allclose(mine, theirs, atol=1e-5)
            kept.append(mine)
    assert np.array_equal(kept[0], kept[2])
    assert np.allclose(kept[1], kept[0][:1], atol=1e-5)


@pytest.mark.usefixtures("openvino")
def test_outputs_are_not_overwritten_by_the_next_run(path: Path) -> None:
    with open_model(path, RuntimeOptions()) as runtime:
        first = runtime.run({"x": X})["scores"]
        copy = first.copy()
        runtime.run({"x": X + 1})
    assert np.array_equal(first, copy)


@pytest.mark.usefixtures("openvino")
def test_without_a_hint_it_computes_in_what_the_library_chooses(path: Path) -> None:
    """For `bench`: what a user gets who says nothing, stated in the engine's description."""
    core = import_module("openvino").Core()
    compiled = core.compile_model(core.read_model(str(path)), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    with ENGINES["openvino-default"].open(path, RuntimeOptions()) as runtime:
        assert runtime.description.endswith(f"(cpu, its default: {chosen})")
        mine = runtime.run({"x": X})["scores"]
    assert np.array_equal(mine, compiled({"x": X})["scores"])


@pytest.mark.usefixtures("openvino")
def test_a_model_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    openvino, opset13 = pytest.importorskip("openvino"), pytest.importorskip("openvino.opset13")

    x = opset13.parameter([2, 3], np.float32, name="x")
    ends = [opset13.constant(np.float32(end)) for end in (0, 1)]
    noise = opset13.random_uniform(opset13.constant([2, 3]), *ends, "f32", 0, 0)
    noise.set_friendly_name("noise")
    model = openvino.Model([opset13.result(opset13.add(x, noise))], [x])
    openvino.save_model(model, str(tmp_path / "m.xml"), compress_to_fp16=False)
    with open_model(tmp_path / "m.xml", RuntimeOptions()) as runtime:
        assert runtime.random_node == "noise (RandomUniform)"
