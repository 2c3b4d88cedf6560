"""Valid inputs that fuzzing begins with, and tokens that it may put in."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import pickle
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from helpers.checkpoint_files import ARRAYS, TENSORS, WRITERS
from helpers.hostile_pickles import hostile_pickles
from helpers.manifests import MANIFEST

READER_FILES = {
    "caffe": ("c3d.caffemodel",),
    "onnx": ("c3d.onnx", "chain.onnx"),
    "tensorflow-v1": ("c3d.model",),
    "tensorflow-index": ("ckpt.index",),
    "mxnet": ("c3d.params",),
    "npz": ("c3d.npz", "packed.npz"),
    "torch": ("c3d.pth", "old.pth"),
    "safetensors": ("c3d.safetensors",),
}
"""{target: the helper's files of its format}."""
TOKENS = {
    "pickle": (
        b"\x80\x02",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"\x95",
        b"\x94",
        b"\x93",
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"cnumpy\nndarray\n",
        b"cnumpy\ndtype\n",
        b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n",
        b"cbuiltins\nrange\n",
        b"c_codecs\nencode\n",
        b"X\x05\0\0\0",
        b"cbuiltins\ngetattr\n",
        b"cbuiltins\nslice\n",
        b"cbuiltins\ncomplex\n",
        b"cbuiltins\nbytearray\n",
        b"(t",
        b"tR",
        b"ccopyreg\n_reconstructor\n",
        b"ccollections\ndefaultdict\n",
        b"}(",
        b"\x8a\x08",
        b"G@\0\0\0\0\0\0\0",
        b"Q",
        b"ctorch.storage\n_load_from_bytes\n",
        b"ctorch._tensor\n_rebuild_from_type_v2\n",
        b"cbuiltins\nset\n",
        b"ctorch\nFloatStorage\n",
        b"\x8f",
    ),
    "json": (b'"version":', b'"options":', b"null", b"[]", b"{}", b"-1", b"1e999", b'"\\ud800"', b"9223372036854"),
    "xml": (b"<layer ", b"<port ", b"<dim>-1</dim>", b"<edge ", b"<rt_info>", b'value="', b"<!DOCTYPE x>", b'id="'),
}


def seeds(name: str, folder: Path) -> Iterator[bytes]:
    """Yield the first inputs of a target.

    Args:
        name: of the target.
        folder: for temporary files.
    """
    for file in READER_FILES.get(name, ()):
        WRITERS[file](folder / file)
        yield (folder / file).read_bytes()
    yield from _SEEDS.get(name, lambda: iter([b"\0"]))()


def tokens(name: str) -> tuple[bytes, ...]:
    """Return the tokens for a target."""
    if name in ("pickle", "pickles", "torch-zip-pickle", "torch-tar", "npy", "npz-member"):
        return TOKENS["pickle"]
    return TOKENS["xml" if name == "openvino-ir" else "json"] if name in _TEXTS else ()


def _pickles() -> Iterator[bytes]:
    values = (
        {"w": ARRAYS["conv1.bias"], "n": 3, "f": [0.5, None, True], "t": ("a", b"b", {1, 2}), "c": 1j},
        OrderedDict(a=np.float64(3), b=np.arange(3), c=range(3), d=slice(1, 2), e=bytearray(b"x"), f=frozenset([1])),
        np.array(["a", "bc"]),
        np.array([{"a": np.arange(4)}], dtype=object),
        np.asfortranarray(ARRAYS["fc6.weight"]),
    )
    for protocol in range(6):
        for value in values:
            yield pickle.dumps(value, protocol)
    stream = io.BytesIO()
    torch.save(TENSORS, stream, _use_new_zipfile_serialization=False)
    yield stream.getvalue()
    yield from (data for number, (_, data) in enumerate(hostile_pickles()) if number % 37 == 0)
    try:
        joblib = importlib.import_module("joblib")
    except ImportError:
        return
    stream = io.BytesIO()
    joblib.dump(ARRAYS, stream)
    yield stream.getvalue()


def _torch_zip() -> Iterator[bytes]:
    from zipfile import ZipFile

    contents = (
        {"w": torch.zeros(4), "b": torch.ones(2)[:1], "p": torch.nn.Parameter(torch.zeros(2, 3))},
        {"h": torch.zeros(3, dtype=torch.bfloat16), "i": torch.arange(3), "q": torch.zeros(2, dtype=torch.complex64)},
        torch.nn.Linear(2, 2).state_dict(),
        {"model": torch.nn.Linear(2, 2)},
    )
    for content in contents:
        stream = io.BytesIO()
        torch.save(content, stream)
        with ZipFile(stream) as archive:
            yield archive.read("archive/data.pkl")


def _torch_tar() -> Iterator[bytes]:
    import struct

    kind = b"(K\x07X\x03\0\0\0cpuctorch\nFloatStorage\nt."
    one, views = pickle.dumps(1, 2), pickle.dumps([(8, 7, 1, 2)], 2)
    storages = one + kind + struct.pack("<q4f", 4, 1, 2, 3, 4) + views
    tensors = one + pickle.dumps((9, 7, None), 2) + struct.pack("<5q", 1, 4, 1, 0, 0)
    parts = (storages, tensors, b"}X\x01\0\0\0aX\x01\0\0\09Qs.")
    yield b"".join(struct.pack("<H", len(part)) for part in parts) + b"".join(parts)


def _npy() -> Iterator[bytes]:
    for array in (*ARRAYS.values(), np.asfortranarray(ARRAYS["fc6.weight"]), np.array([{"a": 1}], dtype=object)):
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        yield stream.getvalue()


def _archives() -> Iterator[bytes]:
    import bz2
    import lzma
    import zlib

    content = pickle.dumps(ARRAYS["conv1.bias"])
    yield from (gzip.compress(content), bz2.compress(content), lzma.compress(content), zlib.compress(content))
    for mode in ("w", "w:gz", "w:xz"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
            entry = tarfile.TarInfo("folder/c3d.pth")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        yield stream.getvalue()


def _binaryproto() -> Iterator[bytes]:
    from helpers.origins import bvlc_blob, c3d_blob

    mean = np.ones((1, 3, 2, 2, 2), np.float32)
    yield from (c3d_blob(mean), bvlc_blob(mean))


def _manifests() -> Iterator[bytes]:
    yield MANIFEST.to_json().encode()
    yield replace(MANIFEST, class_names=("a", "b"), options={"raised_layers": ["a fp16 3 dB"]}).to_json().encode()
    old = {"version": 1, "network": {}, "weights": {"source": "file"}, "options": {"tune": True}, "parity": {}}
    yield json.dumps(old).encode()


def _irs() -> Iterator[bytes]:
    yield (
        b'<?xml version="1.0"?><net name="m" version="11"><layers><layer id="0" name="x" type="Parameter"><output>'
        b'<port id="0" precision="FP32" names="x"><dim>-1</dim><dim>3</dim></port></output></layer>'
        b'<layer id="1" name="w" type="Const"><data element_type="f32" shape="3,2"/></layer>'
        b'<layer id="2" name="y" type="Result"/></layers><edges>'
        b'<edge from-layer="0" from-port="0" to-layer="2"/></edges>'
        b'<rt_info><c3d_export><manifest value="{}"/></c3d_export></rt_info></net>'
    )


def _decisions() -> Iterator[bytes]:
    yield b'{"rewritten":true,"max_tile":4,"autotune":true,"raise_opset":false,"times":{"a":{"b":1.5}},"version":1}'


def _key_maps() -> Iterator[bytes]:
    from helpers.checkpoint_files import LAYERS

    shapes = {layer: "64 3 3 3 3" if layer.startswith("conv") else "64 64" for layer in LAYERS}
    yield "\n".join(["fc8=regressor\tconv1=stem", *(f"m.{layer}.weight {shapes[layer]}" for layer in LAYERS)]).encode()


def _names() -> Iterator[bytes]:
    yield from (
        b"a\nb\nc\n",
        b"1 a\n2 b\n",
        b'["a","b"]',
        b'{"0":"a","1":"b"}',
        b'{"a":0,"b":1}',
        b"\xef\xbb\xbfa\r\nb",
    )


def _profiles_json() -> Iterator[bytes]:
    from models.preprocessing.files import format_profile
    from models.preprocessing.profiles import PROFILES

    yield from (format_profile(profile).encode() for profile in PROFILES)


def _profiles_toml() -> Iterator[bytes]:
    yield b'channels = "RGB"\nscale = 1.0\nmean = [1.0, 2.0, 3.0]\nresize = [171, 128]\nstd = [1.0, 1.0, 1.0]\n'


_TEXTS = ("manifest", "openvino-ir", "decisions", "class-names", "profile-json")
_SEEDS = {
    "pickle": _pickles,
    "pickles": _pickles,
    "torch-zip-pickle": _torch_zip,
    "torch-tar": _torch_tar,
    "npy": _npy,
    "npz-member": _npy,
    "archives": _archives,
    "binaryproto": _binaryproto,
    "manifest": _manifests,
    "openvino-ir": _irs,
    "decisions": _decisions,
    "key-map": _key_maps,
    "class-names": _names,
    "profile-json": _profiles_json,
    "profile-toml": _profiles_toml,
}
