"""Places in DER: what is passed is what the library's strict decoder passes, and all else is Malformed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scep_server.codec import asn1, walk
from scep_server.errors import Malformed

BAD = {
    "empty": b"",
    "tag only": b"\x30",
    "cut length": b"\x30\x82\x01",
    "cut content": b"\x30\x03\x05\x00",
    "longer than what it is in": b"\x30\x02\x04\x05abc",
    "something behind": b"\x30\x00\x00",
    "another tag": b"\x31\x00",
    "indefinite": b"\x30\x80\x05\x00\x00\x00",
    "length in more octets than it needs": b"\x30\x81\x02\x05\x00",
    "length with a zero before": b"\x30\x83\x00\x01\x00" + bytes(256),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_structure_is_malformed(case: str) -> None:
    with pytest.raises(Malformed):
        walk.fields(BAD[case], walk.whole(BAD[case], walk.SEQUENCE, "SEQUENCE"), walk.shape(rb".*"))


@pytest.mark.parametrize("length", [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000])
def test_elements_of_any_length_are_found(length: int) -> None:
    parts = [asn1.element(0x04, bytes(length)), asn1.element(0x05)]
    data = asn1.element(0x30, *parts)
    found = walk.fields(data, walk.whole(data, walk.SEQUENCE, "SEQUENCE"), walk.shape(rb"\x04\x05"))
    assert [data[begin:end] for _, begin, _, end in found] == parts
    assert found[0][3] - found[0][2] == length


def test_other_fields_and_more_than_one_in_an_explicit_tag_are_malformed() -> None:
    data = bytes.fromhex("a00405000500")
    around = walk.whole(data, 0xA0, "[0]")
    with pytest.raises(Malformed):
        walk.fields(data, around, walk.shape(rb"\x05"))
    with pytest.raises(Malformed):
        walk.explicit(data, around, 0x05)
    with pytest.raises(Malformed):
        walk.explicit(data, (0xA0, 0, 2, 4), 0x04)
    assert walk.explicit(data, (0xA0, 0, 2, 4), 0x05) == (0x05, 2, 4, 4)


@given(st.one_of(st.binary(max_size=3), st.binary(min_size=8, max_size=9)))
def test_integers_read_as_the_library_reads_them(content: bytes) -> None:
    data = asn1.element(0x02, content)
    try:
        expected = asn1.decode(int, data)
    except Malformed:
        with pytest.raises(Malformed):
            walk.integer(data, walk.whole(data, walk.INTEGER, "INTEGER"))
    else:
        assert walk.integer(data, walk.whole(data, walk.INTEGER, "INTEGER")) == expected


TIMES = {
    (0x17, b"491231235959Z"): datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
    (0x17, b"500101000000Z"): datetime(1950, 1, 1, tzinfo=UTC),
    (0x18, b"20500101000000Z"): datetime(2050, 1, 1, tzinfo=UTC),
    (0x18, b"20500101000000.5Z"): datetime(2050, 1, 1, microsecond=500000, tzinfo=UTC),
}


@pytest.mark.parametrize("case", TIMES)
def test_times(case: tuple[int, bytes]) -> None:
    data = asn1.element(*case)
    assert walk.time(data, walk.whole(data, case[0], "Time")) == TIMES[case]


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (0x17, b""),
        (0x18, b""),
        (0x04, b"260101000000Z"),
        (0x17, b"2601010000Z"),
        (0x17, b"260101000000+0000"),
        (0x17, b"260101000000z"),
        (0x17, b"260230000000Z"),
        (0x17, b"260101240000Z"),
        (0x17, b"260101000060Z"),
        (0x17, b"2601 1000000Z"),
        (0x17, b"26W01-1000000"),
        (0x18, b"20261301000000Z"),
        (0x18, b"00000101000000Z"),
    ],
)
def test_what_is_no_time_is_malformed(tag: int, content: bytes) -> None:
    data = asn1.element(tag, content)
    with pytest.raises(Malformed):
        walk.time(data, walk.whole(data, tag, "Time"))


@given(st.one_of(st.integers(), st.integers(-300, 300), st.integers(-(1 << 160), 1 << 160)))
def test_integers_are_written_as_the_library_writes_them(value: int) -> None:
    data = asn1.integer(value)
    assert data == asn1.encode(value)
    assert walk.integer(data, walk.whole(data, walk.INTEGER, "INTEGER")) == value


@pytest.mark.parametrize("content", [b"", b"\x05", b"\x05\x00\x05\x00", b"\x04\x02\x00", b"\x04\x81\x01\x00"])
def test_what_is_not_one_element_is_malformed(content: bytes) -> None:
    data = asn1.element(0x31, content) + b"\x00\x00\x00"
    with pytest.raises(Malformed):
        walk.single(data, (0x31, 0, 2, 2 + len(content)))


def test_the_one_element_of_a_set_is_found_short_or_long() -> None:
    for inner in (asn1.element(0x05), asn1.element(0x04, bytes(127)), asn1.element(0x04, bytes(128))):
        data = asn1.element(0x31, inner)
        _, begin, _, end = walk.single(data, walk.whole(data, walk.SET, "SET"))
        assert data[begin:end] == inner
