"""Protocol buffers' wire format, as far as weights need it: the byte range of each field, without copying its bytes.

The protobuf library copies every payload twice before Python sees it; here a payload is a span of the mapped file.
Messages are read one level at a time, only where a reader asks, so nothing nests deeper than the reader does.

Source: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT = 10
"""Bytes of the longest varint, which is 64 bits."""
MAX_FIELDS = 600_000
"""Fields that are read of a file, in all of its messages. A field takes two bytes of a file and hundreds in memory."""
MAX_NUMBERS = 1 << 16
"""Numbers of one field: sizes of a tensor, or an attribute's."""

Data = mmap | bytes


class WireError(ValueError):
    """Bytes that are not a protocol buffer's, or too many fields."""


class Field(NamedTuple):
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


_new = tuple.__new__


class WireReader:
    """Reads the messages of one file, and counts their fields.

    Args:
        data: the file.
        limit: fields that may be read, of all messages together.
    """

    def __init__(self, data: Data, limit: int = MAX_FIELDS) -> None:
        self.data = data
        self._limit = self._left = limit

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """Walk over the fields of the message that fills `start` to `end`.

        Raises:
            WireError: cut off, a group, field 0, a payload that reaches beyond the message, or too many fields.
        """
        data, at = self.data, start
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise WireError(f"it has more than {self._limit:,} fields")
            # numbers of one byte are read here: most are, and a call takes longer than all the rest
            if (key := data[at]) < 0x80:
                at += 1
            else:
                key, at = varint(data, at, end)
            number, wire = key >> 3, key & 7
            value, begin = 0, at
            if wire == BYTES:
                if at < end and (length := data[at]) < 0x80:
                    begin = at + 1
                else:
                    length, begin = varint(data, at, end)
                stop = begin + length
            elif wire == VARINT:
                value, stop = varint(data, at, end)
            elif wire in _FIXED:
                stop = at + _FIXED[wire]
            else:
                raise WireError(f"field {number} has wire type {wire}, which is not supported (groups are not)")
            if number == 0 or stop > end:
                raise WireError(f"field {number} reaches beyond its message")
            yield _new(Field, (number, wire, begin, stop, value))  # a third of the time of a call of Field
            at = stop

    def members(self, message: Field) -> dict[int, list[Field]]:
        """Return the fields of a message, by number.

        Raises:
            WireError: see `fields`; or more than `MAX_NUMBERS` numbers, one by one, in one of them.
        """
        found: dict[int, list[Field]] = {}
        for member in self.fields(message.start, message.end):
            same = found.setdefault(member.number, [])
            same.append(member)
            if len(same) > MAX_NUMBERS and member.wire != BYTES:
                raise WireError(f"field {member.number} has more than {MAX_NUMBERS:,} numbers")
        return found

    def text(self, field: Field) -> str:
        """Return a field's bytes as text; what is not UTF-8 is escaped."""
        return self.data[field.start : field.end].decode("utf-8", "backslashreplace")

    def pairs(self, fields: Iterable[Field]) -> dict[str, str]:
        """Return a map of strings, or a repeated StringStringEntryProto of ONNX: messages of key 1 and value 2.

        Raises:
            WireError: see `members`.
        """
        entries = [self.members(field) for field in fields]
        return {self.text(entry[1][-1]): self.text(entry[2][-1]) for entry in entries if {1, 2} <= entry.keys()}

    def packed(self, field: Field) -> list[int]:
        """Return the numbers of a repeated int64, packed or one by one.

        Raises:
            WireError: cut off, of another wire type, or more than `MAX_NUMBERS`.
        """
        if field.wire == VARINT:
            return [signed(field.value)]
        if field.wire != BYTES:
            raise WireError(f"field {field.number} is no list of numbers")
        numbers: list[int] = []
        at = field.start
        while at < field.end:
            value, at = varint(self.data, at, field.end)
            numbers.append(signed(value))
            if len(numbers) > MAX_NUMBERS:
                raise WireError(f"field {field.number} has more than {MAX_NUMBERS:,} numbers")
        return numbers


def varint(data: Data, at: int, end: int) -> tuple[int, int]:
    """Return the varint at `at` and where it ends.

    Raises:
        WireError: it does not end before `end`, or is longer than 64 bits.
    """
    if at < end and (first := data[at]) < 0x80:
        return first, at + 1
    value = shift = 0
    for byte in data[at : min(end, at + _MAX_VARINT)]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at + shift // 7
    raise WireError("a number is longer than 64 bits" if end - at >= _MAX_VARINT else "a number is cut off")


def signed(value: int) -> int:
    """Return a varint's value as int64 (two's complement)."""
    return value - (1 << 64) if value >> 63 else value


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
