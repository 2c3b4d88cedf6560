"""NumPy's arrays and scalars, of every version of NumPy and Python, become tensors and numbers."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from helpers.loaded import load_content
from numpy.typing import NDArray

from models.checkpoints.contents import NotBuilt
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickle

PROTOCOLS = range(6)
DTYPES = [
    "f2",
    "f4",
    "f8",
    "c8",
    "c16",
    "i1",
    "i2",
    "i4",
    "i8",
    "u1",
    "u2",
    "u4",
    "u8",
    "?",
    ">f4",
    ">i8",
    ">c8",
    ">f2",
]

Array = NDArray[Any]


def read(data: bytes) -> Any:
    return load_content(read_pickle(memoryview(bytearray(data))).content)


def same(found: torch.Tensor, wanted: Array) -> bool:
    native = wanted.astype(wanted.dtype.newbyteorder("="))
    return found.shape == wanted.shape and found.numpy().dtype == native.dtype and np.array_equal(found.numpy(), native)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_dtype(protocol: int) -> None:
    arrays = {code: np.arange(24).reshape(2, 3, 4).astype(code) for code in DTYPES}
    found = read(pickle.dumps(arrays, protocol))
    for code, array in arrays.items():
        assert same(found[code], array), code


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_memory_layout(protocol: int) -> None:
    base = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    arrays: list[Array] = [
        base, base.T, np.asfortranarray(base), base.transpose(1, 0, 3, 2), base[:, ::2], np.array(2.5, np.float32),
        np.empty((0, 3), np.float32), np.arange(100_000, dtype=np.float64).reshape(400, 250), base[1, 2],
    ]  # fmt: skip
    for array, tensor in zip(arrays, read(pickle.dumps(arrays, protocol)), strict=True):
        assert same(tensor, array), array.shape


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_an_array_is_a_view_of_the_file_where_it_is_aligned(protocol: int) -> None:
    array = np.full(100_000, 7, np.uint8)
    data = bytearray(pickle.dumps([array], protocol))
    (tensor,) = load_content(read_pickle(memoryview(data)).content)  # pyright: ignore
    data[data.index(b"\x07" * 100_000)] = 9
    assert tensor[0] == 9


def test_old_numpy_names_are_read_too() -> None:
    array = np.arange(6, dtype=np.float32)
    for protocol in PROTOCOLS:
        data = pickle.dumps(array, protocol)
        old = data.replace(b"numpy._core", b"numpy.core")
        if protocol >= 4:  # one letter less in a counted text and in its frame
            old = old.replace(b"\x16numpy.core", b"\x15numpy.core").replace(b"\x13numpy.core", b"\x12numpy.core")
            old = old[:3] + (len(old) - 11).to_bytes(8, "little") + old[11:]
        assert same(read(old), array), protocol


def python_2(array: Array, *, text: bool) -> bytes:
    """`array` as Python 2's cPickle writes it, in protocol 0 or 2."""
    raw = array.tobytes()
    code = array.dtype.str[1:].encode()
    if text:
        content = b"S" + repr(raw).encode()[1:] + b"\n"
        head = b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n"
        shape = b"(" + b"".join(b"I%d\n" % size for size in array.shape) + b"t"
        return (
            head
            + b"(I1\n"
            + shape
            + b"cnumpy\ndtype\n(S'"
            + code
            + b"'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
            + (content + b"tb.")
        )
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85U\x01b\x87R(K\x01("
    shape = b"".join(b"K" + bytes([size]) for size in array.shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\nU"
        + bytes([len(code)])
        + code
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    return head + shape + dtype + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb."


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("shape", [(3,), (64, 3, 3, 3, 3), (200, 150)])
def test_python_2(shape: tuple[int, ...], text: bool) -> None:
    """The second and third are longer than what is decoded at once."""
    array = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    data = python_2(array, text=text)
    assert np.array_equal(pickle.loads(data, encoding="latin1"), array)
    assert same(read(data), array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_are_numbers(protocol: int) -> None:
    values: list[Any] = [
        np.float32(0.5), np.float64(1e300), np.int64(-(2**63)), np.uint8(255), np.bool_(True), np.float16(0.25),
        np.complex64(1 - 2j), np.str_("ä😀"), np.bytes_(b"ab"),
    ]  # fmt: skip
    found = read(pickle.dumps(values, protocol))
    assert found == [value.item() for value in values]
    assert [type(value) for value in found] == [type(value.item()) for value in values]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_no_tensor_holds_is_not_built_but_reachable(protocol: int) -> None:
    records = np.zeros(2, dtype=[("a", "i4"), ("b", "f4")])
    objects = np.array([{"a": np.ones(2)}, None], dtype=object)
    others: list[Any] = [
        records,
        objects,
        np.array(["ab"]),
        np.array(["2020-01-01"], "M8[D]"),
        np.zeros(2, np.longdouble),
    ]
    found = read(pickle.dumps([*others, np.datetime64("2020-01-01"), np.dtype([("a", "i4")])], protocol))
    assert all(isinstance(value, NotBuilt) for value in found)
    assert [value.name for value in found[: len(others)]] == ["numpy.ndarray"] * len(others)
    assert found[1].parts[1][0]["a"].tolist() == [1, 1]


class Kelvin(np.ndarray[Any, Any]):
    pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_subclass_of_array_is_read_as_its_numbers(protocol: int) -> None:
    result = read_pickle(memoryview(bytearray(pickle.dumps(np.array([[1.0, 2.0]]).view(Kelvin), protocol))))
    tensor: Any = load_content(result.content)
    assert tensor.tolist() == [[1, 2]]
    assert result.not_built == (f"{Kelvin.__module__}.Kelvin",)


def test_what_was_one_array_still_is() -> None:
    array = np.ones(3)
    first, second = read_pickle(memoryview(pickle.dumps([array, array]))).content  # pyright: ignore
    assert first is second


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"K\x06\x85", b"K\x07\x85", r"shape \(7,\) and float32 has 24 bytes"),
        (b"K\x06\x85", b"J\xff\xff\xff\xff\x85", "no list of sizes"),
        (b"f4", b"f8", "float64 has 24 bytes"),
        (b"K\x01K\x06\x85", b"NK\x06\x85", "a state that NumPy does not write"),
    ],
)
def test_an_array_is_what_it_claims(old: bytes, new: bytes, reason: str) -> None:
    import pickletools

    data = pickletools.optimize(pickle.dumps(np.arange(6, dtype=np.float32), 3))
    assert data.count(old) == 1
    with pytest.raises(PickleError, match=reason):
        read(data.replace(old, new))


def test_an_array_without_state_is_refused() -> None:
    with pytest.raises(PickleError, match="a NumPy array has no values"):
        read(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.")
