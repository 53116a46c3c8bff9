"""An account goes from one person to another on the real site, and nothing of the first is left in it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import chain, register
from gridwarden.hooks import handing_over
from gridwarden.load_settings import load
from gridwarden.mapper import terms as lease_terms
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.site import from_settings
from gridwarden.prune import ipc
from tests.site.lcmaps import LcmapsRefusedError, lcmaps_map
from tests.site_values import with_paths
from tests.story.test_slurm import LEDGER, REGISTER, account_of, ce_submit

if TYPE_CHECKING:
    from types import ModuleType, SimpleNamespace

    from gridwarden.mapper.site import SiteValues
    from gridwarden.mapper.terms import Terms

FQANS = ("/atlas",)
PLANT = """
cd
for file in .bashrc .profile .bash_profile .bash_logout; do echo 'touch /srv/open/ran-$(id -un)' > $file; done
mkdir -p .ssh .config/systemd/user/default.target.wants
echo 'ssh-ed25519 AAAA planted' > .ssh/authorized_keys
echo 'my password' > secret
echo '* * * * * touch /srv/open/ran-cron' | crontab -
echo 'touch /srv/open/ran-at' | at now + 2 days
cp /bin/bash shell && chmod 4755 shell
ln shell /srv/open/shell
ln /srv/open/of-bob linked
ln -s /srv/open followed
ln -s /etc/passwd passwd
mkfifo pipe
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
mkdir -m 0 closed
mkdir -p deep/er && touch deep/er/file && chmod 500 deep/er
ipcmk --shmem 4096 --queue --semaphore 2 --mode 0666
chmod 1777 .
touch planted
"""
LOOK = """
cd
ls -A > /srv/open/seen
bash -l -c true
bash -i -c true < /dev/null
{ crontab -l; atq; ipcs | grep "$(id -un)"; } > /srv/open/waiting 2> /dev/null
touch /srv/open/looked
"""


@pytest.fixture
def terms() -> tuple[SiteValues, Terms]:
    settings = load(Path("/etc/gridwarden/site.yaml"))
    return with_paths(from_settings(settings)), lease_terms.from_settings(settings)


def now() -> int:
    return time.time_ns() // 1000


def free_later(site: SiteValues, terms: Terms) -> dict[str, tuple[str, str]]:
    """Free what has cooled, by a clock on which the cooling time is over."""
    later = now() + terms.cooling + 1
    return {done.account: (done.state, done.why) for done in handing_over.free(site, terms, lambda: later)}


def end_lease(person: SimpleNamespace, site: SiteValues, terms: Terms) -> None:
    name = lease_name(person.subject)
    if (site.gridmapdir / name).exists():
        done = handing_over.release(name, "a test", "root", site, terms, now)
        assert done.state == "released", done
        assert free_later(site, terms)[done.account][0] == "freed"


def run_job(slurm: ModuleType, person: SimpleNamespace, script: str, done: Path) -> int:
    job = ce_submit(person, script)
    slurm.wait(job)
    assert done.exists(), slurm.job(job)
    slurm.until("the epilog", lambda: str(job) not in {entry.job for entry in register.everything(REGISTER)})
    return job


def told(*command: str) -> list[dict[str, str]]:
    asked = [*command, "--format", "json"]
    return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def are_told_apart(slurm: ModuleType, account: str, jobs: list[tuple[int, SimpleNamespace]]) -> None:
    """One account, and each job is whose it was, in the report and by whoran."""
    for job, _ in jobs:
        slurm.accounted(job)
    subprocess.run(["gridwarden", "collect"], check=True, capture_output=True)
    for job, person in jobs:
        (holder,) = [line for line in told("gridwarden", "report", "--explain", str(job)) if line["what"] == "holder"]
        assert (holder["identity"], holder["account"]) == (person.subject, account)
        assert {answer["identity"] for answer in told("whoran", "--job", str(job))} == {person.subject}


def test_lcmaps_leases_an_account_that_cools_to_nobody_until_it_is_freed(terms: tuple[SiteValues, Terms]) -> None:
    site, when = terms
    before = set(os.listdir(site.gridmapdir))
    try:
        account = lcmaps_map("/DC=org/DC=example/CN=Cooling", FQANS).account
        assert handing_over.release(account, "a test", "root", site, when, now).state == "released"
        others = []
        with pytest.raises(LcmapsRefusedError):
            for number in range(len(before)):
                others.append(lcmaps_map(f"/DC=org/DC=example/CN=Cooling {number}", FQANS).account)  # noqa: PERF401
        assert others
        assert account not in others
        assert free_later(site, when)[account][0] == "freed"
        assert lcmaps_map("/DC=org/DC=example/CN=Cooling", FQANS).account == account
    finally:
        for name in set(os.listdir(site.gridmapdir)) - before - {".gridwarden"}:
            (site.gridmapdir / name).unlink()


def test_nothing_of_one_holder_runs_or_can_be_read_in_the_next_ones_job(
    slurm: ModuleType, people: SimpleNamespace, terms: tuple[SiteValues, Terms]
) -> None:
    site, when = terms
    for person in (people.anna, people.bela):
        end_lease(person, site, when)
    shared = Path("/srv/open")
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir()
    shared.chmod(0o777)
    of_bob = shared / "of-bob"
    of_bob.write_text("bob's")
    of_bob.chmod(0o666)
    os.chown(of_bob, pwd.getpwnam("bob").pw_uid, -1)

    account = account_of(people.anna)
    user = pwd.getpwnam(account)
    home = Path(user.pw_dir)
    of_anna = run_job(slurm, people.anna, PLANT, home / "planted")
    for path in (Path("/var/mail") / account, Path("/var/lib/systemd/linger") / account):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    crontab = Path("/var/spool/cron/crontabs") / account
    assert crontab.exists()
    at_jobs = [path for path in Path("/var/spool/cron/atjobs").iterdir() if path.stat().st_uid == user.pw_uid]
    assert len(at_jobs) == 1
    assert (shared / "shell").stat().st_mode & 0o4000
    assert of_bob.stat().st_nlink == 2
    assert {path.name for path in home.iterdir()} >= {"pipe", "socket", "followed", "closed", "deep", "secret", ".ssh"}
    assert [one.kind for one in ipc.everything() if user.pw_uid in one.uids] == ["shm", "msg", "sem"]
    for path in shared.glob("ran-*"):  # the holder's own login may have run it
        path.unlink()

    done = handing_over.release(account, "a test", "root", site, when, now)
    assert done.state == "released", done
    assert free_later(site, when)[account] == ("freed", "cooled, asked again, and emptied")

    removed = {body["path"] for body in (line.body for line in chain.read(LEDGER)) if body.get("lease") == done.lease
               and body["kind"] == "removed"}  # fmt: skip
    assert {str(crontab), str(at_jobs[0]), f"/var/mail/{account}", f"{home}/.bashrc", f"{home}/.ssh"} <= removed
    assert not Path("/var/lib/systemd/linger", account).exists()
    assert home.stat().st_mode & 0o7777 == 0o700
    assert of_bob.read_text() == "bob's"
    assert of_bob.stat().st_nlink == 1
    assert not (shared / "shell").stat().st_mode & 0o6000, "whoever kept a link to it could become the next holder"
    (shared / "shell").unlink()

    os.link(site.gridmapdir / account, site.gridmapdir / lease_name(people.bela.subject))  # as LCMAPS does
    assert account_of(people.bela) == account
    of_bela = run_job(slurm, people.bela, LOOK, shared / "looked")
    skeleton = set(os.listdir("/etc/skel"))
    assert (
        set((shared / "seen").read_text().split()) - {name for name in os.listdir(home) if "slurm" in name} == skeleton
    )
    assert (shared / "waiting").read_text() == ""
    assert list(shared.glob("ran-*")) == []
    found = subprocess.run(
        ["find", "/", "-xdev", "-user", account, "-perm", "/6000"], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
    are_told_apart(slurm, account, [(of_anna, people.anna), (of_bela, people.bela)])
    end_lease(people.bela, site, when)
