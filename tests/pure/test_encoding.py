from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.names import exact
from tests.gridmap import person

SUBJECTS = st.binary(max_size=60).map(lambda raw: "/" + raw.decode("utf-8", "surrogateescape"))


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


@given(SUBJECTS)
def test_no_subject_can_name_an_account_a_hidden_file_or_another_directory(subject):
    name = lease_name(subject)
    assert name.startswith("%2f")
    assert set(name) <= set("%0123456789abcdefghijklmnopqrstuvwxyz")


@given(SUBJECTS, SUBJECTS)
def test_two_subjects_have_one_name_only_when_case_alone_tells_them_apart(one, other):
    folded = [subject.encode("utf-8", "surrogateescape").lower() for subject in (one, other)]
    assert (lease_name(one) == lease_name(other)) == (folded[0] == folded[1])


@given(SUBJECTS, SUBJECTS)
def test_the_registry_tells_every_two_subjects_apart(one, other):
    written = [exact(person()._replace(subject=subject)) for subject in (one, other)]
    assert (written[0] == written[1]) == (one == other)


def test_a_name_too_long_for_a_file_is_refused_and_says_by_how_much():
    assert len(lease_name("/" + "a" * 252)) == 255
    with pytest.raises(Refused, match="needs a name of 256 bytes") as refusal:
        lease_name("/" + "a" * 253)
    assert refusal.value.reason == reasons.LEASE_NAME_TOO_LONG


@pytest.mark.parametrize("subject", ["", "cms001", "%2fcn", ".gridwarden", "CN=Jane"])
def test_a_subject_that_is_no_dn_gets_no_lease_name(subject):
    with pytest.raises(Refused) as refusal:
        lease_name(subject)
    assert refusal.value.reason == reasons.CREDENTIAL_MALFORMED
