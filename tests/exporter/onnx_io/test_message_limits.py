"""A model's messages are counted before the protobuf library makes objects of them."""

from pathlib import Path

import onnx
import pytest
from helpers import small_models
from onnx import helper

from exporter.errors import ArtifactError
from exporter.onnx_io import message_limits
from exporter.onnx_io.load import load_with_weights, load_without_weights
from exporter.onnx_io.message_limits import check_fields
from models.protobuf_wire import WireError, encode_varint, field_header

MAX_FIELDS = 10_000
PAD = field_header(14, 0)
"""An empty entry of the metadata: two bytes of a file, a message in memory."""


@pytest.fixture(autouse=True)
def few_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is 600,000; counting so many takes a second."""
    monkeypatch.setattr(message_limits, "MAX_FIELDS", MAX_FIELDS)


def delimited(*path: int, inside: bytes) -> bytes:
    for number in reversed(path):
        inside = field_header(number, len(inside)) + inside
    return inside


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PAD * (MAX_FIELDS + 1), id="metadata"),
        pytest.param(delimited(7, 1, inside=field_header(5, 0) * (MAX_FIELDS + 1)), id="attributes of a node"),
        pytest.param(delimited(7, 1, inside=field_header(1, 0) * (MAX_FIELDS + 1)), id="inputs of a node"),
        pytest.param(delimited(7, 1, 5, inside=b"\x40\x00" * (MAX_FIELDS + 1)), id="integers, not packed"),
        pytest.param(delimited(7, 1, 5, 8, inside=bytes(33 * MAX_FIELDS)), id="integers, packed"),
    ],
)
def test_more_fields_than_any_model_has(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(small_models.network(tmp_path / "n.onnx").read_bytes() + content)
    for load in (load_without_weights, load_with_weights):
        with pytest.raises(ArtifactError, match="more than 10,000 fields|bytes of packed numbers"):
            load(path)


def test_messages_inside_one_another() -> None:
    inside = bytes(2 * MAX_FIELDS)
    inside = field_header(999, len(inside)) + inside  # an unknown field, so that the file is large enough to count
    for _ in range(40):  # a graph of an attribute of a node of a graph
        inside = delimited(1, 5, 6, inside=inside)
    with pytest.raises(WireError, match="more than 100 deep"):
        check_fields(field_header(7, len(inside)) + inside)


def test_weights_do_not_count() -> None:
    weights = helper.make_tensor("w", onnx.TensorProto.FLOAT, [10 * MAX_FIELDS], bytes(40 * MAX_FIELDS), raw=True)
    model = onnx.ModelProto(graph=onnx.GraphProto(initializer=[weights]))
    check_fields(model.SerializeToString() + encode_varint(1 << 3) + b"\x08")
