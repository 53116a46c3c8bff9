"""`gridwarden map` and `gridwarden ban` as an administrator types them, with a gridmapdir of the test's own."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from gridwarden import chain
from tests.gridmap import holders_of_accounts
from tests.site.slurm import run_as


@pytest.fixture
def cell(tmp_path):
    """A site with three accounts of pool cms and all its directories below one of the test's own."""
    values = yaml.safe_load(Path("/etc/gridwarden/site.yaml").read_text())
    values["gridmapdir"] = str(tmp_path / "gridmapdir")
    values["bans"] = [str(tmp_path / "bans")]
    values["directories"] = {"state": str(tmp_path / "state"), "runtime": str(tmp_path / "run")}
    for name in ("gridmapdir", "state/ledger", "run/holders", "run/jobs"):
        (tmp_path / name).mkdir(parents=True)
    for account in ("cms001", "cms002", "cms003"):
        (tmp_path / "gridmapdir" / account).touch()
    (tmp_path / "bans").touch()
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(values))
    return SimpleNamespace(
        config=tmp_path / "site.yaml",
        gridmapdir=tmp_path / "gridmapdir",
        holders=tmp_path / "run" / "holders",
        ledger=tmp_path / "state" / "ledger",
        bans=tmp_path / "bans",
    )


def gridwarden(cell, *arguments):
    command = ["gridwarden", "--config", cell.config, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(cell, proxy, code=77):
    """The one line that says why nobody got anything."""
    done = gridwarden(cell, "map", "--proxy", proxy)
    assert (done.returncode, done.stdout) == (code, "")
    line, *hint = done.stderr.splitlines()
    assert len(hint) <= 1
    assert not any(hint) or hint[0].startswith("hint: ")
    assert os.listdir(cell.holders) == []
    return line


def test_the_account_is_printed_and_exists_and_is_the_same_the_next_time(cell, people):
    first = gridwarden(cell, "map", "--proxy", people.anna.proxy)
    account = first.stdout.strip()
    assert (first.returncode, first.stderr) == (0, "")
    row = json.loads(gridwarden(cell, "map", "--proxy", people.anna.proxy, "--format", "json").stdout)[0]
    user = pwd.getpwnam(account)
    assert (row["account"], row["uid"], row["gid"]) == (account, user.pw_uid, user.pw_gid)
    assert (row["scheme"], row["subject"]) == ("x509", people.anna.subject)
    assert len(row["lease"]) == 32


def test_a_proxy_with_the_production_role_runs_as_the_fixed_account(cell, grid, people, tmp_path):
    proxy = tmp_path / "production.pem"
    grid.proxy(people.anna, proxy, fqans=("/cms/Role=production", "/cms"))
    assert gridwarden(cell, "map", "--proxy", proxy).stdout == "cmsprod\n"
    assert "subject\tcmsprod\n" in (cell.holders / "cmsprod").read_text()


@pytest.fixture
def sudo_rule():
    """What a site gives the user that its CE runs as."""
    rule = Path("/etc/sudoers.d/ce")
    rule.write_text("alice ALL=(root) NOPASSWD: /usr/local/bin/gridwarden\n")
    rule.chmod(0o440)
    yield
    rule.unlink()


@pytest.mark.parametrize("command", [["map"], ["map", "--dry-run"], ["submit", "slurm", "--dry-run"]])
def test_who_calls_by_sudo_uses_their_own_proxies_and_nobody_elses(cell, people, sudo_rule, command):
    own = Path("/home/alice/proxy.pem")
    shutil.copyfile(people.anna.proxy, own)
    own.chmod(0o600)
    shutil.chown(own, "alice", "alice")

    def as_alice(proxy):
        words = [
            "sudo",
            "-n",
            "/usr/local/bin/gridwarden",
            "--config",
            str(cell.config),
            *command,
            "--proxy",
            str(proxy),
        ]
        return run_as("alice", *words, text="#!/bin/sh\n")

    done = as_alice(people.bela.proxy)
    assert done.returncode == 77
    assert f"credential-unreadable: {people.bela.proxy}: " in done.stderr
    assert f"read as uid {pwd.getpwnam('alice').pw_uid}" in done.stderr
    assert os.listdir(cell.holders) == []
    assert as_alice(own).returncode == 0


def test_explain_says_why_and_leaves_the_answer_alone(cell, people):
    done = gridwarden(cell, "map", "--proxy", people.anna.proxy, "--explain")
    assert done.stdout.count("\n") == 1
    for word in (people.anna.subject, "bans", "rule 3", "pool cms", "lent under the lease name"):
        assert word in done.stderr


def test_explain_shows_how_far_a_refused_request_came(cell, people):
    cell.bans.write_text(f'"{people.anna.subject}"\n')
    done = gridwarden(cell, "map", "--proxy", people.anna.proxy, "--explain")
    assert done.returncode == 77
    assert "is a credential of" in done.stderr.splitlines()[0]
    assert "banned: " in done.stderr.splitlines()[1]


def test_explain_says_of_each_rule_above_why_it_did_not_match(cell, people):
    done = gridwarden(cell, "map", "--proxy", people.anna.proxy, "--explain")
    subject = people.anna.subject
    assert done.stderr.splitlines()[2:5] == [
        f"rule 1 does not match: dn /DC=org/DC=example/OU=Robots/* does not match {subject}",
        f"rule 2 does not match: fqan /cms/Role=production does not match {' '.join(people.anna.fqans)}",
        f"rule 3 says pool cms for {subject}",
    ]


def test_a_limited_proxy_is_mapped_by_the_rule_that_allows_it_alone(cell, people):
    values = yaml.safe_load(cell.config.read_text())
    values["policy"] = [{"fqan": "/lhcb", "pool": "cms"}, {"fqan": "/cms", "pool": "cms"}]
    cell.config.write_text(yaml.safe_dump(values))
    assert refused(cell, people.anna.limited).startswith("gridwarden: credential-limited: ")
    values["policy"][0] = {"fqan": "/lhcb", "pool": "cms", "limited": True}
    cell.config.write_text(yaml.safe_dump(values))
    assert refused(cell, people.anna.limited).startswith("gridwarden: credential-limited: ")
    values["policy"].append({"fqan": "/cms", "pool": "cms", "limited": True})
    cell.config.write_text(yaml.safe_dump(values))
    done = gridwarden(cell, "map", "--proxy", people.anna.limited, "--explain")
    assert done.returncode == 0, done.stderr
    assert "shows a limited proxy, which the rule does not allow" in done.stderr


ABSENT = ("--dn", "/DC=org/DC=example/CN=Not Here", "--fqan", "/cms/Role=NULL")


def test_it_can_be_asked_about_somebody_who_is_not_there_who_is_then_lent_nothing(cell):
    before = sorted(os.listdir(cell.gridmapdir))
    done = gridwarden(cell, "map", *ABSENT, "--explain", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert (done.returncode, row["account"], row["pool"], row["rule"], row["reason"]) == (0, None, "cms", 3, None)
    assert row["steps"][1].startswith("rule 1 does not match: dn ")
    assert gridwarden(cell, "map", *ABSENT).stdout == ""
    assert sorted(os.listdir(cell.gridmapdir)) == before
    assert os.listdir(cell.ledger) == os.listdir(cell.holders) == []


def test_a_refusal_is_in_the_answer_that_a_program_reads(cell):
    cell.bans.write_text('"/cms"\n')
    done = gridwarden(cell, "map", *ABSENT, "--format", "json")
    (row,) = json.loads(done.stdout)
    assert (done.returncode, row["reason"], row["account"]) == (77, "banned", None)
    assert "/DC=org/DC=example/CN=Not Here matches /cms " in row["detail"]


def test_it_can_be_asked_about_the_claims_of_a_token(cell, tmp_path):
    issuer = "https://wlcg.example.org/"
    believed = {"issuer": issuer, "kind": "wlcg", "keys": "/etc/keys.json", "audiences": ["ce"]}
    values = yaml.safe_load(cell.config.read_text())
    values["tokens"] = {"issuers": [believed]}
    values["policy"] = [{"issuer": issuer, "subject": "ann?", "group": "/cms", "pool": "cms"}]
    cell.config.write_text(yaml.safe_dump(values))
    claims = {
        "iss": issuer, "sub": "anna", "aud": "ce", "exp": 4102444800, "wlcg.ver": "1.0", "wlcg.groups": ["/cms"],
    }  # fmt: skip
    (tmp_path / "claims").write_text(json.dumps(claims))
    done = gridwarden(cell, "map", "--claims", tmp_path / "claims", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert (done.returncode, row["pool"], row["subject"]) == (0, "cms", f"{issuer},anna")
    (tmp_path / "claims").write_text(json.dumps({**claims, "wlcg.groups": ["/atlas"]}))
    done = gridwarden(cell, "map", "--claims", tmp_path / "claims", "--explain")
    assert done.returncode == 77
    assert "rule 1 does not match: group /cms does not match /atlas" in done.stderr


@pytest.mark.parametrize(
    "words",
    [[], ["--fqan", "/cms"], ["--proxy", "x", *ABSENT], ["--dn", "Anna"], ["--dn", "/CN=A", "--fqan", "cms"]],
)
def test_a_question_about_nobody_or_about_two_is_not_answered(cell, words):
    done = gridwarden(cell, "map", *words)
    assert done.returncode in (2, 77)
    assert done.stdout == ""
    assert os.listdir(cell.ledger) == []


def test_a_dry_run_maps_nobody(cell, people):
    before = sorted(os.listdir(cell.gridmapdir))
    done = gridwarden(cell, "map", "--proxy", people.anna.proxy, "--dry-run")
    assert (done.returncode, done.stdout) == (0, "")
    assert "would have one of the free accounts" in done.stderr
    assert sorted(os.listdir(cell.gridmapdir)) == before
    assert os.listdir(cell.ledger) == os.listdir(cell.holders) == []


def test_a_full_pool_is_one_line_with_numbers(cell, people):
    for number in (1, 2, 3):
        os.link(cell.gridmapdir / f"cms00{number}", cell.gridmapdir / f"%2fcn%3d{number}")
    assert refused(cell, people.anna.proxy) == "gridwarden: pool-full: pool cms has 3 accounts, 3 taken"


def test_an_account_file_without_a_user_is_named(cell, people):
    for number in (1, 2, 3):
        (cell.gridmapdir / f"cms00{number}").unlink()
    (cell.gridmapdir / "cms999").touch()
    assert refused(cell, people.anna.proxy).endswith("(cms999: cms999 has no passwd entry)")
    assert not any(holders_of_accounts(cell).values())


def test_a_missing_gridmapdir_is_one_line(cell, people):
    shutil.rmtree(cell.gridmapdir)
    expected = f"gridwarden: gridmapdir {cell.gridmapdir}: no such file or directory"
    assert refused(cell, people.anna.proxy, code=78) == expected


def test_who_matches_no_rule_is_named_with_their_attributes(cell, people):
    values = yaml.safe_load(cell.config.read_text())
    values["policy"] = [{"fqan": "/atlas", "pool": "atlas"}]
    cell.config.write_text(yaml.safe_dump(values))
    line = refused(cell, people.anna.proxy)
    assert line.startswith(f"gridwarden: policy-no-match: {people.anna.subject} with /cms ")


def test_a_refusal_is_a_record_and_a_line_of_syslog(cell, people, slurm):
    cell.bans.write_text(f'"{people.bela.subject}"\n')
    refused(cell, people.bela.proxy)
    (record,) = (line.body for line in chain.read(cell.ledger))
    assert (record["kind"], record["reason"], record["subject"]) == ("refused", "banned", people.bela.subject)

    def logged():
        lines = Path("/var/log/syslog").read_text(errors="replace").splitlines()
        return [line for line in lines if "event=map outcome=refused reason=banned" in line and str(cell.bans) in line]

    assert slurm.until("the refusal in syslog", logged)


def test_a_ban_works_at_the_next_mapping_and_says_whom_it_hit(cell, people):
    account = gridwarden(cell, "map", "--proxy", people.anna.proxy).stdout.strip()
    done = gridwarden(cell, "ban", "add", people.anna.subject, "--because", "stolen key")
    assert done.returncode == 0
    assert f"{account}  {people.anna.subject}  banned" in done.stdout
    assert "verdict\tbanned\n" in (cell.holders / account).read_text()
    assert gridwarden(cell, "map", "--proxy", people.anna.proxy).returncode == 77
    assert gridwarden(cell, "map", "--proxy", people.bela.proxy).returncode == 0

    listed = json.loads(gridwarden(cell, "ban", "list", "--format", "json").stdout)
    (row,) = (row for row in listed if row["file"] == str(cell.bans))
    assert (row["pattern"], row["accounts"]) == (people.anna.subject, account)
    assert gridwarden(cell, "ban", "remove", people.anna.subject).returncode == 0
    assert gridwarden(cell, "map", "--proxy", people.anna.proxy).stdout.strip() == account
