from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.names import exact
from tests.gridmap import person

# Bytes as they may come, and what could be taken for something else: accounts, cooling names, suffixes, escapes.
TRICKY = [
    *("cms001", "root", ".gridwarden", ".gridwarden-cooling:cms001:00", "..", ".", "/", "%", "%2f", "%00", "%sha256-"),
    *(":", ":cms", ":mapcount=0001", "\x00", "\n", "\x01cms", "A", "a", "\u0430", "\u0130", "\u017f", "\ufb01"),
    *("\u2044", "\U0001f600", "\udcff", "\udc80"),
]
PARTS = st.one_of(
    st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.lists(st.sampled_from(TRICKY), max_size=6).map("".join),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore").decode()),
)
LONG = st.tuples(PARTS, st.integers(1, 4000)).map(lambda drawn: (drawn[0] * drawn[1])[: drawn[1]])
SUBJECTS = st.one_of(PARTS, LONG).map(lambda text: "/" + text)
GROUPS = st.lists(st.from_regex(r"[a-z_][a-z0-9_.-]{0,31}", fullmatch=True), max_size=3).map(tuple)
SLOTS = st.integers(0, 9999)


def raw(subject):
    return subject.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("subject", "name"),
    [  # as the real LCMAPS wrote them
        ("/DC=org/DC=example/CN=Jane Doe", "%2fdc%3dorg%2fdc%3dexample%2fcn%3djane%20doe"),
        ("/C=XX/CN=a-b.c_d", "%2fc%3dxx%2fcn%3da%2db%2ec%5fd"),
        ("/CN=Jos\\xC3\\xA9", "%2fcn%3djos%5cxc3%5cxa9"),
        ("/CN=50%25", "%2fcn%3d50%2525"),
    ],
)
def test_leases_have_the_names_that_lcmaps_gives_them(subject, name):
    assert lease_name(subject) == name
    assert lease_name(subject, ("pilot", "cms"), 12) == f"{name}:pilot:cms:mapcount=0012"


@given(SUBJECTS, GROUPS, SLOTS)
def test_no_subject_can_name_an_account_a_hidden_file_or_another_directory(subject, groups, slot):
    name = lease_name(subject, groups, slot)
    assert name.startswith(("%2f", "%sha256-"))
    assert len(name) <= 255
    assert set(name.partition(":")[0]) <= set("-%0123456789abcdefghijklmnopqrstuvwxyz")


@given(SUBJECTS, GROUPS, SLOTS)
def test_no_subject_can_claim_groups_a_slot_or_a_hashed_name(subject, groups, slot):
    name = lease_name(subject, groups, slot)
    if name.startswith("%sha256-"):
        assert len(lease_name("/" + "a" * 200 + subject, groups, slot)) == len(name) == 72
    else:
        assert name.partition(":")[2].split(":") == [*groups, *([f"mapcount={slot:04d}"] if slot else [])] or not (
            groups or slot
        )


@given(SUBJECTS, SUBJECTS)
def test_two_subjects_have_one_name_only_when_case_alone_tells_them_apart(one, other):
    names = lease_name(one), lease_name(other)
    folded = raw(one).lower() == raw(other).lower()
    assert (names[0] == names[1]) == (folded if len(names[0]) < 72 or names[0][1] != "s" else one == other)


@given(SUBJECTS)
def test_unicode_case_and_look_alikes_are_never_folded(subject):
    assert (lease_name(subject) == lease_name(subject.upper())) == (
        raw(subject).lower() == raw(subject.upper()).lower()
        if lease_name(subject)[1] != "s"
        else subject == subject.upper()
    )


@given(SUBJECTS, SUBJECTS)
def test_the_registry_tells_every_two_subjects_apart(one, other):
    written = [exact(person()._replace(subject=subject)) for subject in (one, other)]
    assert (written[0] == written[1]) == (one == other)


def test_a_name_too_long_for_a_file_is_still_a_name_and_of_nobody_else():
    assert len(lease_name("/" + "a" * 252)) == 255
    names = [lease_name("/" + "a" * length, groups) for length in (253, 254, 4000) for groups in ((), ("cms",))]
    names += [lease_name("/" + "A" * 253), lease_name("/" + "a" * 253, slot=1), lease_name("/" + "a" * 249, ("cms",))]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {72}


@pytest.mark.parametrize("subject", ["", "cms001", "%2fcn", ".gridwarden", "CN=Jane"])
def test_a_subject_that_is_no_dn_gets_no_lease_name(subject):
    with pytest.raises(Refused) as refusal:
        lease_name(subject)
    assert refusal.value.reason == reasons.CREDENTIAL_MALFORMED
