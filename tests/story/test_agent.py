"""The agent on the site: holders of leases made elsewhere, jobs that were held, and the ledger's heads in syslog."""

from __future__ import annotations

import json
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from gridwarden import holders, ledger_head, proc, reasons
from gridwarden.accounting import heads
from tests.gridmap import asked, bodies, free_account, lcmaps_links, person
from tests.site import agent as site_agent
from tests.site.slurm import run_as, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from gridwarden.mapper.site import SiteValues

QUICK = {"poll_seconds": 1, "held_jobs_seconds": 1, "heads_seconds": 1, "readers": "alice"}
SETTINGS = Path("/etc/gridwarden/site.d/50-agent.yaml")


@pytest.fixture(scope="module")
def agent() -> Iterator[subprocess.Popen[bytes]]:
    """An agent that looks every second, for a site without a word of these settings afterwards."""
    SETTINGS.parent.mkdir(exist_ok=True)
    configure(QUICK)
    process = site_agent.start()
    yield process
    site_agent.end(process)
    SETTINGS.unlink()
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)


def configure(settings: dict[str, object], **others: object) -> None:
    SETTINGS.write_text(json.dumps({"agent": settings, **others}))
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)


def elsewhere(site: SiteValues, name: str) -> holders.Holder:
    """Somebody's lease as another machine makes it: all but the holder file is shared."""
    lease = asked(site, person(name), pwd)
    holder = holders.read(site.holders, lease.account)
    (site.holders / lease.account).unlink()
    return holder


def published(site: SiteValues, account: str) -> holders.Holder | None:
    return holders.read(site.holders, account) if (site.holders / account).exists() else None


@contextmanager
def asleep(agent: subprocess.Popen[bytes]) -> Iterator[None]:
    """The time before the agent has seen what is there; what it had sent to look has come back."""
    process = psutil.Process(agent.pid)
    agent.send_signal(signal.SIGSTOP)
    try:
        until("it to have stopped", lambda: process.status() == psutil.STATUS_STOPPED)  # until then it may send another
        sent = process.children()
        until("its children to end", lambda: all(child.status() == psutil.STATUS_ZOMBIE for child in sent))
        yield
    finally:
        agent.send_signal(signal.SIGCONT)


def test_a_lease_made_elsewhere_has_its_holder_here_until_it_ends_there(agent: object, site: SiteValues) -> None:
    made = elsewhere(site, "Agent Anna")
    found = until("its holder file", lambda: published(site, made.account))
    assert found is not None
    assert (found.lease, found.subject, found.vo, found.fqans, found.uid, found.since) == (
        made.lease, made.subject, made.vo, made.fqans, made.uid, made.since,
    )  # fmt: skip
    assert (site.holders / made.account).stat().st_gid == site.holders_group
    until("it on record", lambda: [each for each in bodies(site, "observation") if each["lease"] == made.lease])
    (site.gridmapdir / made.name).unlink()
    until("its holder file to go", lambda: published(site, made.account) is None)


def test_a_lease_of_lcmaps_is_observed_once_and_vouched_for_by_nobody(agent: object, site: SiteValues) -> None:
    account = free_account(site)
    link = lcmaps_links(site, account, person("Agent Lcmaps"))

    def seen() -> list[dict[str, object]]:
        return [each for each in bodies(site, "observation") if each["name"] == link.name]

    (record,) = until("it on record", seen)
    assert (record["account"], record["lease"], record["inode"]) == (account, "", link.stat().st_ino)
    time.sleep(2.5)
    assert len(seen()) == 1
    assert published(site, account) is None


def test_a_job_that_was_held_runs_once_its_holder_is_known(
    agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    with asleep(agent):
        held = elsewhere(site, "Agent Late")
        job = slurm.submit(held.account, "true")
    assert slurm.wait(job)["job_state"] == ["COMPLETED"]
    (record,) = [each for each in bodies(site, "stamp") if each["job"] == str(job)]
    assert (record["account"], record["lease"]) == (held.account, held.lease)
    assert slurm.accounted(job)["comment"]["administrator"] == held.lease
    (start,) = [each for each in bodies(site, "job_start") if each["job"] == str(job)]
    assert (start["stamp"], start["subject"]) == (held.lease, held.subject)


def test_a_job_that_waits_for_its_holder_has_it_looked_for_at_once(
    agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    configure({"poll_seconds": 3600, "held_jobs_seconds": 1})
    with asleep(agent):
        first = elsewhere(site, "Agent First")
        agent.send_signal(signal.SIGHUP)
    try:
        until("the first look", lambda: published(site, first.account))
        with asleep(agent):
            held = elsewhere(site, "Agent Waited")
            job = slurm.submit(held.account, "true")
        assert slurm.wait(job)["job_state"] == ["COMPLETED"]
    finally:
        configure(QUICK)
        agent.send_signal(signal.SIGHUP)


def test_a_newcomers_first_job_is_verified_on_a_node_whose_agent_has_not_looked_since(
    agent: subprocess.Popen[bytes], site: SiteValues
) -> None:
    """The CE has lent the account a second before; this machine plays the node."""
    configure({"poll_seconds": 3600, "held_jobs_seconds": 0})
    with asleep(agent):
        first = elsewhere(site, "Agent Known")
        agent.send_signal(signal.SIGHUP)
    try:
        until("the first look", lambda: published(site, first.account))
        held = elsewhere(site, "Agent Newcomer")
        job = str(time.time_ns())
        hook = {"SLURM_JOB_ID": job, "SLURM_JOB_USER": held.account, "SLURM_JOB_UID": str(held.uid)}
        for program in ("slurm-prolog", "slurm-epilog"):
            command = [f"/usr/libexec/gridwarden/{program}"]
            subprocess.run(command, env=hook | {"SLURMD_NODENAME": "n1", "SLURM_JOB_EXTRA": held.lease}, check=True)
        (start,) = [each for each in bodies(site, "job_start") if each["job"] == job]
        assert (start["lease"], start["subject"]) == (held.lease, held.subject)
    finally:
        configure(QUICK)
        agent.send_signal(signal.SIGHUP)


def test_a_held_job_of_somebody_banned_since_is_cancelled(
    agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    with asleep(agent):
        held = elsewhere(site, "Agent Banned")
        ban = ["gridwarden", "ban", "add", held.subject, "--because", "test"]
        subprocess.run(ban, check=True, capture_output=True)
        job = slurm.submit(held.account, "true")
    try:
        assert slurm.wait(job)["job_state"] == ["CANCELLED"]
        assert [each["lease"] for each in bodies(site, "cancel") if each["job"] == str(job)] == [held.lease]
    finally:
        subprocess.run(["gridwarden", "ban", "remove", held.subject], check=True, capture_output=True)


def test_a_job_older_than_its_accounts_lease_stays_held(
    agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    """It may be that of whoever had the account before."""
    with asleep(agent):
        held = leased_later(site, "Agent Young", 600)
        job = slurm.submit(held.account, "true")
    try:
        until("it to be said", lambda: said_of(job))
        time.sleep(2.5)  # two more looks
        assert slurm.job(job)["priority"]["number"] == 0
        assert not [each for each in bodies(site, "stamp") if each["job"] == str(job)]
        assert len(said_of(job)) == 1
    finally:
        slurm.cancel(job)


def test_a_job_that_an_administrator_holds_as_well_is_left_to_them(
    agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    with asleep(agent):
        held = elsewhere(site, "Agent Twice Held")
        job = slurm.submit(held.account, "true")
        subprocess.run(["scontrol", "hold", str(job)], check=True)
    (line,) = until("it to be said", lambda: said_of(job))
    assert "an administrator holds it" in line
    time.sleep(2.5)  # two more looks
    assert slurm.job(job)["priority"]["number"] == 0
    assert not [each for each in bodies(site, "stamp") if each["job"] == str(job)]
    subprocess.run(["scontrol", "release", str(job)], check=True)
    assert slurm.wait(job)["job_state"] == ["COMPLETED"]


def test_a_job_that_its_user_holds_as_well_is_theirs_to_release_once_its_holder_is_known(
    agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    with asleep(agent):
        held = elsewhere(site, "Agent Own Hold")
        job, other = slurm.submit(held.account, "true", "--hold"), slurm.submit(held.account, "true")
        assert "an administrator releases" in run_as(held.account, "scontrol", "release", str(job)).stderr
        assert "held already" in run_as(held.account, "scontrol", "hold", str(other)).stderr
    until("it to be stamped", lambda: slurm.job(job)["admin_comment"] == held.lease)
    assert slurm.wait(other)["job_state"] == ["COMPLETED"]
    assert (slurm.state(job), slurm.job(job)["priority"]["number"]) == ("PENDING", 0)
    assert run_as(held.account, "scontrol", "release", str(job)).returncode == 0
    assert slurm.wait(job)["job_state"] == ["COMPLETED"]
    stamps = [each for each in bodies(site, "stamp") if each["job"] in (str(job), str(other))]
    assert [each["lease"] for each in stamps] == [held.lease] * 2


@pytest.mark.parametrize(("words", "part"), [(["--array=1-3"], "_2"), (["-n1", ":", "-n1"], "+1")])
def test_a_job_of_which_an_administrator_holds_a_part_is_left_to_them_too(
    words: list[str], part: str, agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    """Slurm releases all tasks of an array, and all components of a heterogeneous job, at once."""
    with asleep(agent):
        held = elsewhere(site, f"Agent Partly Held {part}")
        job = slurm.submit(held.account, "true", *words)
        shown = subprocess.run(["scontrol", "show", "job", f"{job}{part}"], check=True, capture_output=True, text=True)
        number = shown.stdout.split()[0].removeprefix("JobId=")
        subprocess.run(["scontrol", "hold", f"{job}{part}" if part == "_2" else number], check=True)
    try:
        until("it to be said", lambda: said_of(job))
        assert all("an administrator holds it" in line for line in said_of(job))
        time.sleep(2.5)  # two more looks
        # By the lease: others had the account before.
        assert not [each for each in bodies(site, "stamp") if each["lease"] == held.lease]
    finally:
        slurm.cancel(job)


def test_a_job_that_slurm_does_not_release_is_on_record_once_and_runs_when_slurm_does(
    agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    programs = Path("/srv/programs-of-an-agent")
    programs.mkdir()
    for name in ("sbatch", "squeue", "scancel", "sacct"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    refusing = (
        f'[ "$1" = release ] && [ ! -e {programs}/well ] && {{ echo gone; exit 1; }}; exec /usr/bin/scontrol "$@"\n'
    )
    (programs / "scontrol").write_text(f"#!/bin/sh\n{refusing}")
    (programs / "scontrol").chmod(0o755)
    try:
        configure(QUICK, slurm={"programs": str(programs)})
        agent.send_signal(signal.SIGHUP)
        with asleep(agent):
            held = elsewhere(site, "Agent Refused")
            job = slurm.submit(held.account, "true")
        until("it to be said", lambda: said_of(job))
        time.sleep(2.5)  # two more tries
        (line,) = said_of(job)
        assert "outcome=failed" in line
        assert f'detail="release under lease {held.lease}: gone"' in line
        (programs / "well").touch()
        assert slurm.wait(job)["job_state"] == ["COMPLETED"]
        (record,) = [each for each in bodies(site, "stamp") if each["job"] == str(job)]
        assert record["lease"] == held.lease
    finally:
        shutil.rmtree(programs)
        configure(QUICK)
        agent.send_signal(signal.SIGHUP)


def said_of(job: int) -> list[str]:
    """What the agent has said in syslog of why a job stays held."""
    lines = Path("/var/log/syslog").read_text(errors="replace").splitlines()
    words = (f" job={job} ", "event=agent outcome=")
    return [line for line in lines if all(word in line for word in words) and "outcome=released" not in line]


def leased_later(site: SiteValues, name: str, seconds: float) -> holders.Holder:
    """A lease made elsewhere that begins so long after now, by the clock there."""
    held = elsewhere(site, name)
    file = site.gridmapdir / ".gridwarden/leases" / held.name
    file.write_text(file.read_text().replace(str(held.since), str(int((time.time() + seconds) * 1_000_000))))
    return held


def test_a_first_job_runs_where_the_clock_of_who_mapped_is_a_little_fast(
    agent: subprocess.Popen[bytes], site: SiteValues, slurm: ModuleType
) -> None:
    with asleep(agent):
        job = slurm.submit(leased_later(site, "Agent Fast", 1).account, "true")
    try:
        slurm.until("it to be released", lambda: slurm.state(job) == "COMPLETED")
    finally:
        slurm.cancel(job)


def test_the_last_line_that_left_in_syslog_is_the_ledgers_last(
    agent: subprocess.Popen[bytes], site: SiteValues
) -> None:
    elsewhere(site, "Agent Head")

    def told() -> tuple[int, str]:
        lines = Path("/var/log/syslog").read_bytes().splitlines()
        found = list(heads.parse(lines, "syslog", now=time.time_ns() // 1000, zone=UTC))
        return (found[-1].seq, found[-1].hash) if found else (0, "")

    until("the head in syslog", lambda: told() == ledger_head.head(site.ledger))
    assert b" event=head outcome=sent seq=" in Path("/var/log/syslog").read_bytes()


def ask(user: str, *words: str) -> subprocess.CompletedProcess[str]:
    return run_as(user, "gridwarden", "agent", "ask", *words)


def test_a_reader_may_ask_who_is_behind_a_process_and_nobody_else_may(
    agent: object, site: SiteValues, slurm: ModuleType
) -> None:
    held = holders.read(site.holders, asked(site, person("Agent Reader"), pwd).account)
    job = slurm.submit(held.account, "exec sleep 60")
    pid = str(
        until("its process", lambda: [each.pid for each in proc.owned_by(held.uid) if each.command == "sleep"])[0]
    )
    try:
        answer = ask("alice", pid, "--format", "json")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert [row["identity"] for row in json.loads(answer.stdout)] == [held.subject]
        record = bodies(site, "question")[-1]
        assert (record["who"], record["answered"]) == ("alice", 1)
        assert pid in str(record["text"])
        denied = ask("bob", pid)
        assert (denied.returncode, denied.stdout) == (77, "")
        assert denied.stderr.startswith(f"gridwarden: {reasons.QUESTION_REFUSED}: ")
        assert ask("alice", "--config", "/home/alice/site.yaml", pid).returncode == 77
    finally:
        slurm.cancel(job)
        slurm.wait(job)
