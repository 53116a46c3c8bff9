"""A hook of the real HTCondor, which runs as the job's user, and the agent: who was behind the job, from start to end."""

from __future__ import annotations

import json
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import holders, register
from gridwarden.hooks.doctor import htcondor
from tests.gridmap import asked, bodies, person
from tests.site import agent as site_agent
from tests.site import condor as site_condor
from tests.site.slurm import run_as, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from gridwarden.mapper.site import SiteValues

SETTINGS = Path("/etc/gridwarden/site.d/50-agent.yaml")
POOL = Path("/etc/condor/config.d/90-agent.config")
HOOK = Path("/usr/local/bin/prepare-job")
HISTORY = Path("/var/lib/condor/of-these-stories")  # odd jobs among them, which others' stories must not meet
CONFIGURATION = f"""
STARTER_DEFAULT_JOB_HOOK_KEYWORD = GRID
GRID_HOOK_PREPARE_JOB = {HOOK}
HISTORY = {HISTORY}/jobs
JOB_EPOCH_HISTORY = {HISTORY}/epochs
"""
# As docs/agent.md has it: the job's ad is on standard input.
PROGRAM = f"""#!{sys.executable} -I
import sys
from gridwarden import agent_client
ad = dict(line.rstrip().split(" = ", 1) for line in sys.stdin if " = " in line)
job, restart = ad["GlobalJobId"].strip('"'), ad.get("NumJobStarts", "0")
told = agent_client.tell("{site_agent.SOCKET}", "job_start", {{"job": job, "restart": restart}}, 20)
if told.outcome == agent_client.REFUSED:
    print(f'HookStatusMessage = "{{told.detail}}"')
    print("HookStatusCode = 190")
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[ModuleType]:
    """HTCondor with the hook, and an agent."""
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text(json.dumps({"prune": {"batch": ["slurm", "htcondor"]}, "agent": {"poll_seconds": 0}}))
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)
    HOOK.write_text(PROGRAM)
    HOOK.chmod(0o755)
    POOL.write_text(CONFIGURATION)
    HISTORY.mkdir()
    shutil.chown(HISTORY, "condor", "condor")
    agent = site_agent.start()
    site_condor.start()
    yield site_condor
    site_condor.stop()
    site_agent.end(agent)
    for path in (SETTINGS, POOL, HOOK):
        path.unlink(missing_ok=True)
    shutil.rmtree(HISTORY)
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)


def test_a_job_of_htcondor_is_on_record_from_its_hook_to_its_starters_end(pool: ModuleType, site: SiteValues) -> None:
    held = holders.read(site.holders, asked(site, person("Condor Anna"), pwd).account)
    go_on = Path("/run/htcondor-goes-on")
    cluster = pool.submit(held.account, f"until [ -e {go_on} ]; do sleep 0.1; done")

    def of_job(kind: str) -> list[dict[str, object]]:
        return [each for each in bodies(site, kind) if f"#{cluster}.0#" in str(each["job"])]

    (start,) = until("its start on record", lambda: of_job("job_start"), 120)
    assert (start["batch"], start["account"], start["subject"]) == ("htcondor", held.account, held.subject)
    assert [entry.job for entry in register.jobs_of(site.register, held.account)] == [start["job"]]
    go_on.touch()
    (end,) = until("its end on record", lambda: of_job("job_end"), 120)
    assert (end["job"], end["lease"]) == (start["job"], held.lease)
    until("it to leave the register", lambda: not register.jobs_of(site.register, held.account))


def test_a_job_whose_owner_gave_it_another_number_is_on_record_under_its_own(
    pool: ModuleType, site: SiteValues
) -> None:
    held = holders.read(site.holders, asked(site, person("Condor Renumbered"), pwd).account)
    others = ("localhost#99.0#1", "localhost#99.0#1\t2", r"local\nhost", "a" * 5000)
    cluster = pool.submit(held.account, "true", len(others), hold="true")
    for process, other in enumerate(others):
        changed = run_as(held.account, "condor_qedit", f"{cluster}.{process}", "GlobalJobId", f'"{other}"')
        assert changed.returncode == 0, changed.stderr
    subprocess.run(["condor_release", str(cluster)], check=True, capture_output=True)
    names = [f"localhost#{cluster}.{process}#" for process in range(len(others))]
    for kind in ("job_start", "job_end"):
        until(
            f"their {kind}s on record",
            lambda kind=kind: {*names} <= {one.get("job") for one in bodies(site, kind)},
            120,
        )


def said(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    return done.stdout, done.stderr


def test_the_doctor_names_a_schedd_that_lets_owners_renumber_their_jobs_until_its_command_has_run(
    pool: ModuleType,
) -> None:
    (found,) = htcondor.examine("/usr/bin")
    assert found.kind == "job-id-editable"
    try:
        subprocess.run(["sh", "-c", found.remedy], check=True, capture_output=True)
        assert list(htcondor.examine("/usr/bin")) == []
        cluster = pool.submit("alice", "true", hold="true")
        for change in ("GlobalJobId", "QDate"):
            edit = ("condor_qedit", f"{cluster}.0", change, "5")
            until("the schedd to have read it", lambda edit=edit: "immutable" in "".join(said(run_as("alice", *edit))))
        subprocess.run(["condor_rm", str(cluster)], check=True, capture_output=True)
    finally:
        Path(htcondor.FILE).unlink(missing_ok=True)
        subprocess.run(["condor_reconfig", "-schedd"], check=True, capture_output=True)


def test_a_banned_persons_job_is_put_on_hold_with_the_reason(pool: ModuleType, site: SiteValues) -> None:
    held = holders.read(site.holders, asked(site, person("Condor Eve"), pwd).account)
    held.verdict, held.because = holders.BANNED, "/CN=Condor Eve is banned"
    holders.publish(site.holders, held, site.holders_group)
    cluster = pool.submit(held.account, "true")
    try:
        reason = until("it to be held", lambda: next(job.get("HoldReason") for job in pool.queue(cluster)), 120)
        assert "banned: /CN=Condor Eve is banned" in reason
    finally:
        subprocess.run(["condor_rm", str(cluster)], check=True, capture_output=True)
    assert not [each for each in bodies(site, "job_start") if f"#{cluster}.0#" in str(each["job"])]
    until("it to leave the register", lambda: not register.jobs_of(site.register, held.account))
