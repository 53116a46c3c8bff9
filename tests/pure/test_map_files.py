from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwarden.errors import ConfigurationError
from gridwarden.mapper import bans
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.map_files import mappings, matches, matches_as_in_lcmaps, parse
from gridwarden.patterns import check_pattern


def keys(text: str) -> list[str]:
    return [line.key for line in parse(text.encode(), "bans")]


def test_every_way_to_write_a_line_is_read_as_lcmaps_reads_it():
    text = '# comment\n\n  "/CN=Jane Doe" .pool,other # why\n/CN=Bare\t.pool\n"/CN=a\\"b"\n"/CN=x"# comment\n/CN=a#b\n'
    assert keys(text) == ["/CN=Jane Doe", "/CN=Bare", '/CN=a\\"b', "/CN=x", "/CN=a#b"]
    assert parse(b'"/CN=J" .pool,other # why', "map")[0].rest.startswith(".pool,other")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('"/CN=Jane', "not closed"),
        ('"/CN=Jane\\"', "not closed"),
        ("/CN=Jane\\", "backslash"),
        ("/CN=Jane\\ Doe", "backslash stands before a blank"),
        ('"/CN=Jane"\r', "DOS line end"),
        ("/CN=a\x01", "0x01"),
        ('""', "no key"),
        ('"/CN=[^a]"', "not supported"),
        ('"/CN=[[:alpha:]]"', "not supported"),
        ('"/CN=svc[x[:digit:]]"', "'\\[:', which is not supported"),
        ('"/CN=svc[!x[.a.]]"', "not supported"),
        ('"/CN=svc[]a[=b=]]"', "not supported"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_fault_of_the_file_and_is_named(line, what):
    with pytest.raises(ConfigurationError, match=f"^bans:2: .*{what}"):
        parse(f'"/CN=Good"\n{line}\n'.encode(), "bans")


@pytest.mark.parametrize(
    ("rest", "values"),
    [
        ("alice\\,", ["alice,"]),
        ("alice\\ ", ["alice "]),
        ("alice\\ , ", ["alice "]),
        (", alice ,", ["alice"]),
        (",\\,,", [","]),
        (" , ", []),
    ],
)
def test_a_separator_behind_a_backslash_is_part_of_the_value_and_any_other_of_none(rest, values):
    assert mappings(parse(f'"/cms" {rest}'.encode(), "map")[0].rest) == values


def test_all_faulty_lines_are_named_at_once():
    with pytest.raises(ConfigurationError) as error:
        parse(b'"a\n"b\n', "bans")
    assert [fault[:7] for fault in error.value.faults] == ["bans:1:", "bans:2:"]


def test_a_ban_of_a_name_with_blanks_that_lacks_its_quotes_is_not_lost():
    with pytest.raises(ConfigurationError, match="bans:1: text after the pattern"):
        bans.parse(b"/DC=org/CN=Eve Example\n", "bans")


@pytest.mark.parametrize("line", ["DC=org,DC=example,CN=Eve", '"CN=Eve"', "cms/Role=pilot", "\ufeff/DC=org/CN=Eve"])
def test_a_ban_that_could_never_match_is_not_taken_for_a_ban(line):
    with pytest.raises(ConfigurationError, match="bans:1: it matches nobody"):
        bans.parse(f"{line}\n".encode(), "bans")


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("/cms*", "/cms/a/Role=b", True),
        ("/cms", "/cms/a", False),
        ("/CN=Eve*", "/CN=eve", False),
        ("/CN=A[bc]", "/CN=Ab", True),
        ("/CN=A[bc]", "/CN=A[bc]", True),
        ("/CN=a\\*", "/CN=a\\b", True),
        ("/CN=?", "/CN=\udcff", True),
        ("/CN=a*", "/CN=a\nb", True),
    ],
)
def test_patterns_match_as_in_lcmaps(pattern, text, expected):
    assert matches(pattern, text) is expected


TOKENS = [*"[]!^-abz*?/\\:.=A", "[:alpha:]", "[:", ":]", "[.a.]", "[=b=]", "[!", "[a"]


@given(st.lists(st.sampled_from(TOKENS), max_size=8), st.text("abz-!][/\\:^.A=", max_size=4))
@settings(max_examples=500)
def test_no_pattern_that_is_taken_bans_somebody_else_than_with_the_system_that_lcmaps_asks(tokens, text):
    pattern = "".join(tokens)
    try:
        check_pattern(pattern)
    except ValueError:
        return
    no_escape = 2  # FNM_NOESCAPE of glibc's <fnmatch.h>
    in_glibc = ctypes.CDLL(None).fnmatch(pattern.encode(), text.encode(), no_escape) == 0
    assert matches_as_in_lcmaps(pattern, text) is (pattern == text if not set(pattern) & set("*?[") else in_glibc)


@given(st.text())
def test_everybody_can_be_banned_by_their_own_name(name):
    assert matches(name, name)


@given(st.binary())
def test_no_bytes_in_a_map_file_do_anything_but_parse_or_be_refused(data):
    try:
        lines = parse(data, "bans")
    except ConfigurationError:
        return
    assert all(line.key for line in lines)


BANS = bans.parse(b'"/DC=org/CN=Eve*"\n"/cms/Role=pilot"\n"/atlas/Role=NULL/Capability=NULL"\n', "bans")


@pytest.mark.parametrize(
    ("subject", "fqans", "line"),
    [
        ("/DC=org/CN=Eve/CN=deep", (), "bans:1"),
        ("/DC=org/CN=Anna", ("/cms", "/cms/Role=pilot"), "bans:2"),
        ("/DC=org/CN=Anna", ("/atlas",), "bans:3"),
        ("/DC=org/CN=Anna", ("/cms",), None),
    ],
)
def test_a_ban_holds_for_the_subject_and_for_any_fqan_not_only_the_first(subject, fqans, line):
    ban = bans.banned(Identity("x509", subject, fqans, "", "", 0, limited=False), BANS)
    assert (ban and str(ban)) == line
