"""caffemodels: both schemas are read, and what is no network is refused."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from helpers.loaded import load_tensors
from helpers.origins import write_caffe
from helpers.protobuf_bytes import delimited, varint
from helpers.small_files import LAYERS, SMALL, refuse

from models.checkpoints.readers import read_file
from models.errors import BadInputError
from models.preprocessing.mean import load_mean


def published_schema(schema: str) -> Callable[[], Any]:
    """A NetParameter class made by protobuf itself of the field numbers that the project published."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{schema}.proto", package=schema.replace("-", "").replace(".", ""), syntax="proto2"
    )
    kind = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: tuple[str, int, Any, bool, str | None]) -> None:
        made = file.message_type.add(name=name)
        for field, number, type_, repeated, type_name in fields:
            added = made.field.add(name=field, number=number, type=type_)
            added.label = kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
            if repeated and type_ != kind.TYPE_MESSAGE:
                added.options.packed = True
            if type_name:
                added.type_name = f".{file.package}.{type_name}"

    sizes = (
        ("num", "channels", "length", "height", "width")
        if schema == "C3D-v1.0"
        else ("num", "channels", "height", "width")
    )
    after = len(sizes) + 1
    blob = [(size, place, kind.TYPE_INT32, False, None) for place, size in enumerate(sizes, start=1)]
    blob += [("data", after, kind.TYPE_FLOAT, True, None), ("diff", after + 1, kind.TYPE_FLOAT, True, None)]
    message("BlobProto", *blob)
    message("Layer", ("name", 4, kind.TYPE_STRING, False, None), ("blobs", 6, kind.TYPE_MESSAGE, True, "BlobProto"))
    message("NetParameter", ("name", 1, kind.TYPE_STRING, False, None), ("layers", 2, kind.TYPE_MESSAGE, True, "Layer"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.NetParameter"))


@pytest.mark.parametrize("dims", [(0, 1 << 63), (0, 1 << 40, 1 << 40), (1,) * 65, ((1 << 64) - 1,) * 30_000], ids=len)
def test_a_shape_that_no_tensor_has(dims: tuple[int, ...], tmp_path: Path) -> None:
    values = b"" if 0 in dims else bytes(4)
    blob = delimited(5, values) + delimited(7, delimited(1, b"".join(map(varint, dims))))
    (tmp_path / "mean.binaryproto").write_bytes(blob)
    started = time.process_time()
    with pytest.raises(BadInputError, match=f"mean.binaryproto: the blob claims {len(dims)} axes or sizes"):
        load_mean(tmp_path / "mean.binaryproto")
    assert time.process_time() - started < 1  # the product of so many sizes would take a minute


def test_a_shape_of_millions_of_axes_is_refused_before_it_is_held(tmp_path: Path) -> None:
    (tmp_path / "mean.binaryproto").write_bytes(delimited(5, bytes(4)) + delimited(7, (b"\x08\x01") * 500_000))
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match="more than 65,536 axes"):
            load_mean(tmp_path / "mean.binaryproto")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("schema", ["C3D-v1.0", "BVLC"])
def test_caffe_as_protobuf_itself_writes_it(schema: str, tmp_path: Path) -> None:
    net = published_schema(schema)()
    net.name = "DeepVideo"
    for layer in LAYERS:
        added = net.layers.add(name=layer)
        for parameter in ("weight", "bias"):
            array = SMALL[f"{layer}.{parameter}"]
            blob = added.blobs.add(num=1, channels=1)
            blob.height, blob.width = ((1,) * 2 + array.shape)[-2:]
            if schema == "C3D-v1.0":
                blob.length = 1
            blob.data.extend(array.reshape(-1))
            blob.diff.extend(array.reshape(-1) * 0)
    (tmp_path / "net").write_bytes(net.SerializeToString())
    raw = read_file(tmp_path / "net")
    assert raw.container == f"caffemodel ({schema} schema)"
    assert load_tensors(raw).keys() == SMALL.keys()
    for name, array in SMALL.items():
        assert np.array_equal(load_tensors(raw)[name].numpy().reshape(array.shape), array)
        assert load_tensors(raw)[name].dim() == (5 if schema == "C3D-v1.0" else 4)


def test_a_caffe_mean_file_is_no_network(tmp_path: Path) -> None:
    blob = b"\x08\x01\x10\x03\x18\x10\x20\x80\x01\x28\xab\x01"  # num 1, channels 3, length 16, height 128, width 171
    (tmp_path / "mean.binaryproto").write_bytes(blob + b"\x32\x04" + bytes(4))
    refuse(tmp_path / "mean.binaryproto", r"a mean file \(.binaryproto\), not a network's weights")


def test_caffe_claims_beyond_the_file(tmp_path: Path) -> None:
    write_caffe(tmp_path / "net.caffemodel", SMALL, "C3D-v1.0")
    content = (tmp_path / "net.caffemodel").read_bytes()
    (tmp_path / "net.caffemodel").write_bytes(b"\x12\xff\xff\xff\xff\x07" + content)
    refuse(tmp_path / "net.caffemodel", "not a valid caffemodel, or truncated")
    (tmp_path / "net.caffemodel").write_bytes(b"\x12\x04\x33\x33\x33\x33")  # groups within groups
    refuse(tmp_path / "net.caffemodel", "groups are not")
