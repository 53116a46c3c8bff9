"""What is wrong with a Globus mapping file, and what an administrator should know of one."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import globus_documents, globus_people, globus_remarks
from gridwarden.mapper.globus import Property
from gridwarden.settings import Settings
from tests.globus import EXAMPLES, document, one, people, program, row


def faults(*values):
    with pytest.raises(ConfigurationError) as error:
        globus_documents.parse(json.dumps(values).encode(), "map.json")
    return error.value.faults


def remarks(*values):
    return globus_remarks.remarks(json.dumps(values).encode(), "map.json")


@pytest.mark.parametrize(
    ("match", "what"),
    [
        ("a\\b", "backslash before 'b'"),
        ("a\\1", "backslash before '1'"),
        ("(a)\\0", "backslash before '0'"),
        ("a\\", "backslash before 'nothing'"),
        ("*a", "'*' behind nothing"),
        ("(?:a)", "'?' behind nothing"),
        ("(?i)a", "'?' behind nothing"),
        ("a|?b", "'?' behind nothing"),
        ("a**", "'*' behind nothing"),
        ("a*?", "'?' behind nothing"),
        ("(a*)*", "what can match nothing"),
        ("(a|)*", "what can match nothing"),
        ("(a", "not closed"),
        ("a)", "closes nothing"),
        ("a" * 1025, "longer than 1024"),
        ("(" * 51 + ")" * 51, "more than 50 groups"),
    ],
)
def test_a_match_that_means_nothing_is_named_with_its_place(match, what):
    (fault,) = faults(document(row("a", "x"), row(match, "x")))
    assert fault.startswith("map.json: document 1, mapping 2: match: ")
    assert what in fault


@pytest.mark.parametrize(
    ("mapping", "what"),
    [
        (row("(a)", "{1}"), "output: {1} names a group, of which there are 1"),
        (row("a", "{0}"), "output: {0} names a group, of which there are none"),
        (row("(a)", "{-1}"), "neither a property nor the number of a group"),
        (row("(a)", "{}"), "neither a property nor the number of a group"),
        (row("(a)", "{0}", "{0}"), "source: {0} names a group"),
        (row("(a)", literal=True), "output: {0} names a group"),
        (row("(a)", ignore_case=1), "ignore_case: must be true or false, not 1"),
        (row("(a)", literal="yes"), 'literal: must be true or false, not "yes"'),
        ({"source": "{username}", "match": "a"}, "needs source, match and output"),
        (row("a", 7), "needs source, match and output"),
        ("a", "needs source, match and output"),
    ],
)
def test_a_mapping_that_is_not_one_is_named(mapping, what):
    (fault,) = faults(document(mapping))
    assert what in fault


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"DATA_TYPE": "expression_identity_mapping#2.0.0", "mappings": []}, "its DATA_TYPE is"),
        ({"DATA_TYPE": "ldap_identity_mapping#1.0.0"}, "its DATA_TYPE is"),
        ({"mappings": []}, "its DATA_TYPE is null"),
        ({"DATA_TYPE": "expression_identity_mapping#1.0.0"}, "needs mappings"),
        (program(), "needs command"),
        ({"DATA_TYPE": "external_identity_mapping#1.0.0", "command": "/bin/x -a"}, "needs command"),
        ({"DATA_TYPE": "external_identity_mapping#1.0.0", "command": ["/bin/x", None]}, "needs command"),
        (program("map-people"), "must be an absolute path"),
        (program("/opt/../tmp/x"), "must be an absolute path"),
    ],
)
def test_a_document_that_the_reference_would_drop_or_mistake_is_a_fault(value, what):
    (fault,) = faults(value)
    assert what in fault


def test_every_fault_of_a_file_is_told_at_once():
    assert len(faults(document(row("(", "x"), row("a", "{9}")), {"DATA_TYPE": "x"}, program("x"))) == 4


@pytest.mark.parametrize("data", [b"", b"\xff", b"[", b"7", b"[7]", b'[{"a": 1, "a": 2}]', b"[NaN]", b"[" * 100_000])
def test_a_file_that_is_no_list_of_documents_is_named(data):
    with pytest.raises(ConfigurationError, match=r"^map\.json: (it is n|a name stands|must be a list|it holds)"):
        globus_documents.parse(data, "map.json")


def test_one_document_may_stand_alone_as_globus_connect_server_has_it():
    (found,) = globus_documents.parse(json.dumps(document(row("(.*)@a"))).encode(), "map.json")
    assert found.rows[0].output == (0,)


def test_a_place_behind_a_backslash_is_text():
    sources = (r"a\{b}{c}", r"a\\{b}", "{a}{b}")
    (found,) = globus_documents.parse(json.dumps([document(*(row("x", "x", text) for text in sources))]).encode(), "m")
    assert found.sources == (
        (r"a\{b}", Property("c")),
        (r"a" + r"\\", Property("b")),
        (Property("a"), Property("b")),
    )


@pytest.mark.parametrize(
    ("mapping", "what"),
    [
        (row("(a@b)|(c@d)", "x"), "outside of ( )"),
        (row("(.*)@b", ignore_case="false"), "ignore_case is a text"),
        (row("a\\b", "x", literal=True), "holds a backslash"),
        (row("(.*)@example.com"), "exampleXcom"),
        (row("^(.*)@b$"), "$ ^ in its match stands for itself"),
        (row("(.*)(.*)@b", "{0}{1}"), "one after the other"),
        (row("(.*)(.*)(.*)@b", "x"), "may take very long"),
        (row("(a|aa)*@b", "x"), "may take very long"),
        (row("(.*)@b", "{0}@data.example.edu"), "never the name of an account"),
        (row("(.*)@b", "root"), "never the name of an account"),
        (row("(.*)@b", source="{email}"), "has no email"),
        (row("(.*)@b", ignorecase=True), "nobody reads 'ignorecase'"),
        (row("(.*)@b\u00e9", ignore_case=True), "A to Z only"),
    ],
)
def test_what_the_reference_answers_otherwise_and_what_is_a_trap_is_told(mapping, what):
    (remark,) = remarks(document(row("(.*)@example\\.org"), mapping))[-1:]
    assert what in remark
    assert remark.startswith("map.json, document 1")


def test_a_file_without_surprises_has_no_remarks():
    clean = document(row("(.*)@example\\.org"), row("(alice|bob)@example\\.org", "site", comment="two people"))
    assert remarks(clean, program("/bin/x")) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_every_documented_example_can_be_read(example):
    remarks(*example["documents"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"7",
        b"[[]]",
        b"[{}]",
        b'{"DATA_TYPE": "identity_mapping_input#2.0.0", "identities": [{}]}',
        b"[" * 100_000,
        b" " * 300_000,
        json.dumps([one(), one("bela@b.org")]).encode(),
        json.dumps([one(id="7")]).encode(),
        json.dumps([one(sub="00000000-0000-0000-0000-0000000000ff")]).encode(),
        json.dumps([one("a\nb@x")]).encode(),
        json.dumps([one("a\ud800")]).encode(),
        json.dumps([one(number=number) for number in range(101)]).encode(),
        json.dumps([one()]).replace('"status"', '"id": "x", "status"').encode(),
    ],
)
def test_an_identity_set_that_is_none_is_refused(data):
    with pytest.raises(Refused, match="credential-malformed"):
        globus_people.parse(data)


def test_an_identity_has_the_domain_of_its_name_and_the_time_of_its_last_login():
    (person,) = people(one("Anna@Dept.Example.ORG", last_authentication=1775771457))
    assert person.identity.identity_provider == "dept.example.org"
    assert person.identity.authenticated == 1775771457
    assert person.identity.credential == "username=Anna@Dept.Example.ORG"
    assert (person.identity.scheme, person.identity.subject) == ("globus", "00000000-0000-0000-0000-000000000001")


@pytest.mark.parametrize(
    ("given", "domain"), [("anna", ""), ("anna@", ""), ("a@b@c.org", "c.org"), ("anna@-x", ""), ("anna@\u00e9.org", "")]
)
def test_no_domain_is_guessed(given, domain):
    assert people(one(given))[0].identity.identity_provider == domain


@pytest.mark.parametrize("time", [None, True, -1, 1.5, "1775771457", 10**18])
def test_no_time_is_guessed(time):
    assert people(one(last_authentication=time))[0].identity.authenticated == 0


def test_a_set_may_come_as_an_endpoint_a_program_or_the_globus_cli_hands_it_over():
    for value in (
        [one()],
        {"identities": [one()]},
        {"DATA_TYPE": "identity_mapping_input#1.0.0", "identities": [one()]},
    ):
        assert globus_people.parse(json.dumps(value).encode()) == people(one())


def test_an_identity_without_a_status_counts_only_for_who_is_asked_as_a_program():
    given = {**one()}
    del given["status"]
    data = json.dumps([given]).encode()
    assert [person.counts for person in globus_people.parse(data)] == [False]
    assert [person.counts for person in globus_people.parse(data, status_required=False)] == [True]
    for wrong in (["used"], {}, [], 1):
        with pytest.raises(Refused, match="status is not text"):
            globus_people.parse(json.dumps([one(status=wrong)]).encode(), status_required=False)
    assert not globus_people.parse(json.dumps([one(status="closed")]).encode(), status_required=False)[0].counts


def test_a_rule_that_asks_for_globus_files_that_are_not_declared_is_a_fault():
    values = {"site": "X", "pools": ["cms"], "slurm": {"cluster": "c"}, "policy": [{"globus": "endpoint"}]}
    with pytest.raises(ValidationError, match="'endpoint' is not the name of one of"):
        Settings.of(values)
    sets = [{"name": "endpoint", "files": ["/etc/gridwarden/globus.json"]}]
    assert Settings.of({**values, "globus": {"sets": sets}}).policy[0].globus == "endpoint"
    for faulty in ([*sets, *sets], [{**sets[0], "files": []}], [{**sets[0], "gateway": "x"}]):
        with pytest.raises(ValidationError):
            Settings.of({**values, "globus": {"sets": faulty}})
