from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.mapper import der
from tests.forge import tlv


@given(st.binary(max_size=400))
def test_no_bytes_read_as_anything_but_what_they_are(data):
    try:
        found = der.elements(data)
    except ValueError:
        return
    assert b"".join(each.whole for each in found) == data
    assert all(tlv(each.tag, each.value) == each.whole for each in found)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_was_written_is_read(values):
    written = tlv(der.SEQUENCE, *(tlv(der.OCTET_STRING, value) for value in values))
    assert [each.expect(der.OCTET_STRING) for each in der.sequence(written)] == values


@pytest.mark.parametrize(
    "data",
    ["30", "3005", "3080020100" + "0000", "308101" + "00", "30820001" + "00", "3084", "1f8101" + "00", "30ff"],
)
def test_lengths_that_have_two_spellings_are_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - that it is refused is the point
        der.elements(bytes.fromhex(data))


def test_object_identifiers_are_those_of_the_standard():
    assert der.object_identifier("1.2.840.113549.1.1.11").hex() == "2a864886f70d01010b"
    assert der.object_identifier("2.5.29.55").hex() == "551d37"
