"""What Globus's own code answers to the same documents and identities, and every difference."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from globus_identity_mapping.errors import InvalidMappingError
from globus_identity_mapping.mappers import ExpressionIdentityMapping
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import globus, globus_documents, globus_pattern, globus_search
from tests.globus import EXAMPLES, document, documents, one, people, row
from tests.globus_reference import REFUSED, REPAIRS, answer

PAGE = (Path(__file__).parents[2] / "docs" / "globus.md").read_text()


def ours(values, identities):
    try:
        mapped = globus.map_identities(documents(*values), people(*identities), None)
    except Refused:
        return REFUSED
    return mapped and mapped.account


EXPRESSIONS = [one for one in EXAMPLES if "command" not in json.dumps(one["documents"])]


@pytest.mark.parametrize("example", EXPRESSIONS, ids=lambda example: example["name"])
def test_globus_gives_what_it_documents_too(example):
    assert answer(example["documents"], example["identities"]) == example["account"]


# The difference, documents, identities, what Globus's code answers, what we do.
DIFFERENCES = [
    ("alternatives", [document(row("alice@a\\.org|bob@b\\.org", "site"))], [one("alice@a.org.evil.com")], "site", None),
    ("whole text", [document(row("(.*)@a", source="{email}"))], [one(email="alice@a\n")], "alice", None),
    ("flags", [document(row("(.*)@a", ignore_case="false"))], [one("alice@A")], "alice", None),
    ("folding", [document(row("a@kit.edu", "x", ignore_case=True))], [one("a@\u212ait.edu")], "x", None),
    ("literal", [document(row("a\\.b", "x", literal=True))], [one("a\\!b")], "x", None),
    ("one pass", [document(row("(.*)/(.*)", "{0}-{1}"))], [one("a{1}/victim")], "avictim-victim", REFUSED),
    ("missing values", [document(row("(.*)", source="{email}"), row("(.*)@a"))], [one("alice@a")], None, "alice"),
    ("missing values", [document(row("(a)|(b)", "{1}"), row(".", "x"))], [one("a")], None, REFUSED),
    ("missing values", [document(row("(.*)", source="{age}"), row("(.*)@a"))], [one("alice@a", age=7)], None, "alice"),
    ("impossible accounts", [document(row("(.*)@a"))], [one("../../x@a")], "../../x", REFUSED),
]


@pytest.mark.parametrize(("difference", "values", "identities", "theirs", "our_own"), DIFFERENCES)
def test_every_difference_is_real_explained_and_the_only_one(difference, values, identities, theirs, our_own):
    assert answer(values, identities) == theirs
    assert ours(values, identities) == our_own
    assert answer(values, identities, REPAIRS) == our_own
    assert answer(values, identities, REPAIRS - {difference}) != our_own
    assert f"| {difference} |" in PAGE


def test_no_difference_is_listed_that_is_none():
    assert {difference for difference, *_ in DIFFERENCES} == REPAIRS


VALUES = st.text("ab@.{}0/\\\n|-\u212aK", max_size=8)
ODD = st.one_of(VALUES, VALUES, VALUES, st.none(), st.just(7))
STATUS = st.sampled_from(["used", "private", "used", "unused", None])
PIECES = st.sampled_from(["a", "b", "@", ".", ".*", "(.*)", "(a|b)", "(a|ab)*", "k", "b?", "|", "\\.", "{", "(a)?"])
FLAGS = st.sampled_from([True, False, False, "true", "false"])
ROWS = st.builds(
    lambda match, output, source, ignore_case, literal: row(
        match, output, source, ignore_case=ignore_case, literal=literal
    ),
    st.lists(PIECES, min_size=1, max_size=5).map("".join),
    st.sampled_from(["{0}", "{0}{1}", "x{0}", "site", "{email}", "\\{0}", "{1}-{0}"]),
    st.sampled_from(["{username}", "{email}", "{email}/{name}", "{age}", "a{email}"]),
    FLAGS,
    FLAGS,
)
IDENTITIES = st.lists(
    st.builds(
        lambda username, email, name, status: {"username": username, "email": email, "name": name, "status": status},
        st.text("ab@.k", max_size=6),
        ODD,
        ODD,
        STATUS,
    ),
    min_size=1,
    max_size=3,
).map(lambda found: [one(number=number) | values for number, values in enumerate(found)])
DOCUMENTS = st.lists(st.lists(ROWS, max_size=4).map(lambda rows: document(*rows)), min_size=1, max_size=2)


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, IDENTITIES)
def test_nothing_else_is_answered_otherwise(values, identities):
    try:
        documents(*values)
    except ConfigurationError:
        values = [document(*(row for row in value["mappings"] if is_sound(row))) for value in values]
    assert ours(values, identities) == answer(values, identities, REPAIRS)


def is_sound(value):
    try:
        globus_documents.parse(json.dumps([document(value)]).encode(), "map.json")
    except ConfigurationError:
        return False
    return True


ONLY_THEIRS = re.compile(r"\(\?|\\[0-9]")  # extensions and references of Python's re
ONLY_OURS = re.compile(r'\\\\|\\"|\\[*?]\?')  # what is escaped, counted as what it stands for


@settings(max_examples=300, deadline=None)
@given(st.text('ab.|()*?\\{}[]^$+01"@', max_size=10), st.text("ab.*?\\{[^$+01@", max_size=6))
def test_both_read_the_same_match_language_but_for_what_the_page_names(match, text):
    theirs, pattern, fault = None, None, ""
    try:
        theirs = re.compile(f"(?:{ExpressionIdentityMapping._compile_match(match).pattern[1:-1]})")
    except (InvalidMappingError, re.error):
        pass
    try:
        pattern = globus_pattern.parse(match)
    except ValueError as error:
        fault = str(error)
    if pattern is None:
        assert theirs is None or ONLY_THEIRS.search(match) or "can match nothing" in fault
        return
    if theirs is None:
        assert ONLY_OURS.search(match)
        return
    expected = theirs.fullmatch(text)
    assert globus_search.groups(pattern, text) == (expected.groups() if expected else None)
