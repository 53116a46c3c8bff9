"""What stands for an identity once it is old: the same for the same person, and nothing else of them."""

from __future__ import annotations

import json

import pytest

from gridwarden import records
from gridwarden.accounting import pseudonyms

KEY = bytes(range(32))
FIELDS = sorted({field for fields in records.KINDS.values() for field in fields} | set(records.COMMON))


@pytest.mark.parametrize("field", FIELDS)
def test_of_every_field_of_a_record_somebody_has_said_whether_it_names_people(field):
    assert sum(field in named for named in (pseudonyms.NAMING, pseudonyms.FREE, pseudonyms.IMPERSONAL)) == 1


def test_one_person_has_one_pseudonym_and_two_have_two():
    anna = pseudonyms.pseudonym(KEY, "x509", "/CN=Anna")
    assert anna.startswith(pseudonyms.PREFIX)
    assert anna == pseudonyms.pseudonym(KEY, "x509", "/CN=Anna") == pseudonyms.pseudonym(KEY, "x509", anna)
    others = [pseudonyms.pseudonym(KEY, "token", "/CN=Anna"), pseudonyms.pseudonym(KEY, "x509", "/CN=Bela")]
    assert len({anna, *others, pseudonyms.pseudonym(bytes(32), "x509", "/CN=Anna")}) == 4
    assert pseudonyms.pseudonym(KEY, "x509", "") == ""


def test_nothing_of_a_person_stays_in_a_record_but_what_accounts_for_their_jobs():
    body = dict.fromkeys(FIELDS, "Anna") | {"scheme": "x509", "time": 1, "pid": None, "unknown": "Anna"}
    for field in pseudonyms.IMPERSONAL - {"time", "pid", "scheme"}:
        body[field] = "kept"
    found = json.loads(pseudonyms.of_text(KEY, json.dumps(body)))
    assert "Anna" not in json.dumps(found)
    assert (found["subject"], found["account"], found["time"], found["pid"]) == (
        pseudonyms.pseudonym(KEY, "x509", "Anna"), "kept", 1, None,
    )  # fmt: skip
    assert found["name"]  # by which a lease is told from a fixed account


def test_pilot_and_second_identity_have_the_pseudonyms_that_they_have_as_owners():
    body = {"scheme": "x509", "subject": "/CN=Anna", "also_scheme": "token", "also_subject": "i,anna"}
    body |= {"pilot_scheme": "idtoken", "pilot_subject": "pool,bela"}
    found = pseudonyms.of_record(KEY, body)
    for prefix in ("", "also_", "pilot_"):
        whole = pseudonyms.pseudonym(KEY, body[f"{prefix}scheme"], body[f"{prefix}subject"])
        assert found[f"{prefix}subject"] == whole
    del body["pilot_scheme"]  # a record of before
    older = pseudonyms.of_record(KEY, body)["pilot_subject"]
    assert older == pseudonyms.pseudonym(KEY, "x509", "pool,bela")


def test_the_key_is_made_once_and_only_root_may_know_it(tmp_path):
    tmp_path.chmod(0o700)
    path = tmp_path / "pseudonym-key"
    key = pseudonyms.key_of(path)
    assert (len(key), pseudonyms.key_of(path), path.stat().st_mode & 0o777) == (32, key, 0o600)
    path.chmod(0o640)
    with pytest.raises(pseudonyms.ConfigurationError, match="read by others"):
        pseudonyms.key_of(path)
    path.chmod(0o600)
    path.write_bytes(b"torn")
    with pytest.raises(pseudonyms.ConfigurationError, match="32 bytes"):
        pseudonyms.key_of(path)
