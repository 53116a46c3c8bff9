"""What Globus mapping documents give, without any file or program."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import globus, globus_pattern, globus_search
from tests.globus import EXAMPLES, document, documents, one, people, program, row


def nobody(document, people):
    """A program that maps nobody."""


def account(rows, *identities):
    mapped = globus.map_identities(documents(document(*rows)), people(*identities), nobody)
    return mapped and mapped.account


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_every_documented_example_gives_what_globus_documents(example):
    mapped = globus.map_identities(documents(*example["documents"]), people(*example["identities"]), nobody)
    assert (mapped and mapped.account) == example["account"]


def test_documents_mappings_and_identities_are_asked_in_this_order():
    anna, bela = one("anna@a.org", 1), one("bela@b.org", 2)
    first = document(row("(.*)@b.org", "b-{0}"), row("(.*)@a.org", "a-{0}"))
    second = document(row("(.*)@.*", "any-{0}"))
    mapped = globus.map_identities(documents(first, second), people(anna, bela), nobody)
    assert (mapped.account, mapped.identity.username) == ("b-bela", "bela@b.org")
    mapped = globus.map_identities(documents(second, first), people(anna, bela), nobody)
    assert (mapped.account, mapped.where) == ("any-anna", "map.json, document 1, mapping 1")


@pytest.mark.parametrize("match", ["alice@a\\.org|bob@b\\.org", "(alice@a\\.org|bob@b\\.org)"])
@pytest.mark.parametrize(
    ("username", "gets"),
    [
        ("alice@a.org", "site"),
        ("bob@b.org", "site"),
        ("alice@a.org.evil.com", None),
        ("mallory-bob@b.org", None),
    ],
)
def test_nobody_gets_in_behind_or_before_an_alternative(match, username, gets):
    assert account([row(match, "site")], one(username)) == gets


def test_a_newline_behind_a_name_is_not_passed_over():
    assert account([row("(.*)@a\\.org", source="{email}")], one(email="alice@a.org\n")) is None


def test_a_value_cannot_name_another_group():
    got = account([row("(.*)/(.*)", "{0}-{1}", "{email}")], one(email="a/victim"))
    assert got == "a-victim"
    with pytest.raises(Refused, match="is no name of one"):
        account([row("(.*)/(.*)", "{0}-{1}", "{email}")], one(email="a{1}/victim"))


@pytest.mark.parametrize(
    "username", ["../../etc/x@a.org", "@a.org", "a b@a.org", "a\u00e9@a.org", "-rf@a.org", "a" * 33 + "@a.org"]
)
def test_an_output_that_can_be_no_account_refuses_and_no_later_mapping_is_asked(username):
    with pytest.raises(Refused) as refusal:
        account([row("(.*)@a\\.org"), row(".*", "guest")], one(username))
    assert refusal.value.reason == reasons.ACCOUNT_UNKNOWN


def test_an_identity_without_a_property_is_passed_over_in_that_mapping_alone():
    rows = [row("(.*)@a.org", source="{email}"), row("(.*)@a.org", "by-name-{0}")]
    assert account(rows, one("anna@a.org", 1), one("bela@b.org", 2, email="bela@a.org")) == "bela"
    assert account(rows, one("anna@a.org", 1, email=None)) == "by-name-anna"


def test_an_output_that_lacks_a_value_refuses():
    with pytest.raises(Refused, match="does not have"):
        account([row("(a)|(b)", "{0}{1}"), row(".", "x")], one("a"))


@pytest.mark.parametrize("status", ["unused", "closed", "", None])
def test_a_linked_identity_that_its_holder_does_not_use_maps_nobody(status):
    assert account([row("(.*)@example.org")], one(status=status)) is None


def test_no_program_is_asked_about_identities_that_do_not_count():
    asked = []
    given = people(one("anna@a.org", 1, status="closed"), one("bela@b.org", 2))
    globus.map_identities(documents(program("/bin/x")), given, lambda _, who: asked.append(who))
    assert [[person.identity.username for person in who] for who in asked] == [["bela@b.org"]]
    assert globus.map_identities(documents(program("/bin/x")), given[:1], None) is None


@pytest.mark.parametrize(
    ("flags", "username", "gets"),
    [
        ({}, "ANNA@EXAMPLE.ORG", None),
        ({"ignore_case": True}, "ANNA@Example.ORG", "ANNA"),
        ({"ignore_case": "false"}, "anna@EXAMPLE.org", None),
        ({"ignore_case": "true"}, "anna@EXAMPLE.org", "anna"),
        ({"literal": True}, "anna@example.org", None),
    ],
)
def test_flags_mean_what_they_say(flags, username, gets):
    assert account([row("(.*)@example.org", "{0}" if "literal" not in flags else "x", **flags)], one(username)) == gets


def test_only_ascii_letters_fold():
    assert account([row("a@Kiosk.org", "x", ignore_case=True)], one("a@\u212aiosk.org")) is None
    assert account([row("(k|x)@a", "x", ignore_case=True)], one("\u212a@a")) is None
    assert account([row("a@Kiosk.org", "x", ignore_case=True)], one("A@kIOSK.ORG")) == "x"


def test_a_literal_match_is_of_exactly_that_text():
    odd = "a.*(b|c)\\d{1}^$@x"
    assert account([row(odd, "x", literal=True)], one(odd)) == "x"
    assert account([row(odd, "x", literal=True)], one(odd + "x")) is None


# Each of these would keep Python's re busy for hours or for ever.
ENDLESS = [
    ("((a|aa)(a|aa)*)*@a", "a" * 60 + "!"),
    ("(a|aa)*@a", "a" * 300 + "!"),
    ("(a|a)*b", "a" * 500),
    ("((.)(.))*!", "a" * 1000),
    ("(.*)(.*)(.*)(.*)(.*)(.*)x", "a" * 200),
    ("a?" * 40 + "a" * 40 + "!", "a" * 40),
    ("(a|b|ab)" * 30 + "!", "ab" * 30),
    ("((((a)*b)*c)*d)*!", "a" * 400),
]


@pytest.mark.parametrize(("match", "username"), ENDLESS)
def test_a_match_that_would_run_for_ever_ends(match, username):
    assert account([row(match, "x")], one(username)) is None
    pattern = globus_pattern.parse(match)
    assert globus_search.groups(pattern, username) is None
    assert len(username) > pattern.longest, "re would be asked"
    assert globus_search.cost(pattern, username) < globus.MOST_COST


@pytest.mark.parametrize("match", ["(.*)(.*)(.*)(.*)x", "(a|aa)*@a"])
def test_what_is_within_the_limit_is_found_too(match):
    username = "a" * 300 + {"x": "x", "a": "@a"}[match[-1]]
    assert account([row(match, "x")], one(username)) == "x"


def test_so_many_slow_mappings_that_nobody_would_wait_refuse():
    rows = [row("(a|aa)*" + "a" * 400 + "(b|c).", "x") for _ in range(100)]
    with pytest.raises(Refused) as refusal:
        account(rows, one("a" * 1000))
    assert refusal.value.reason == reasons.GLOBUS_UNDECIDED


def test_a_text_longer_than_any_name_refuses():
    with pytest.raises(Refused, match="2000 characters"):
        account([row("(.*)", source="{name}")], one(name="x" * 2000))


ATOMS = st.sampled_from(["a", "b", ".", "@", "A", "\\.", "\\*"])
MATCHES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        inner.map("({})".format),
        st.tuples(inner, inner).map(lambda pair: "({}|{})".format(*pair)),
        inner.map("({})*".format),
        inner.map("({})?".format),
    ),
    max_leaves=12,
)
TEXTS = st.text("aabA@.*\n", max_size=9)


@settings(deadline=None)
@given(MATCHES, TEXTS, st.booleans())
def test_both_engines_answer_as_re_does(match, text, ignore_case):
    try:
        pattern = globus_pattern.parse(match, ignore_case=ignore_case)
    except ValueError:
        return
    expected = re.compile(match, re.IGNORECASE if ignore_case else 0).fullmatch(text)
    groups = expected.groups() if expected else None
    assert globus_search.search(pattern, text) == groups
    found = globus_search.compiled(pattern.expression, ignore_case).fullmatch(text)
    assert (found.groups() if found else None) == groups
    if groups is not None:
        read = globus_search.lower(text) if ignore_case else text
        assert pattern.inside in read
        assert read.endswith(pattern.ending)


@settings(deadline=None)
@given(st.lists(st.tuples(MATCHES, st.booleans()), min_size=1, max_size=6), st.lists(TEXTS, min_size=1, max_size=3))
def test_the_index_finds_the_mapping_that_asking_each_in_turn_would(rows, usernames):
    usable = []
    for match, ignore_case in rows:
        try:
            usable.append((match, globus_pattern.parse(match, ignore_case=ignore_case), ignore_case))
        except ValueError:
            continue
    values = [row(match, f"r{number}", "{email}", ignore_case=fold) for number, (match, _, fold) in enumerate(usable)]
    identities = [one(number=number, email=text) for number, text in enumerate(usernames)]
    expected = [
        (f"r{number}", identity["id"])
        for number, (_, pattern, _) in enumerate(usable)
        for identity in identities
        if globus_search.search(pattern, identity["email"]) is not None
    ]
    mapped = globus.map_identities(documents(document(*values)), people(*identities), nobody)
    assert (mapped and (mapped.account, mapped.identity.subject)) == (expected[0] if expected else None)
