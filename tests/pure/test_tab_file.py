"""Names chosen by attackers must not be able to write a line of a file that hooks believe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden import tab_file

names = st.text(st.characters(codec="utf-8")) | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(st.lists(st.tuples(st.from_regex(r"[a-z_]+", fullmatch=True).filter(lambda key: key != "version"), names)))
def test_every_name_comes_back_and_makes_exactly_one_line(pairs: list[tuple[str, str]]) -> None:
    data = tab_file.encode(pairs)
    assert data.count(b"\n") == len(pairs) + 1
    assert all(0x20 <= byte < 0x7F or byte in b"\t\n" for byte in data)
    expected: dict[str, list[str]] = {}
    for key, value in pairs:
        expected.setdefault(key, []).append(value)
    assert tab_file.decode(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"version\t1",
        b"version\t2\n",
        b"account\tcms001\n",
        b"version\t1\nversion\t1\n",
        b"version\t1\naccount cms001\n",
        b"version\t1\n\tcms001\n",
        b"version\t1\naccount\tcms\\001\n",
        b"version\t1\naccount\tcms\\x0\n",
        b"version\t1\naccount\tcms\\xzz\n",
        b"version\t1\naccount\tcms\xff\n",
    ],
)
def test_a_file_that_is_not_whole_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        tab_file.decode(data)
