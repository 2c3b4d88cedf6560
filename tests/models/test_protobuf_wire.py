"""Fields of protocol buffers are counted over a whole file, before anything is made of them."""

import pytest

from models.protobuf_wire import MAX_NUMBERS, Field, WireError, WireReader, varint

EMPTY = b"\x0a\x00"
"""Field 1, no bytes."""


def test_fields_of_all_messages_count_together() -> None:
    reader = WireReader(EMPTY * 6, limit=10)
    assert len(list(reader.fields(0, 12))) == 6
    assert len(list(reader.fields(0, 8))) == 4
    with pytest.raises(WireError, match="more than 10 fields"):
        list(reader.fields(0, 2))


def test_packed_numbers_are_counted() -> None:
    data = b"\x01" * (MAX_NUMBERS + 1)
    reader = WireReader(data)
    assert reader.packed(Field(1, 2, 0, MAX_NUMBERS, 0)) == [1] * MAX_NUMBERS
    with pytest.raises(WireError, match="more than 65,536 numbers"):
        reader.packed(Field(1, 2, 0, MAX_NUMBERS + 1, 0))


@pytest.mark.parametrize(
    "data", [b"\x0b", b"\x0a\x02a", b"\x02\x00", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
)
def test_groups_cuts_and_field_0_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(WireReader(data).fields(0, len(data)))


def test_numbers_one_by_one_are_counted_too() -> None:
    data = b"\x08\x01" * (MAX_NUMBERS + 1)
    whole = Field(0, 2, 0, len(data), 0)
    same = WireReader(data).members(whole._replace(end=len(data) - 2))
    assert [len(fields) for fields in same.values()] == [MAX_NUMBERS]
    with pytest.raises(WireError, match="field 1 has more than 65,536 numbers"):
        WireReader(data).members(whole)


def test_messages_in_one_field_are_limited_by_the_fields_of_the_file_only() -> None:
    data = EMPTY * (MAX_NUMBERS + 1)
    assert len(WireReader(data).members(Field(0, 2, 0, len(data), 0))[1]) == MAX_NUMBERS + 1


@pytest.mark.parametrize(
    ("data", "value", "end"),
    [
        (b"\x7f", 127, 1),
        (b"\x80\x01\xff", 128, 2),
        (b"\xff" * 9 + b"\x01", (1 << 64) - 1, 10),
        (b"\xff" * 8 + b"\x7f", (1 << 63) - 1, 9),
        (b"\x80" * 9 + b"\x02", 0, 10),  # bit 64 is dropped
    ],
)
def test_a_varint_is_seven_bits_to_a_byte_the_lowest_first(data: bytes, value: int, end: int) -> None:
    assert varint(data, 0, len(data)) == (value, end)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "cut off"), (b"\x80" * 9, "cut off"), (b"\x80" * 10, "longer than 64 bits")]
)
def test_a_varint_that_does_not_end(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        varint(data + b"\x00", 0, len(data))
