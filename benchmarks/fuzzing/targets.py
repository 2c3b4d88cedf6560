"""What is fuzzed: a function that takes the bytes of a file, and the errors with which it may refuse them."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.errors import C3DExportError

CODECS = ("import ('encodings.",)
Parse = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        name: of the target, and of its folder of inputs.
        parse: takes any bytes.
        modules: whose lines count as its coverage.
        share: of the whole time, relative to other targets.
        expected: errors that refuse an input.
        allowed: starts of events that it may cause. NumPy parses a header as a Python literal, which is compiled and
            never run; the text of JSON and of names in zip archives decides between Python's own codecs.
    """

    name: str
    parse: Parse
    modules: tuple[str, ...]
    share: float = 1.0
    expected: tuple[type[Exception], ...] = (C3DExportError,)
    allowed: tuple[str, ...] = ()


def targets(folder: Path) -> dict[str, Target]:
    """Return every target; `folder` is where files are written for parsers that read them."""
    every = (*_pickles(), *_readers(folder), *_texts(folder))
    return {target.name: target for target in every}


def _pickles() -> tuple[Target, ...]:
    from models.checkpoints.pickles.errors import PickleError
    from models.checkpoints.pickles.reader import read_pickle, read_pickles, read_torch_tar, read_torch_zip
    from models.checkpoints.pickles.torch_tar import MEMBERS

    errors = (C3DExportError, PickleError)
    where = "models/checkpoints/pickles/"
    storage = memoryview(bytes(range(256)) * 16)

    def torch_zip(data: bytes) -> object:
        find = {"0": storage, "1": storage[:40], "2": storage[:8]}.get
        return _load(read_torch_zip(memoryview(data), find, len(data) + len(storage), big_endian=False).content)

    def torch_tar(data: bytes) -> object:
        """Split the input into the members by three lengths of two bytes."""
        members, at = dict[str, memoryview](), 2 * len(MEMBERS)
        for place, name in enumerate(MEMBERS):
            size = int.from_bytes(data[2 * place : 2 * place + 2], "little")
            members[name] = memoryview(data)[at : at + size]
            at += size
        return _load(read_torch_tar(members, len(data)).content)

    return (
        Target("pickle", lambda data: _load(read_pickle(memoryview(data)).content), (where,), 4, errors),
        Target("torch-zip-pickle", torch_zip, (where,), 3, errors),
        Target("torch-tar", torch_tar, (f"{where}torch_tar.py", f"{where}storages.py"), 1, errors),
        Target("pickles", lambda data: read_pickles({"a": memoryview(data)}, len(data)), (where,), 0.5, errors),
    )


def _load(content: object) -> object:
    """Return the tensors in what was read, made by torch."""
    from models.checkpoints.contents import flatten
    from models.checkpoints.tensors import load_tensor

    return [load_tensor(tensor) for tensor in flatten(content).tensors.values()]


def _readers(folder: Path) -> tuple[Target, ...]:
    from models.checkpoints.readers import SUFFIXES
    from models.checkpoints.readers.archives import open_inside
    from models.checkpoints.readers.base import MappedFile, ReadResult, open_mapped
    from models.checkpoints.readers.caffe import looks_like_caffe, read_blob, read_caffe
    from models.checkpoints.readers.mxnet import read_mxnet
    from models.checkpoints.readers.npy import read_npy
    from models.checkpoints.readers.npz import read_npz
    from models.checkpoints.readers.onnx import read_onnx
    from models.checkpoints.readers.safetensors import read_safetensors
    from models.checkpoints.readers.tensorflow import read_tf_checkpoint
    from models.checkpoints.readers.torch import read_torch

    where = "models/checkpoints/readers/"

    def from_file(name: str, use: Callable[[MappedFile], object]) -> Parse:
        path = folder / name

        def parse(data: bytes) -> object:
            path.write_bytes(data or b"\0")
            with open_mapped(path) as file:
                result = use(file)
                return _load(result.content) if isinstance(result, ReadResult) else result

        return parse

    def inside(file: MappedFile) -> object:
        with open_inside(file, SUFFIXES) as inner:
            return inner.size

    def blob(file: MappedFile) -> object:
        return looks_like_caffe(file), _load(read_blob(file))

    def zipped(data: bytes) -> object:
        """Put the input into an archive as an array, so that its CRC is right."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("conv1.weight.npy", data)
        return parse_npz(content.getvalue())

    parse_npz = from_file("fuzz.npz", read_npz)
    wire = "models/protobuf_wire.py"
    return (
        Target("caffe", from_file("fuzz.caffemodel", read_caffe), (f"{where}caffe.py", wire), 2),
        Target("binaryproto", from_file("fuzz.binaryproto", blob), (f"{where}caffe.py", wire)),
        Target(
            "onnx", from_file("fuzz.onnx", read_onnx), (f"{where}onnx.py", wire, "models/checkpoints/metadata.py"), 3
        ),
        Target("tensorflow-v1", from_file("fuzz.model", read_tf_checkpoint), (f"{where}tensorflow.py", wire), 2),
        Target("tensorflow-index", from_file("ckpt.index", read_tf_checkpoint), (f"{where}tensorflow.py", wire), 2),
        Target("mxnet", from_file("fuzz.params", read_mxnet), (f"{where}mxnet.py",), 2),
        Target("npy", from_file("fuzz.npy", read_npy), (f"{where}npy.py",), allowed=("compile",)),
        Target("npz-member", zipped, (f"{where}npz.py",), 2, allowed=("compile",)),
        Target("npz", parse_npz, (f"{where}npz.py", f"{where}zip_archive.py"), allowed=("compile", *CODECS)),
        Target(
            "torch", from_file("fuzz.pth", read_torch), (f"{where}torch.py", f"{where}zip_archive.py"), allowed=CODECS
        ),
        Target(
            "safetensors", from_file("fuzz.safetensors", read_safetensors), (f"{where}safetensors.py",), allowed=CODECS
        ),
        Target(
            "archives",
            from_file("fuzz.tar.gz", inside),
            (f"{where}archives.py", f"{where}compressions.py"),
            2,
            allowed=CODECS,
        ),
    )


def _texts(folder: Path) -> tuple[Target, ...]:
    from exporter.artifacts.manifest import Manifest
    from exporter.openvino_ir import read_ir
    from exporter.passes.decisions import DecisionRecord
    from models.checkpoints.key_map import parse_key_map, suggest_key_map
    from models.class_names.reading import read_names
    from models.preprocessing.files import read_profile

    def from_path(name: str, read: Callable[[Path], object]) -> Parse:
        path = folder / name

        def parse(data: bytes) -> object:
            path.write_bytes(data)
            return read(path)

        return parse

    def manifest(data: bytes) -> object:
        read = Manifest.from_json(data)
        if Manifest.from_json(read.to_json()) != read:
            raise AssertionError("a manifest that is read is not written as it was")
        return read.raised_layers, read.clip_size, read.precision, read.min_snr, read.embedded()

    def ir(path: Path) -> object:
        model = read_ir(path)
        return model.signature, model.operators, model.constants, model.precision

    def key_map(data: bytes) -> object:
        """A line of names, then a line of `name dim dim …` for each tensor."""
        first, *rest = data.decode("utf-8", "replace").split("\n")
        lines = [line.split(" ") for line in rest]
        shapes = {
            line[0]: tuple(int(size) for size in line[1:] if size.isdecimal() and len(size) < 9) for line in lines
        }
        suggest_key_map(shapes)
        return parse_key_map(first.split("\t")).find(shapes)

    return (
        Target("manifest", manifest, ("exporter/artifacts/manifest_fields.py", "exporter/artifacts/manifest_v1.py"), 2),
        Target("openvino-ir", from_path("fuzz.xml", ir), ("exporter/openvino_ir.py",), 2),
        Target("decisions", lambda data: DecisionRecord.from_json(data, "f"), ("exporter/passes/decisions.py",), 0.5),
        Target("key-map", key_map, ("models/checkpoints/key_map.py",)),
        Target("class-names", from_path("fuzz.txt", read_names), ("models/class_names/reading.py",)),
        Target("profile-json", from_path("fuzz.json", read_profile), ("models/preprocessing/files.py",), 0.5),
        Target("profile-toml", from_path("fuzz.toml", read_profile), ("models/preprocessing/files.py",), 0.5),
    )


def prepare(folder: Path) -> None:
    """Write what the files under test refer to."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(folder)
    (folder / "ckpt.data-00000-of-00001").write_bytes(bytes(range(256)) * 16)
