"""One name in the spellings of several programs."""

from __future__ import annotations

import pytest

from gridwarden.errors import Refused
from gridwarden.mapper.ban import ban_matches
from gridwarden.mapper.claims import from_dn
from gridwarden.mapper.spelling import as_openssl_3, spellings
from gridwarden.tab_file import escape


def test_a_name_without_slashes_in_its_values_has_one_spelling():
    assert spellings("/DC=org/CN=Anna+OU=Bela") == ("/DC=org/CN=Anna+OU=Bela",)
    assert spellings('/DC=org/CN=Anna "A" Example') == ('/DC=org/CN=Anna "A" Example',)


def test_a_name_is_known_as_openssl_3_writes_it_as_files_have_it_and_as_syslog_shows_it():
    written, bare, shown = "/O=x/CN=a\\/b\\+c", "/O=x/CN=a/b+c", "/O=x/CN=a\\x5c/b\\x5c+c"
    assert spellings(written) == (written, bare, shown)
    assert spellings(shown) == (shown, written, bare)
    assert spellings(bare) == (bare, written, shown)


@pytest.mark.parametrize("pattern", ["/DC=org/CN=Zo\\xC3\\xAB", "/DC=org/CN=Zo*", "/DC=org/CN=Zo\\x5cxC3*"])
def test_a_letter_that_is_not_ascii_is_known_in_capitals_and_as_syslog_shows_it(pattern):
    name, shown = "/DC=org/CN=Zo\\xC3\\xAB", "/DC=org/CN=Zo\\x5cxC3\\x5cxAB"
    assert escape(name) == shown
    assert spellings(name) == (name, shown)
    assert as_openssl_3(shown) == as_openssl_3(name.replace("xC3\\xAB", "xc3\\xab")) == name
    assert all(ban_matches(one, name) for one in (pattern, shown, "/DC=org/CN=Zo\\xc3\\xab"))


def test_a_quote_is_known_as_syslog_shows_it():
    name = '/DC=org/CN=Anna "A" Example'
    assert ban_matches(name.replace('"', "\\x22"), name)


@pytest.mark.parametrize("name", ["/O=x/CN=a\\x2fCN=b", "/O=x/CN=a\\x2bCN=b", "/O=x/CN=a\\x3db", "/O=x/CN=\\x41"])
def test_no_other_character_is_taken_for_what_stands_for_it(name):
    assert as_openssl_3(name) == name


@pytest.mark.parametrize(
    "name", ["/O=x/CN=a\\/CN=b", "/O=x/CN=a\\+CN=b", "/O=x/CN=a\\/b\\+CN=c", "/O=x/CN=a\\x5c/CN=b"]
)
def test_no_spelling_of_a_name_makes_it_that_of_somebody_else(name):
    assert spellings(name) == (name,)


@pytest.mark.parametrize("name", ["/O=x/CN=a\\/CN=b", "/O=x/CN=a\\+CN=b"])
def test_a_name_that_reads_as_somebody_elses_is_refused_on_a_callers_word_too(name):
    with pytest.raises(Refused, match="mistaken"):
        from_dn(name)


@pytest.mark.parametrize(
    "name",
    [
        "/O=x/CN=a/b",
        "/O=x/CN=a+b",
        "/O=x/CN=a/b+c/d",
        "/O=x/CN=a/b/c/OU=d/e",
        "/O=x/CN=http://a.example/b",
        "/O=x/CN=a",
    ],
)
def test_a_name_of_an_old_file_is_found_as_lcmaps_has_it_today(name):
    written = as_openssl_3(name)
    assert name in spellings(written)
    assert all(as_openssl_3(way) == written for way in spellings(written))
    assert (written == name) == (name == "/O=x/CN=a")


@pytest.mark.parametrize("name", ["/cms/Role=pilot", "/cms/de/Role=pilot", "*", "/O=x/CN=a+CN=b", "/O=x/CN=a/CN=b"])
def test_what_is_no_name_of_old_stays_as_it_is(name):
    assert as_openssl_3(name) == name
