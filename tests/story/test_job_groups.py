"""The groups that a rule gives, seen by a job on the real Slurm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = "#!/bin/sh\nid\n"


@pytest.fixture
def rule():
    """A policy whose rule for atlas gives groups."""
    path = Path("/etc/gridwarden/site.d/groups.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "policy: [{fqan: /atlas, pool: atlas, primary_group: games, secondary_groups: [users]}]\n"
        "leases: {system_groups: [games, users]}\n"
    )
    yield
    path.unlink()


def submit(person):
    command = ["gridwarden", "submit", "slurm", "--proxy", person.proxy, "--output", "groups.txt"]
    return subprocess.run(command, input=SCRIPT, capture_output=True, text=True, check=False)


def test_a_job_runs_with_the_groups_of_its_rule_or_not_at_all(rule, people, slurm):
    # Of an account that has run a job, slurmctld remembers the groups for ten minutes: so of nobody's who counts them.
    account = subprocess.run(
        ["gridwarden", "map", "--proxy", people.dora.proxy], capture_output=True, text=True, check=True
    ).stdout.strip()
    refused = submit(people.dora)
    assert (refused.returncode, refused.stdout) == (77, "")
    assert f"group-not-held: {account} is not a member of the groups with gid 100" in refused.stderr
    subprocess.run(["usermod", "--append", "--groups", "users", account], check=True)
    try:
        job = submit(people.dora).stdout.strip()
        slurm.wait(int(job))
        said = Path(f"/home/{account}/groups.txt").read_text()
    finally:
        subprocess.run(["gpasswd", "--delete", account, "users"], check=True)
    assert " gid=60(games) " in said
    assert "100(users)" in said
