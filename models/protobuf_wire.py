"""Protocol buffers' wire format, as far as weights need it: the byte range of each field, without copying its bytes.

The protobuf library copies every payload twice before Python sees it; here a payload is a span of the mapped file.
Messages are read one level at a time, only where a reader asks, so nothing nests deeper than the reader does.

Source: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT = 10
"""Bytes of the longest varint, which is 64 bits."""


class WireError(ValueError):
    """Bytes that are not a protocol buffer's."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        number: field number.
        wire: its wire type.
        start: where its payload starts in the data.
        end: where it ends.
        value: the unsigned value of a varint; 0 for other wire types.
    """

    number: int
    wire: int
    start: int
    end: int
    value: int


def varint(data: mmap | bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    """Return the varint at `at` and where it ends.

    Raises:
        WireError: it does not end before `end`, or is longer than 64 bits.
    """
    value = 0
    for count in range(_MAX_VARINT):
        if at + count >= end:
            raise WireError("a number is cut off")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & (1 << 64) - 1, at + count + 1
    raise WireError("a number is longer than 64 bits")


def fields(data: mmap | bytes | memoryview, start: int, end: int) -> Iterator[Field]:
    """Walk over the fields of the message that fills `start` to `end`.

    Raises:
        WireError: cut off, a group, field 0, or a payload that reaches beyond the message.
    """
    at = start
    while at < end:
        key, at = varint(data, at, end)
        number, wire = key >> 3, key & 7
        value = 0
        begin = at
        if wire == VARINT:
            value, stop = varint(data, at, end)
        elif wire == BYTES:
            length, begin = varint(data, at, end)
            stop = begin + length
        elif wire in _FIXED:
            stop = at + _FIXED[wire]
        else:
            raise WireError(f"field {number} has wire type {wire}, which is not supported (groups are not)")
        if number == 0 or stop > end:
            raise WireError(f"field {number} reaches beyond its message")
        yield Field(number, wire, begin, stop, value)
        at = stop


def signed(value: int) -> int:
    """Return a varint's value as int64 (two's complement)."""
    return value - (1 << 64) if value >> 63 else value


def packed(data: mmap | bytes | memoryview, field: Field) -> list[int]:
    """Return the numbers of a repeated int64, packed or one by one.

    Raises:
        WireError: cut off, or of another wire type.
    """
    if field.wire == VARINT:
        return [signed(field.value)]
    if field.wire != BYTES:
        raise WireError(f"field {field.number} is no list of numbers")
    numbers: list[int] = []
    at = field.start
    while at < field.end:
        value, at = varint(data, at, field.end)
        numbers.append(signed(value))
    return numbers


def encode_varint(value: int) -> bytes:
    """Return an unsigned number as a varint."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def field_header(number: int, length: int) -> bytes:
    """Return the key and length before the payload of a `BYTES` field."""
    return encode_varint(number << 3 | BYTES) + encode_varint(length)
