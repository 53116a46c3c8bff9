"""Globus identities at a running site: `gridwarden map --globus`, `gridwarden globus-map`, and Globus's own code as its caller."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from globus_identity_mapping.errors import IdentityMappingError
from globus_identity_mapping.loader import load_mappers

from gridwarden import chain
from tests.globus import document, one, program, row
from tests.site.slurm import run_as

ANNA = one("anna@cs.example.edu", 1, email="anna@example.edu")
LINKED = one("anna@oidc.example.org", 2, last_authentication=int(time.time()))
ALICE = one("alice@example.org", 3)


@pytest.fixture
def cell(tmp_path):
    """A site with three accounts of pool cms, one Globus file, and all its directories below one of the test's own."""
    values = yaml.safe_load(Path("/etc/gridwarden/site.yaml").read_text())
    mapping = tmp_path / "globus.json"
    mapping.write_text(json.dumps([document(row("(alice|bob)@example\\.org"), row("(.*)@evil\\.org"))]))
    mapping.chmod(0o644)
    values["gridmapdir"] = str(tmp_path / "gridmapdir")
    values["bans"] = [str(tmp_path / "bans")]
    values["ban_lists"] = [str(tmp_path / "ban-list")]
    values["directories"] = {"state": str(tmp_path / "state"), "runtime": str(tmp_path / "run")}
    values["globus"] = {"sets": [{"name": "endpoint", "files": [str(mapping)]}]}
    values["policy"] = [
        {"globus": "endpoint"},
        {"identity_provider": "oidc.example.org", "authenticated_within_minutes": 60, "pool": "cms"},
    ]
    for name in ("gridmapdir", "state/ledger", "state/globus", "run/holders", "run/jobs"):
        (tmp_path / name).mkdir(parents=True)
    for account in ("cms001", "cms002", "cms003"):
        (tmp_path / "gridmapdir" / account).touch()
    (tmp_path / "bans").touch()
    (tmp_path / "ban-list").touch()
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(values))
    return SimpleNamespace(
        config=tmp_path / "site.yaml",
        mapping=mapping,
        values=values,
        holders=tmp_path / "run" / "holders",
        ledger=tmp_path / "state" / "ledger",
    )


def gridwarden(cell, *arguments, given=None):
    command = ["gridwarden", "--config", cell.config, *arguments]
    text = json.dumps(given) if given is not None else None
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def mapped(cell, *identities, options=()):
    return gridwarden(cell, "map", "--globus", "-", *options, given=list(identities))


def test_a_mapping_gives_an_account_of_the_sites_own_and_the_ledger_says_who_it_was_for(cell):
    done = mapped(cell, ANNA, ALICE, options=("--explain",))
    assert (done.returncode, done.stdout) == (0, "alice\n"), done.stderr
    assert f"{cell.mapping}, document 1, mapping 1" in done.stderr
    (record,) = (line.body for line in chain.read(cell.ledger) if line.body["kind"] == "lease")
    assert (record["scheme"], record["subject"], record["account"]) == ("globus", ALICE["id"], "alice")
    assert "scheme\tlocal\n" in (cell.holders / "alice").read_text()


def test_whom_no_mapping_knows_may_have_an_account_of_a_pool_by_domain_and_recent_login(cell):
    account = mapped(cell, ANNA, LINKED).stdout.strip()
    assert account.startswith("cms00")
    assert f"subject\t{LINKED['id']}\n" in (cell.holders / account).read_text()
    assert mapped(cell, LINKED).stdout.strip() == account
    done = mapped(cell, ANNA, LINKED | {"last_authentication": 1})
    assert (done.returncode, done.stdout) == (77, "")
    assert "policy-no-match" in done.stderr


def test_a_ban_of_any_linked_identity_keeps_the_person_out_even_of_one_that_does_not_count(cell):
    added = gridwarden(cell, "ban", "add", "--subject", ANNA["id"], "--because", "stolen password")
    assert added.returncode == 0, added
    for linked in (ANNA, ANNA | {"status": "closed"}):
        done = mapped(cell, ALICE, linked)
        assert (done.returncode, done.stdout) == (77, "")
        assert "banned: " in done.stderr


@pytest.mark.parametrize("account", ["root", "cms001", "daemon", "nobody-here", "../../etc/x"])
def test_no_mapping_gives_away_what_is_not_an_account_of_the_sites_own(cell, account):
    done = mapped(cell, one(f"{account}@evil.org", 9))
    assert (done.returncode in (77, 78), done.stdout) == (True, ""), done
    assert os.listdir(cell.holders) == []


def test_a_dry_run_writes_nothing(cell):
    done = mapped(cell, ALICE, options=("--dry-run",))
    assert "would have alice" in done.stderr
    assert os.listdir(cell.holders) == os.listdir(cell.ledger) == os.listdir(cell.ledger.parent / "globus") == []


def test_a_faulty_change_keeps_the_mapping_and_says_so_and_config_check_finds_it(cell, slurm):
    assert mapped(cell, ALICE).stdout == "alice\n"
    good = cell.mapping.read_text()
    cell.mapping.write_text(good[:-5])
    assert mapped(cell, ALICE).stdout == "alice\n"
    check = gridwarden(cell, "config", "check")
    assert (check.returncode, "globus.json: it is not JSON" in check.stderr) == (78, True)
    cell.mapping.write_text(good.replace("alice", "nobody"))
    assert mapped(cell, ALICE).returncode == 77

    def told():
        lines = Path("/var/log/syslog").read_text(errors="replace").splitlines()
        return [
            line.split("outcome=")[1].split()[0]
            for line in lines
            if "event=globus" in line and str(cell.mapping) in line
        ]

    slurm.until("the changes in syslog", lambda: told() == ["loaded", "kept", "loaded"])


def test_config_check_tells_where_globus_would_answer_otherwise(cell):
    assert "reference" not in gridwarden(cell, "config", "check").stdout
    cell.mapping.write_text(json.dumps([document(row("alice@a\\.org|bob@b\\.org", "alice", ignore_case="false"))]))
    done = gridwarden(cell, "config", "check")
    assert done.returncode == 0
    assert f"{cell.mapping}, document 1, mapping 1: ignore_case is a text" in done.stdout
    assert "outside of ( )" in done.stdout


@pytest.fixture
def sudo_rule():
    rule = Path("/etc/sudoers.d/gcs")
    rule.write_text("alice ALL=(root) NOPASSWD: /usr/local/bin/gridwarden\n")
    rule.chmod(0o440)
    yield
    rule.unlink()


@pytest.mark.parametrize("command", [["map", "--globus", "-"], ["globus-map", "-a"]])
def test_nobody_but_whom_the_site_believes_brings_an_identity_set(cell, sudo_rule, command):
    words = ["sudo", "-n", "/usr/local/bin/gridwarden", "--config", str(cell.config), *command]
    done = run_as("alice", *words, text=json.dumps([ALICE]))
    assert done.returncode == 77
    assert "credential-untrusted: alice brings a Globus identity set" in done.stderr
    cell.values["credentials"] = {**cell.values.get("credentials", {}), "callers": ["alice"]}
    cell.config.write_text(yaml.safe_dump(cell.values))
    assert run_as("alice", *words, text=json.dumps([ALICE])).returncode == 0


@pytest.mark.parametrize("command", [["map", "--globus", "-"], ["globus-map", "-a"]])
@pytest.mark.parametrize("given", ['[{"id": 1}]', '[{"id', "[]", "\x00"])
def test_an_identity_set_that_is_none_is_refused_with_a_record(cell, command, given):
    done = subprocess.run(
        ["gridwarden", "--config", cell.config, *command], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 77, done.stderr
    (record,) = [line.body for line in chain.read(cell.ledger)]
    assert (record["kind"], record["reason"], record["command"]) == ("refused", "credential-malformed", command[0])


def test_an_identity_set_that_is_only_asked_about_leaves_no_record(cell):
    done = gridwarden(cell, "map", "--globus", "-", "--dry-run", "--format", "json", given=[])
    assert (done.returncode, json.loads(done.stdout)[0]["reason"]) == (77, "credential-malformed")
    assert not list(chain.read(cell.ledger))


# gridwarden as the external mapping program of Globus's own code, as an endpoint of Globus Compute calls it.


@pytest.fixture
def theirs(cell):
    command = program("/usr/local/bin/gridwarden", "--config", cell.config, "globus-map")
    (mapper,) = load_mappers([command], "145812c8-decc-41f1-83cf-bb2a85a2a70b", "11111111-0000-0000-0000-000000000000")
    mapper.mapping_timeout_s = 60  # the machine may be busy
    return mapper


def test_globus_is_told_the_account_and_whose_it_is(theirs):
    assert theirs.map_identities([ANNA, ALICE]) == [{ALICE["id"]: ["alice"]}]
    assert theirs.map_identity(ALICE) == "alice"
    (result,) = theirs.map_identities([ANNA, LINKED])
    assert result[LINKED["id"]][0].startswith("cms00")


def test_globus_is_told_that_nobody_is_mapped_where_no_rule_matches(theirs):
    assert theirs.map_identity(ANNA) is None
    assert theirs.map_identities([ANNA, one("x@nowhere.org", 7)]) in ([], [{}])


def test_globus_gets_an_error_for_whom_the_site_refuses(theirs, cell):
    cell.values["policy"].insert(0, {"identity_provider": "example.org", "refuse": "closed for repairs"})
    cell.config.write_text(yaml.safe_dump(cell.values))
    with pytest.raises(IdentityMappingError, match="closed for repairs"):
        theirs.map_identities([ALICE])


def test_the_documented_input_without_a_status_is_mapped(cell):
    given = {key: value for key, value in ALICE.items() if key != "status"}
    document = {"DATA_TYPE": "identity_mapping_input#1.0.0", "identities": [given]}
    done = gridwarden(cell, "globus-map", "-c", "x", "-s", "y", given=document)
    assert json.loads(done.stdout) == {
        "DATA_TYPE": "identity_mapping_output#1.0.0",
        "result": [{"id": ALICE["id"], "output": "alice"}],
    }
