"""gridwarden-prune on the real site, as an administrator brings it in: first it reports, then it kills."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gridwarden import proc
from tests.gridmap import free_account
from tests.site.slurm import until
from tests.story.test_slurm import account_of, alive, ce_submit, choosing, records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

    from gridwarden.mapper.site import SiteValues

EXTRA = Path("/etc/gridwarden/site.d/prune.yaml")


def prune(*options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["gridwarden-prune", *options], capture_output=True, text=True, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def rows(*options: str, code: int = 0) -> list[dict[str, Any]]:
    return json.loads(prune("--format", "json", *options, code=code).stdout)


@contextmanager
def deciding(**prune_section: object) -> Iterator[None]:
    """The site sets keys of `prune:` and installs them, as docs/prune.md says."""
    EXTRA.parent.mkdir(exist_ok=True)
    EXTRA.write_text(yaml.safe_dump({"prune": prune_section}))
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)
    try:
        yield
    finally:
        EXTRA.unlink()
        subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)


def stray_of(account: str, seconds: int) -> subprocess.Popen[bytes]:
    """A daemon that nobody accounts for, as cron or a login leaves them."""
    user = pwd.getpwnam(account)
    return subprocess.Popen(
        ["sleep", str(seconds)], user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", start_new_session=True
    )


@pytest.fixture
def job(slurm: ModuleType, people: SimpleNamespace) -> Iterator[tuple[int, str]]:
    """A running job of Dora's that sleeps 311 s, and her account."""
    account = account_of(people.dora)
    number = ce_submit(people.dora, "exec sleep 311", "--nodelist", "n1")
    slurm.until("the job to sleep", lambda: alive(account, "sleep"))
    yield number, account
    slurm.cancel(number)
    slurm.wait(number)


@pytest.fixture
def other(job: tuple[int, str], site: SiteValues) -> str:
    """An account without a job, which is not Dora's."""
    return free_account(site)


def test_a_quiet_node_has_nothing_to_say() -> None:
    done = prune()
    assert (done.stdout, done.stderr) == ("", "")
    assert prune("--nagios").stdout.startswith("GRIDWARDEN-PRUNE OK - no strays and nothing to remove | strays=0")


def test_a_new_site_only_hears_what_would_die_and_why(job: tuple[int, str], other: str, slurm: ModuleType) -> None:
    number, account = job
    with stray_of(account, 312) as beside, stray_of(other, 313) as alone:
        try:
            found = {row["pid"]: row for row in rows("--all", code=1)}
            assert (found[beside.pid]["action"], found[beside.pid]["reason"]) == ("would kill", "left-its-job")
            assert found[beside.pid]["job"] == f"slurm {number}"
            assert (found[alone.pid]["action"], found[alone.pid]["reason"]) == ("would kill", "no-job")
            assert found[alone.pid]["arguments"] is None or "sleep" in found[alone.pid]["arguments"]
            for pid in slurm.pids(number):
                if proc.read(pid).real_uid == pwd.getpwnam(account).pw_uid:
                    assert found[pid]["action"] == "spared", found[pid]
            assert not {row["account"] for row in found.values()} & {"root", "slurm", "alice", "bob"}
            assert "stray, no-job" in prune("--explain", str(alone.pid)).stdout
            assert beside.poll() is None
            assert alone.poll() is None
        finally:
            beside.kill()
            alone.kill()


def test_once_the_site_says_so_strays_die_and_the_job_ends_by_itself(
    job: tuple[int, str], other: str, slurm: ModuleType, people: SimpleNamespace
) -> None:
    number, account = job
    bystander = slurm.run_as("alice", "sh", "-c", "sleep 314 >/dev/null 2>&1 & echo $!")
    with deciding(kill=True), stray_of(account, 315) as beside, stray_of(other, 316) as alone:
        prune()
        assert beside.wait(60) == alone.wait(60) == -9
    assert alive(account, "sleep"), "the job's own process"
    assert slurm.state(number) == "RUNNING"
    (kill,) = records("kill", pid=beside.pid)
    assert (kill["subject"], kill["why"]) == (people.dora.subject, "left-its-job")
    assert kill["parent"] == os.getpid()
    (kill,) = records("kill", pid=alone.pid)
    assert (kill["account"], kill["arguments"], kill["why"]) == (other, "sleep 316", "no-job")
    told = subprocess.run(["whoran", str(beside.pid)], capture_output=True, text=True, check=True).stdout
    assert people.dora.subject in told
    living = int(bystander.stdout)
    assert living in {one.pid for one in alive("alice", "sleep")}, "people outside the pools are nobody's strays"
    os.kill(living, 9)


def test_while_slurm_does_not_answer_nothing_dies_and_cron_hears_why(site: SiteValues) -> None:
    with deciding(kill=True), stray_of(free_account(site), 317) as stray:
        try:
            with choosing("slurm_programs", "/srv/nothing-here"):
                done = prune(code=75)
            assert "it cannot be told what runs here: slurm" in done.stderr
            assert stray.poll() is None
        finally:
            stray.kill()


def test_whoever_is_not_root_hears_that_it_takes_root() -> None:
    alice = ["runuser", "-u", "alice", "--", "gridwarden-prune"]
    for options, code in (([], 75), (["--explain", "1"], 75), (["--nagios"], 3)):
        done = subprocess.run([*alice, *options], capture_output=True, text=True, check=False)
        assert (done.returncode, "only root can tell what runs here" in done.stdout + done.stderr) == (code, True)


def test_an_account_on_hold_keeps_everything_for_the_incident(site: SiteValues) -> None:
    account = free_account(site)
    hold = Path("/var/lib/gridwarden/holds", account)
    hold.write_text("ticket 4712")
    hold.chmod(0o600)
    file = Path("/tmp", f"evidence-of-{account}")
    file.write_text("evidence")
    os.chown(file, pwd.getpwnam(account).pw_uid, -1)
    try:
        with deciding(kill=True), stray_of(account, 318) as stray:
            try:
                prune()
                until("it to stand still", lambda: proc.read(stray.pid).state == "T")
                (moved,) = records("quarantined", path=str(file))[-1:]
                assert Path(moved["into"]).read_text() == "evidence"
            finally:
                stray.kill()
    finally:
        hold.unlink()
