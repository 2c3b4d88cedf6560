"""Files as the writer leaves them."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from helpers import small_models
from helpers.graphs import graph, node
from onnx import TensorProto, helper

from exporter.errors import C3DExportError
from exporter.onnx_io.reader import read_model
from exporter.onnx_io.writer import write_onnx

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


def test_mapped_weights_do_not_stay_in_memory_once_they_are_written(tmp_path: Path) -> None:
    values = np.arange(4096, dtype=np.float32)
    model = graph([node("Add", "x w", "y")], {"x": (4096,)}, {"y": (4096,)}, {"w": values})
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    for external in (True, False):
        read = read_model(tmp_path / "m.onnx")
        tensor = read.graph.initializers["w"].const_value
        assert isinstance(tensor, ir.ExternalTensor)
        path, *_ = write_onnx(read, tmp_path / "out", "m.onnx", external_data=external)
        assert tensor.raw is None
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]), values)


@pytest.mark.parametrize("external", [False, True])
def test_a_size_that_onnx_infers_wrongly_is_checked_as_it_is(external: bool, tmp_path: Path) -> None:
    pool = node("MaxPool", "x", "y", kernel_shape=[1], strides=[3], ceil_mode=1)  # onnx alone infers 3 windows
    right = ir.from_proto(graph([pool], {"x": (1, 1, 5)}, {"y": (1, 1, 2)}, {}, 11))
    assert write_onnx(right, tmp_path, "m.onnx", external_data=external)[0].is_file()
    wrong = ir.from_proto(graph([pool], {"x": (1, 1, 5)}, {"y": (1, 1, 3)}, {}, 11))
    with pytest.raises(C3DExportError, match="checker"):
        write_onnx(wrong, tmp_path, "w.onnx", external_data=external)
