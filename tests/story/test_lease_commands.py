"""Leases as an administrator sees and mends them, LCMAPS's among them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess

from gridwarden import chain, proc
from gridwarden.mapper import cooling
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.mapping import map_identity, silent
from tests.gridmap import person
from tests.site import syslog
from tests.site.lcmaps import lcmaps_map
from tests.site.slurm import until

FQANS = ("/atlas",)


def lease(*words, code=0):
    done = subprocess.run(["gridwarden", "lease", *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr if code else done.stdout


def listed():
    return {row["account"]: row for row in json.loads(lease("list", "--format", "json"))}


def ours(site, name):
    return map_identity(person(name, FQANS), site, silent)


def test_the_list_has_every_lease_whoever_made_it(site):
    mine, subject = ours(site, "Lister One"), person("Lister Two").subject
    theirs = lcmaps_map(subject, FQANS)
    rows = listed()
    assert rows[mine.account]["state"] == "held"
    assert rows[mine.account]["subject"] == mine.subject
    assert rows[mine.account]["lease"] == mine.lease_id
    assert rows[theirs.account]["state"] == "foreign"
    assert rows[theirs.account]["subject"] == subject.lower()
    assert rows[theirs.account]["name"] == theirs.lease_name
    assert {row["pool"] for row in rows.values()} <= {"cms", "atlas"}
    assert all(row["last_use"] for row in rows.values())
    again = ours(site, "Lister Two")
    row = listed()[theirs.account]
    assert (row["state"], row["subject"], row["lease"]) == ("held", subject, again.lease_id)


def test_the_list_can_be_read_as_csv_and_of_one_pool(site):
    mine = ours(site, "Lister One")
    rows = list(csv.DictReader(io.StringIO(lease("list", "--pool", "atlas", "--format", "csv"))))
    assert mine.account in {row["account"] for row in rows}
    assert {row["pool"] for row in rows} == {"atlas"}
    assert mine.account not in lease("list", "--pool", "cms")


def test_a_lease_is_shown_by_account_subject_id_or_name(site):
    mine = ours(site, "Shown")
    for which in (mine.account, mine.subject, mine.lease_id, mine.name):
        (row,) = json.loads(lease("show", which, "--format", "json"))
        assert (row["account"], row["subject"], row["fqans"], row["verdict"]) == (
            mine.account, mine.subject, "/atlas", "ok",
        )  # fmt: skip
    assert mine.subject in lease("show", mine.account)
    assert "no lease has" in lease("show", "/CN=Nobody", code=2)


def test_a_directory_in_order_is_said_to_be(site):
    ours(site, "Orderly")
    lcmaps_map(person("Orderly Two").subject, FQANS)
    assert json.loads(lease("check", "--format", "json")) == []


def test_what_lcmaps_left_half_made_is_found_then_mended_and_both_programs_go_on(site):
    mine = ours(site, "Mended")
    extra = site.gridmapdir / lease_name(person("Killed Midway").subject)
    os.link(site.gridmapdir / mine.account, extra)  # LCMAPS, killed between its link and taking it back
    assert "repairable" in lease("check", code=1)
    assert extra.exists()
    assert "faulty" in lease("list")
    assert "three-links" in lease("check", "--repair")
    assert not extra.exists()
    assert [line.body["name"] for line in chain.read(site.ledger) if line.body["kind"] == "repair"][-1] == extra.name
    assert "event=repair outcome=repaired what=three-links" in syslog.text()
    assert lcmaps_map(mine.subject, FQANS).account == mine.account
    assert ours(site, "Mended").lease_id == mine.lease_id


def test_a_lease_that_an_expiry_script_removed_comes_back_before_anybody_gets_its_account(site):
    mine = ours(site, "Expired")
    (site.gridmapdir / mine.name).unlink()
    assert "lease-removed" in lease("check", "--repair")
    assert lcmaps_map(mine.subject, FQANS).account == mine.account


def test_a_released_account_cools_and_neither_program_lends_it(site):
    mine = ours(site, "Released")
    assert "would-release" in lease("release", mine.subject, "--because", "left", "--dry-run")
    assert listed()[mine.account]["state"] == "held"
    assert "released" in lease("release", mine.subject, "--because", "left")
    row = listed()[mine.account]
    assert (row["state"], row["lease"], row["subject"]) == ("cooling", mine.lease_id, mine.subject)
    assert json.loads(lease("check", "--format", "json")) == []
    assert ours(site, "Released").account != mine.account
    assert lcmaps_map(person("Comes After").subject, FQANS).account != mine.account
    assert (site.gridmapdir / f"{cooling.PREFIX}{mine.account}:{mine.lease_id}").exists()


def test_an_account_with_a_process_is_not_released(site):
    mine = ours(site, "Still Here")
    with subprocess.Popen(["setpriv", f"--reuid={mine.uid}", "--clear-groups", "sleep", "60"]) as process:
        try:
            until("it to have become the account", lambda: proc.owned_by(mine.uid))
            said = lease("release", mine.account, "--because", "left", code=75)
        finally:
            process.kill()
    assert str(process.pid) in said
    assert listed()[mine.account]["state"] == "held"


def test_recycling_only_reports_unless_told(site):
    mine, fresh = ours(site, "Idle"), ours(site, "Busy Bee")
    os.utime(site.gridmapdir / mine.name, (1, 1))
    rows = {row["account"]: row["state"] for row in json.loads(lease("recycle", "--format", "json"))}
    assert rows[mine.account] == "would-release"
    assert fresh.account not in rows
    assert listed()[mine.account]["state"] == "held"
    assert lease("recycle", "--cooled-only") == ""
    assert "released" in lease("recycle", "--apply")
    assert listed()[mine.account]["state"] == "cooling"
    assert listed()[fresh.account]["state"] == "held"
    assert "minutes" in lease("recycle", "--cooled-only")


def test_a_node_answers_for_what_cools(site):
    mine = ours(site, "Answered")
    lease("release", mine.account, "--because", "left")
    answers = {row["account"]: row for row in json.loads(lease("answer", "--format", "json"))}
    assert (answers[mine.account]["answer"], answers[mine.account]["lease"]) == ("busy", mine.lease_id)


def test_a_pool_that_is_none_does_not_look_like_an_empty_one():
    done = subprocess.run(
        ["gridwarden", "lease", "list", "--pool", "cmms"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pools: cms" in done.stderr
