"""The hash of a weight, against one that is put together by hand."""

import hashlib
import struct

import numpy as np

from exporter.stored_tensors import tensor_sha256


def test_the_hash_is_of_dtype_shape_and_values() -> None:
    values = np.array([[1.0, -2.5]], np.float32)
    by_hand = hashlib.sha256(b"float32[1,2]\n" + struct.pack("<2f", 1.0, -2.5)).hexdigest()
    assert tensor_sha256("float32", values.shape, values.data) == by_hand
    assert tensor_sha256("float32", (2, 1), values.data) != by_hand
    assert tensor_sha256("int32", values.shape, values.data) != by_hand


def test_a_scalar_has_no_sizes() -> None:
    assert (
        tensor_sha256("int64", (), struct.pack("<q", 7)) == hashlib.sha256(b"int64[]\n" + b"\7" + bytes(7)).hexdigest()
    )
