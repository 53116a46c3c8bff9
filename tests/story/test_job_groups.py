"""The groups that a rule gives, seen by a job on the real Slurm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = "#!/bin/sh\nid\n"


@pytest.fixture
def rule():
    """A policy whose rule for cms gives groups."""
    path = Path("/etc/gridwarden/site.d/groups.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "policy: [{fqan: /cms, pool: cms, primary_group: games, secondary_groups: [users]}]\n"
        "leases: {system_groups: [games, users]}\n"
    )
    yield
    path.unlink()


def account_of(person):
    command = ["gridwarden", "map", "--proxy", person.proxy]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def release(account):
    subprocess.run(["gridwarden", "lease", "release", account, "--because", "its groups change"], check=True)


def submit(person):
    command = ["gridwarden", "submit", "slurm", "--proxy", person.proxy, "--output", "groups.txt"]
    return subprocess.run(command, input=SCRIPT, capture_output=True, text=True, check=False)


def test_a_job_runs_with_the_groups_of_its_rule_or_not_at_all(rule, people, slurm):
    release(account_of(people.anna))
    account = account_of(people.anna)  # one of which slurmctld remembers no groups yet
    refused = submit(people.anna)
    assert (refused.returncode, refused.stdout) == (77, "")
    assert f"group-not-held: {account} is not a member of the groups with gid 100" in refused.stderr
    subprocess.run(["usermod", "--append", "--groups", "users", account], check=True)
    try:
        job = submit(people.anna).stdout.strip()
        slurm.wait(int(job))
        said = Path(f"/home/{account}/groups.txt").read_text()
    finally:
        subprocess.run(["gpasswd", "--delete", account, "users"], check=True)
        release(account)
    assert " gid=60(games) " in said
    assert "100(users)" in said
