"""``gridwarden map`` for people without a credential, whom a trusted caller names: --dn, --user, --verified-by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from gridwarden import chain
from tests.site.slurm import run_as
from tests.story.test_map import cell, gridwarden, sudo_rule  # noqa: F401 - fixtures


@pytest.fixture
def gateway(cell):  # noqa: F811 - the fixture
    configure(cell, policy=[{"subject": "an*", "pool": "cms"}, {"fqan": "/cms", "pool": "cms"}])
    return cell


def configure(cell, **changes):  # noqa: F811
    values = yaml.safe_load(cell.config.read_text())
    cell.config.write_text(yaml.safe_dump({**values, **changes}))


def records(cell, kind):  # noqa: F811
    return [line.body for line in chain.read(cell.ledger) if line.body["kind"] == kind]


def test_a_user_whom_root_has_verified_gets_an_account_and_the_records_say_on_whose_word(gateway):
    done = gridwarden(gateway, "map", "--user", "anna", "--verified-by", "gateway gw1")
    assert done.returncode == 0
    (record,) = records(gateway, "lease")
    assert (record["scheme"], record["subject"]) == ("local", "anna")
    assert record["account"] == done.stdout.strip()
    assert record["credential"] == "caller=root verified-by=gateway gw1"
    assert gridwarden(gateway, "map", "--user", "anna", "--verified-by", "gateway gw1").stdout == done.stdout
    assert gridwarden(gateway, "map", "--user", "andrea", "--verified-by", "gateway gw1").stdout != done.stdout


def test_a_dn_whose_holder_was_verified_has_the_account_of_their_proxy(gateway, people):
    words = ("--dn", people.anna.subject, "--fqan", "/cms", "--verified-by", "arc")
    done = gridwarden(gateway, "map", *words)
    assert done.returncode == 0
    assert gridwarden(gateway, "map", "--proxy", people.anna.proxy).stdout == done.stdout


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["--verified-by", "gw1", "--dry-run"]])
def test_asking_about_somebody_lends_them_nothing(gateway, words):
    for whom in (["--user", "anna"], ["--dn", "/DC=org/CN=Anna", "--fqan", "/cms"]):
        done = gridwarden(gateway, "map", *whom, *words)
        assert (done.returncode, done.stdout) == (0, "")
        assert "nothing was done" in done.stderr
    assert os.listdir(gateway.holders) == []


@pytest.mark.usefixtures("sudo_rule")
def test_nobody_is_mapped_on_the_word_of_whom_the_site_does_not_believe(gateway):
    command = ["sudo", "-n", "/usr/local/bin/gridwarden", "--config", str(gateway.config), "map"]
    words = [*command, "--user", "anna", "--verified-by", "gw1 caller=root"]
    done = run_as("alice", *words)
    assert (done.returncode, done.stdout) == (77, "")
    assert "credential-untrusted: alice brings somebody whom gw1 caller=root has verified" in done.stderr
    assert os.listdir(gateway.holders) == []
    (record,) = records(gateway, "refused")
    assert record["reason"] == "credential-untrusted"
    configure(gateway, credentials={"callers": ["alice"]})
    assert run_as("alice", *words).returncode == 0
    (record,) = records(gateway, "lease")
    assert record["credential"] == "caller=alice verified-by=gw1 caller=root"


def test_a_ban_holds_for_whom_a_caller_has_verified(gateway):
    gateway.bans.write_text('"/DC=org/CN=Anna"\n')
    done = gridwarden(gateway, "map", "--dn", "/DC=org/CN=Anna", "--fqan", "/cms", "--verified-by", "gw1")
    assert done.returncode == 77
    assert "banned" in done.stderr
    assert gridwarden(gateway, "map", "--user", "an/na", "--verified-by", "gw1").returncode == 77


@pytest.mark.parametrize(
    "words",
    [
        ["--proxy", "p.pem", "--verified-by", "gw1"],
        ["--dn", "/CN=a", "--claims", "/dev/null", "--verified-by", "gw1"],
        ["--user", "anna", "--proxy", "p.pem"],
        ["--user", "anna", "--verified-by", ""],
        ["--user", "anna", "--verified-by", "/DC=org/CN=CA"],
        ["--user", "anna", "--verified-by", "a\nb"],
        ["--user", "anna", "--verified-by", "a" * 101],
        ["--user", "anna", "--fqan", "/cms"],
    ],
)
def test_what_could_be_read_in_two_ways_maps_nobody(gateway, words):
    assert gridwarden(gateway, "map", *words).returncode == 2
    assert not list(Path(gateway.holders).iterdir())


@pytest.mark.parametrize("words", [["--dn", "Anna"], ["--dn", "/CN=a", "--fqan", "cms"], ["--user", "a/b"]])
def test_somebody_verified_who_cannot_be_named_so_is_refused_with_a_record(gateway, words):
    assert gridwarden(gateway, "map", *words, "--verified-by", "gw1").returncode == 77
    (record,) = records(gateway, "refused")
    assert record["reason"] == "credential-malformed"


@pytest.mark.parametrize(("given", "code"), [('{"iss": ', 2), ('{"iss": "https://nowhere.example.org/"}', 77)])
def test_a_question_about_claims_leaves_no_record_whatever_its_answer(gateway, given, code, tmp_path):
    claims = tmp_path / "claims.json"
    claims.write_text(given)
    assert gridwarden(gateway, "map", "--claims", claims).returncode == code
    assert list(chain.read(gateway.ledger)) == []
