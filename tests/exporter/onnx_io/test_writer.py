"""Files as the writer leaves them."""

import errno
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from helpers import small_models
from helpers.graphs import graph, make_model, node, normal
from onnx import TensorProto, helper
from onnx.external_data_helper import uses_external_data

from exporter.errors import C3DExportError, OutputError, UsageError
from exporter.onnx_io import writer
from exporter.onnx_io.reader import read_model
from exporter.onnx_io.writer import temporary_file, write_onnx

value = helper.make_tensor_value_info
FLOAT, DOUBLE, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16


@pytest.mark.parametrize("external", [False, True])
def test_written_model_returns_the_same_and_no_temporary_file_is_left(external: bool, tmp_path: Path) -> None:
    source = onnx.load(small_models.network(tmp_path / "small.onnx"))
    (tmp_path / "out").mkdir()
    written = write_onnx(ir.from_proto(source), tmp_path / "out", "check.onnx", external_data=external)
    assert written[0] == tmp_path / "out" / "check.onnx"
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    x = {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)}
    first, second = (
        onnxruntime.InferenceSession(path).run(None, x)[0] for path in (tmp_path / "small.onnx", written[0])
    )
    assert np.array_equal(np.asarray(first), np.asarray(second))
    for tensor in onnx.load(written[0], load_external_data=False).graph.initializer:
        assert bool(tensor.external_data) == (external and tensor.name in ("w2", "w3"))


@pytest.mark.parametrize("external", [False, True])
def test_small_tensors_and_text_stay_in_the_message(external: bool, tmp_path: Path) -> None:
    """Shape inference reads the small ones, and text has no bytes that could be mapped."""
    weights = {"shape": np.array([0, 40]), "large": normal(40, 40), "words": np.array(["word"] * 400, object)}
    nodes = [node("Reshape", "x shape", "r"), node("MatMul", "r large", "y"), node("Identity", "words", "w")]
    outputs = [value("y", FLOAT, ("n", 40)), value("w", TensorProto.STRING, (400,))]
    model = make_model(nodes, [value("x", FLOAT, ("n", 8, 5))], outputs, weights, 17)
    path, *_ = write_onnx(ir.from_proto(model), tmp_path, "m.onnx", external_data=external)
    message = onnx.load(path, load_external_data=False)
    elsewhere = {tensor.name for tensor in message.graph.initializer if uses_external_data(tensor)}
    assert elsewhere == ({"large"} if external else set())
    for tensor in onnx.load(path).graph.initializer:
        assert np.array_equal(onnx.numpy_helper.to_array(tensor), weights[tensor.name])


def test_weights_that_one_message_cannot_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = graph([node("MatMul", "x w", "y")], {"x": ("n", 40)}, {"y": ("n", 40)}, {"w": normal(40, 40)}, 17)
    monkeypatch.setattr(writer, "MAX_MESSAGE_BYTES", (1 << 20) + 6000)  # the weight alone has 6,400
    with pytest.raises(UsageError, match="--external-data"):
        write_onnx(ir.from_proto(made), tmp_path, "m.onnx", external_data=False)
    assert write_onnx(ir.from_proto(made), tmp_path, "m.onnx", external_data=True)[0].is_file()


def test_a_full_disk_for_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_model(small_models.network(tmp_path / "small.onnx"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def write_bytes(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OutputError, match=f"{tmp_path / 'temporary'}: No space left on device"), temporary_file(model):
        pass
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_temporary_file_is_the_model_for_the_block(tmp_path: Path) -> None:
    source = small_models.network(tmp_path / "small.onnx")
    model = read_model(source)
    with temporary_file(model) as path:
        found = onnx.load(path)
        assert path.parent != tmp_path
    assert not path.parent.exists()
    for tensor in found.graph.initializer:
        held = model.graph.initializers[tensor.name].const_value
        assert held is not None
        for values in (onnx.numpy_helper.to_array(tensor), held.numpy()):
            assert np.array_equal(values, small_models.weights()[tensor.name])


@pytest.mark.parametrize("external", [False, True])
def test_a_size_that_onnx_infers_wrongly_is_checked_as_it_is(external: bool, tmp_path: Path) -> None:
    pool = node("MaxPool", "x", "y", kernel_shape=[1], strides=[3], ceil_mode=1)  # onnx alone infers 3 windows
    right = ir.from_proto(graph([pool], {"x": (1, 1, 5)}, {"y": (1, 1, 2)}, {}, 11))
    assert write_onnx(right, tmp_path, "m.onnx", external_data=external)[0].is_file()
    wrong = ir.from_proto(graph([pool], {"x": (1, 1, 5)}, {"y": (1, 1, 3)}, {}, 11))
    with pytest.raises(C3DExportError, match="checker"):
        write_onnx(wrong, tmp_path, "w.onnx", external_data=external)
