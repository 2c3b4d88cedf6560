"""File formats: what each reader returns, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import torch
from conftest import ExportedByCommand
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from helpers.built import checkpoint
from helpers.origins import write_caffe
from helpers.reference import CONVOLUTIONS
from onnx import TensorProto, helper, numpy_helper

from exporter.types import OptimizeRequest
from exporter.workflows.optimize import optimize
from models import build
from models.builder import BuiltModel, state_sha256
from models.checkpoints.readers import read_file
from models.errors import CheckpointError, UnavailableError
from models.options import BuildOptions

LAYERS = (*CONVOLUTIONS, "fc6", "fc7", "fc8")
SMALL = {
    f"{layer}.{parameter}": np.arange(6 if parameter == "weight" else 2, dtype=np.float32).reshape(
        (2, 3) if parameter == "weight" else (2,)
    )
    for layer in LAYERS
    for parameter in ("weight", "bias")
}


def refuse(path: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        read_file(path)
    assert str(path) in str(caught.value)


# ---- Caffe


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
    assert raw.tensors.keys() == SMALL.keys()
    for name, array in SMALL.items():
        assert np.array_equal(raw.tensors[name].numpy().reshape(array.shape), array)
        assert raw.tensors[name].dim() == (5 if schema == "C3D-v1.0" else 4)


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


# ---- Keras


def test_keras_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c3d.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UnavailableError, match=r"needs h5py; pip install 'c3d-export\[keras\]'"):
        read_file(tmp_path / "c3d.h5")


def external_link(file: h5py.File) -> None:
    file["conv1"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["conv1"] = h5py.SoftLink("/fc6")


def cycle(file: h5py.File) -> None:
    file["conv1"] = file["/"]


def external_storage(file: h5py.File) -> None:
    file.create_dataset("conv1/kernel", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("conv1/kernel", layout)


def reference(file: h5py.File) -> None:
    file.create_dataset("conv1/kernel", data=np.array([file.ref], dtype=h5py.ref_dtype))


def four_tebibytes(file: h5py.File) -> None:
    file.create_dataset("conv1/kernel", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


@pytest.mark.parametrize(
    ("build_file", "match"),
    [
        (external_link, "conv1 is a link to elsewhere"),
        (soft_link, "conv1 is a link to elsewhere"),
        (cycle, "holds itself"),
        (external_storage, "conv1/kernel keeps its values in another file"),
        (virtual, "conv1/kernel keeps its values in another file"),
        (reference, "conv1/kernel holds object, not plain numbers"),
        (four_tebibytes, "claims 4398046511104 bytes of arrays"),
    ],
)
def test_hdf5_is_not_followed_out_of_the_file(
    build_file: Callable[[h5py.File], None], match: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "c3d.h5", "w") as file:
        build_file(file)
    refuse(tmp_path / "c3d.h5", match)


def test_compressed_and_byte_swapped_arrays_are_read(tmp_path: Path) -> None:
    values = np.arange(2000, dtype=np.float32).reshape(40, 50)
    with h5py.File(tmp_path / "c3d.h5", "w") as file:
        file.create_dataset("fc6/kernel", data=values, chunks=(8, 8), compression="gzip")
        file.create_dataset("fc7/kernel", data=values.astype(">f4"))
    np.savez_compressed(
        tmp_path / "c3d.npz", packed=values, swapped=values.astype(">f4"), turned=np.asfortranarray(values)
    )
    np.savez(tmp_path / "plain.npz", plain=values, turned=np.asfortranarray(values), half=values.astype(np.float16))
    for name in ("c3d.h5", "c3d.npz", "plain.npz"):
        for tensor in read_file(tmp_path / name).tensors.values():
            assert np.array_equal(tensor.float().numpy(), values)


# ---- npz


def test_npz_never_unpickles(tmp_path: Path) -> None:
    np.savez(tmp_path / "c3d.npz", conv1=np.array([{"a": 1}], dtype=object))
    refuse(tmp_path / "c3d.npz", "conv1 holds object, not plain numbers; nothing is unpickled")


def test_a_zip_bomb_is_refused_by_its_claim(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", conv1=np.zeros(140_000_000, np.float32))
    refuse(tmp_path / "bomb.npz", "claims to unpack to far more than its own size")


# ---- ONNX


def test_an_exported_network_is_a_checkpoint(exported: ExportedByCommand, built: BuiltModel) -> None:
    again = build(BuildOptions(weights=exported.onnx))
    assert (checkpoint(again).container, checkpoint(again).layout, again.setting_sources["pool5"]) == (
        "ONNX",
        "identity",
        "file",
    )
    assert state_sha256(again.network) == state_sha256(built.network)


def test_an_optimised_network_keeps_its_weights_as_trained(
    exported: ExportedByCommand, built: BuiltModel, tmp_path: Path
) -> None:
    done = optimize(OptimizeRequest(exported.onnx, tmp_path / "fast.onnx", verify=False, measure=False))
    assert done.passes == ("winograd", "conv3d-as-conv2d", "cancel-transposes")
    again = build(BuildOptions(weights=done.path))
    assert again.settings == built.settings
    assert state_sha256(again.network) == state_sha256(built.network)


def model(path: Path, pool: dict[str, Any], **save: Any) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2, 2], strides=[2, 2, 2], **pool)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    weights = [numpy_helper.from_array(array, name) for name, array in SMALL.items()]
    shape = numpy_helper.from_array(np.array([1, 8192]), "a reshape's shape")
    graph = helper.make_graph([node], "g", info[:1], info[1:], [*weights, shape])
    onnx.save(helper.make_model(graph), str(path), **save)


@pytest.mark.parametrize(
    ("pool", "convention"),
    [
        ({"ceil_mode": 1}, "right"),
        ({"pads": [0, 0, 0, 0, 1, 1]}, "right"),
        ({"pads": [0, 1, 1, 0, 1, 1]}, "symmetric"),
        ({}, None),
    ],
)
def test_the_graph_tells_pool5(pool: dict[str, Any], convention: str | None, tmp_path: Path) -> None:
    model(tmp_path / "c3d.onnx", pool)
    raw = read_file(tmp_path / "c3d.onnx")
    assert raw.pool5 == convention
    assert raw.tensors.keys() == SMALL.keys()
    assert all(np.array_equal(raw.tensors[name].numpy(), array) for name, array in SMALL.items())


def test_onnx_external_data_stays_in_its_folder(tmp_path: Path) -> None:
    model(tmp_path / "c3d.onnx", {}, save_as_external_data=True, location="weights.bin", size_threshold=0)
    raw = read_file(tmp_path / "c3d.onnx")
    assert all(np.array_equal(raw.tensors[name].numpy(), array) for name, array in SMALL.items())
    assert raw.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    (tmp_path / "weights.bin").rename(tmp_path / "moved.bin")
    refuse(tmp_path / "c3d.onnx", "'weights.bin', which is not a file of its folder")
    (tmp_path / "weights.bin").symlink_to(tmp_path / "moved.bin")
    refuse(tmp_path / "c3d.onnx", "'weights.bin', which is not a file of its folder")
    content = (tmp_path / "c3d.onnx").read_bytes()
    (tmp_path / "c3d.onnx").write_bytes(content.replace(b"weights.bin", b"../../c.bin"))
    refuse(tmp_path / "c3d.onnx", "'../../c.bin', which is not a file of its folder")


# ---- pickles


def test_nothing_is_copied_that_can_be_mapped(tmp_path: Path) -> None:
    tensors = {"conv1.weight": torch.arange(10_000.0)}
    torch.save(tensors, tmp_path / "c3d.pth")
    tensor = read_file(tmp_path / "c3d.pth").tensors["conv1.weight"]
    address = tensor.data_ptr()
    with Path("/proc/self/maps").open() as maps:
        spans = [line for line in maps if line.rstrip().endswith("c3d.pth")]
    bounds = [[int(part, 16) for part in line.split()[0].split("-")] for line in spans]
    assert any(low <= address < high for low, high in bounds)
