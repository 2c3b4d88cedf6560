"""Every format of torch's files, and every way of writing a tensor, read as `torch.load` reads it."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.loaded import load_content
from torch import Tensor, nn

from models.checkpoints.dtypes import FLOAT16
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import PickleContent, read_pickle, read_torch_zip

NUMBERS = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.complex32),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint32),
    *(torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
]

FORMATS = [
    ("zip", 2),
    *[("legacy", protocol) for protocol in range(1, 6)],
    *[("zip", protocol) for protocol in (3, 4, 5)],
]


def save(content: object, kind: str = "zip", protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, pickle_protocol=protocol, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


def read(file: bytes, *, big_endian: bool = False) -> PickleContent:
    """Read a file of any of the formats, as `readers.torch` does."""
    data = bytearray(file)
    if not file.startswith(b"PK"):
        return read_pickle(memoryview(data))
    archive = zipfile.ZipFile(io.BytesIO(file))
    (main,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    members = {name: memoryview(bytearray(archive.read(name))) for name in archive.namelist()}
    folder = main.removesuffix("data.pkl")
    return read_torch_zip(
        members[main], lambda key: members.get(f"{folder}data/{key}"), len(data), big_endian=big_endian
    )


def content(value: object, kind: str = "zip", protocol: int = 2) -> Any:
    return load_content(read(save(value, kind, protocol)).content)


def same(found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors are equal bit by bit and have the same dtype, shape and strides."""
    if (found.dtype, found.shape, found.stride()) != (wanted.dtype, wanted.shape, wanted.stride()):
        return False
    found, wanted = (value.resolve_conj().resolve_neg().contiguous().reshape(-1) for value in (found, wanted))
    return found.numel() == 0 or torch.equal(found.view(torch.uint8), wanted.view(torch.uint8))


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype: torch.dtype, kind: str) -> None:
    tensor = NUMBERS.to(dtype)
    assert same(content({"w": tensor}, kind)["w"], tensor)


LAYOUTS = {
    "contiguous": NUMBERS,
    "transposed": NUMBERS.permute(2, 0, 1),
    "strided": NUMBERS[:, ::2, 1:],
    "from the middle": NUMBERS[1],
    "expanded": torch.tensor([[1.5]]).expand(1000, 70),
    "one number": torch.tensor(2.0),
    "empty": torch.empty(0, 3),
    "empty slice": NUMBERS[2:],
    "conjugate": torch.complex(NUMBERS, NUMBERS + 1).conj(),
    "negative": torch.complex(NUMBERS, NUMBERS + 1).conj().imag,
    "channels last": torch.arange(48.0).reshape(1, 2, 2, 3, 4).to(memory_format=torch.channels_last_3d),
    "parameter": nn.Parameter(NUMBERS),
    "overlapping": torch.as_strided(NUMBERS, (3, 4), (1, 1)),
}


@pytest.mark.parametrize(("kind", "protocol"), FORMATS)
def test_every_layout_in_every_format(kind: str, protocol: int) -> None:
    found = content(LAYOUTS, kind, protocol)
    assert list(found) == list(LAYOUTS)
    for name, tensor in LAYOUTS.items():
        assert same(found[name], tensor.detach()), name


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_what_shared_a_storage_still_does(kind: str) -> None:
    found = content({"tied": NUMBERS, "other": NUMBERS, "row": NUMBERS[1]}, kind)
    addresses = {found[name].untyped_storage().data_ptr() for name in found}
    assert len(addresses) == 1


def test_tensors_are_views_of_the_file() -> None:
    file = save({"w": NUMBERS})
    data = memoryview(bytearray(NUMBERS.numpy().tobytes()))
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        main = memoryview(archive.read("archive/data.pkl"))
    tensor: Any = load_content(read_torch_zip(main, lambda key: data, len(file), big_endian=False).content)
    data[:4] = b"\x00\x00\x80\x3f"
    assert tensor["w"][0, 0, 0] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.complex64], ids=str)
def test_big_endian_storages(dtype: torch.dtype) -> None:
    tensor = NUMBERS.to(dtype)
    component = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).reshape(-1, component).flip(1).reshape(-1).numpy().tobytes()
    with zipfile.ZipFile(io.BytesIO(save({"w": tensor}))) as archive:
        main = memoryview(archive.read("archive/data.pkl"))
    found: Any = load_content(
        read_torch_zip(main, lambda key: memoryview(bytearray(raw)), 10_000, big_endian=True).content
    )
    assert same(found["w"], tensor)


@pytest.mark.parametrize("protocol", range(6))
def test_tensors_pickled_without_torch_save(protocol: int) -> None:
    """`pickle.dump(model.state_dict())` nests a legacy file for each storage."""
    state = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    found: Any = load_content(read_pickle(memoryview(bytearray(pickle.dumps(state, protocol)))).content)
    assert list(found) == list(state)
    assert all(same(found[name], tensor) for name, tensor in state.items())


def test_a_storage_by_itself_is_a_flat_tensor() -> None:
    assert same(content({"s": NUMBERS.untyped_storage()})["s"], NUMBERS.reshape(-1).view(torch.uint8))


def test_a_tensor_of_the_meta_device_has_a_shape_only() -> None:
    tensor = content({"w": torch.empty(3, 4, device="meta")})["w"]
    assert tensor.is_meta
    assert tensor.shape == (3, 4)


def test_torch_values_beside_the_weights() -> None:
    found = content({"size": NUMBERS.shape, "dtype": torch.float16, "device": torch.device("cuda", 1), "w": NUMBERS})
    assert found["size"] == [2, 3, 4]
    assert found["dtype"] == FLOAT16
    assert found["device"] == "cuda:1"


def quantized() -> Tensor:
    return torch.quantize_per_tensor(NUMBERS, 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (NUMBERS.to_sparse, "torch._utils._rebuild_sparse_tensor"),
        (quantized, "torch._utils._rebuild_qtensor"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_only_a_foreign_call_makes_is_named(make: Any, name: str, kind: str) -> None:
    result = read(save({"w": make(), "plain": NUMBERS}, kind))
    found: Any = load_content(result.content)
    assert found["w"].name == name
    assert result.not_built == (name, *(("torch.per_tensor_affine",) if "qtensor" in name else ()))
    assert same(found["plain"], NUMBERS)


class Weight(Tensor):
    pass


def test_a_subclass_of_tensor_is_read_as_its_values() -> None:
    result = read(save({"w": NUMBERS.as_subclass(Weight)}))
    found: Any = load_content(result.content)
    assert type(found["w"]) is Tensor
    assert same(found["w"], NUMBERS)
    assert result.not_built == (f"{Weight.__module__}.Weight",)


def test_a_whole_module_keeps_its_tensors_reachable() -> None:
    found = content(nn.Linear(3, 2))
    assert found.name == "torch.nn.modules.linear.Linear"
    parameters: Any = found.parts[0]["_parameters"]
    assert {name: tuple(tensor.shape) for name, tensor in parameters.items()} == {"weight": (2, 3), "bias": (2,)}


def test_several_values_one_after_another() -> None:
    assert load_content(read_pickle(memoryview(pickle.dumps([1]) + pickle.dumps({"a": 2}))).content) == [[1], {"a": 2}]


def change(file: bytes, old: bytes, new: bytes) -> bytes:
    assert file.count(old) == 1
    return file.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"K\x18tq", b"K\x19tq", "a storage claims 25 numbers of float32 but has 96 bytes"),
        (b"K\x02K\x03K\x04\x87", b"K\x02K\x09K\x04\x87", r"shape \(2, 9, 4\) reaches beyond its storage of 24 numbers"),
        (b"K\x0cK\x04K\x01\x87", b"K\x0dK\x04K\x01\x87", r"shape \(2, 3, 4\) reaches beyond its storage"),
        (b"K\x0cK\x04K\x01\x87", b"K\x0cK\x04N\x87", "a tensor's shape or stride is no list of sizes"),
        (b"K\x0cK\x04K\x01\x87", b"K\x0cK\x04\x86", "impossible offset or stride"),
        (b"torch\nFloatStorage", b"torch\nFloatStorehouse", "a storage's class is torch.FloatStorehouse"),
        (b"storage", b"st0rage", "a persistent id is not one of torch's"),
        (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009", "the archive has no storage '9'"),
    ],
)
def test_a_tensor_is_within_its_storage(old: bytes, new: bytes, reason: str) -> None:
    with zipfile.ZipFile(io.BytesIO(save(NUMBERS))) as archive:
        main = memoryview(change(archive.read("archive/data.pkl"), old, new))
    storages = {"0": memoryview(bytearray(96))}
    with pytest.raises(PickleError, match=reason):
        read_torch_zip(main, storages.get, 10_000, big_endian=False)


@pytest.mark.parametrize("keep", [20, 100, 0.5, 0.99, 0.9999])
def test_a_truncated_legacy_file(keep: float) -> None:
    file = save({"w": torch.arange(10_000)}, "legacy")
    with pytest.raises(PickleError, match="truncated|version"):
        read_pickle(memoryview(file[: int(keep * len(file)) if keep < 1 else int(keep)]))


def test_a_legacy_storage_shorter_than_its_tensor() -> None:
    file = save({"w": NUMBERS}, "legacy")
    short = file[: -NUMBERS.nbytes - 8] + (10).to_bytes(8, "little") + bytes(NUMBERS.nbytes)
    with pytest.raises(PickleError, match="a storage claims 96 bytes but has 40"):
        read_pickle(memoryview(short))


def test_nothing_is_allocated_for_a_claim(tmp_path: Path) -> None:
    file = change(save({"w": NUMBERS}, "legacy"), b"K\x18N", b"\x8a\x06\x00\x00\x00\x00\x00\x40N")
    with pytest.raises(PickleError, match="but has 96"):
        read_pickle(memoryview(file))


@pytest.mark.parametrize(
    "data",
    [
        b"K",  # an integer of one byte, without the byte
        b"J\1\0\0",
        b"G\0\0\0\0",
        b"X\5\0\0\0abc",
        b"\x8c\5abc",
        b"\x8a\4\1\1",
        b"\x95\1\0\0\0",
        b"Nq",
    ],
    ids=repr,
)
def test_an_argument_that_is_cut_off_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(PickleError, match=r"truncated: it claims \d bytes where \d are left"):
        read_pickle(memoryview(data))


@pytest.mark.parametrize(
    "pair",
    [
        b"K\1\x8c\1x",
        b"\x8c\1xK\1",
        b"NN",
        b"]\x8c\1x",
        b"X" + (600).to_bytes(4, "little") + b"m" * 600 + b"X" + (600).to_bytes(4, "little") + b"n" * 600,
    ],
    ids=lambda pair: repr(pair[:6]),
)
def test_a_class_that_is_referred_to_by_no_name_is_refused(pair: bytes) -> None:
    with pytest.raises(PickleError, match="whose name is no text"):
        read_pickle(memoryview(b"\x80\4" + pair + b"\x93."))


def test_a_tensor_as_torch_wrote_it_before_0_4() -> None:
    """`_rebuild_tensor(storage, offset, size, stride)`."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\4tQ"
    data = b"\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_tensor\n(" + storage + b"K\0(K\2K\2t(K\2K\1ttRs."
    numbers = torch.arange(4, dtype=torch.float32)
    result = read_torch_zip(memoryview(data), {"0": memoryview(numbers.numpy().tobytes())}.get, 100, big_endian=False)
    assert isinstance(load_content(result.content), dict)
    assert torch.equal(load_content(result.content)["w"], numbers.reshape(2, 2))
    assert result.not_built == ()
