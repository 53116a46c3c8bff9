"""Who is banned at once is gone within a minute, wherever they are, and nobody else notices."""

from __future__ import annotations

import json
import pwd
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import payloads, proc, reasons, register
from gridwarden.reason_sentences import SENTENCES
from tests.site import pilot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType, SimpleNamespace

    from tests.site.credentials import Grid

REGISTER, PAYLOADS, HOLDS = "/run/gridwarden/jobs", "/run/gridwarden/payloads", Path("/var/lib/gridwarden/holds")
# Three people's payloads beside each other; each says what became of it.
JOB = """cd $(mktemp -d); chmod 711 .; export X509_USER_PROXY=$HOME/bela.pem
for owner in anna chen dora; do
    (GLEXEC_CLIENT_CERT=$HOME/$owner.pem gridwarden-exec /bin/sh -c '
        id -un >/tmp/left-by-$(id -un); trap "" TERM; while :; do sleep 0.1; done' 2>$HOME/$owner.err
    echo "$owner ended with $?" >> $HOME/ended) &
done
wait
"""


def command(*words: str, code: int = 0) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


def test_a_ban_of_an_account_that_several_share_at_once_stops_all_its_jobs_and_a_persons_stops_none(
    slurm: ModuleType, people: SimpleNamespace, grid: Grid, tmp_path: Path
) -> None:
    production = grid.proxy(people.anna, tmp_path / "production.pem", fqans=("/cms/Role=production", "/cms"))
    assert command("gridwarden", "map", "--proxy", str(production)).split()[0] == "cmsprod"
    job = slurm.submit("cmsprod", "sleep 300")
    slurm.wait(job, {"RUNNING"})
    told = command("gridwarden", "ban", "add", "/cms/Role=production", "--because", "a test", "--now")
    command("gridwarden", "ban", "remove", "/cms/Role=production")
    assert "jobs queued under cmsprod are not stopped" in told
    assert slurm.state(job) == "RUNNING"
    told = command("gridwarden", "ban", "add", "--account", "cmsprod", "--because", "a test", "--now")
    command("gridwarden", "ban", "remove", "--account", "cmsprod")
    assert f"cmsprod  jobs cancelled: {job}" in told
    assert slurm.state(job) == "CANCELLED"


@pytest.fixture(autouse=True)
def _unbanned(people: SimpleNamespace, slurm: ModuleType) -> Iterator[None]:
    for person in ("anna", "bela", "chen", "dora"):
        pilot.proxy(person)
    (pilot.home() / "ended").unlink(missing_ok=True)
    yield
    subprocess.run(["gridwarden", "ban", "remove", people.anna.subject], check=False)
    command("scancel", "--user", pilot.ACCOUNT)
    for path in HOLDS.iterdir():
        path.unlink()
    slurm.until("the epilogs", lambda: not register.everything(REGISTER))


def account_of(person: SimpleNamespace) -> str:
    return command("gridwarden", "map", "--proxy", str(person.proxy)).split()[0]


def of_job(job: int) -> list[payloads.State]:
    return [one for one in payloads.everything(PAYLOADS) if one.job == str(job)]


def running(account: str) -> list[proc.Process]:
    return [one for one in proc.owned_by(pwd.getpwnam(account).pw_uid) if not one.has_ended()]


def test_a_ban_at_once_ends_jobs_and_payloads_of_that_person_alone(
    slurm: ModuleType, people: SimpleNamespace, settings: Callable[..., None]
) -> None:
    settings(pilot={"grace_seconds": 2})
    account = account_of(people.anna)
    others = [account_of(people.chen), account_of(people.dora)]
    pending = slurm.submit(account, "true", "--hold")
    array = slurm.submit(account, "true", "--hold", "--array=1-20")
    own = slurm.submit(account, "trap '' TERM; while :; do sleep 0.1; done")
    job = slurm.submit(pilot.ACCOUNT, JOB)
    slurm.wait(own, {"RUNNING"})
    slurm.until("three payloads", lambda: len(of_job(job)) == 3 and all(map(running, others)))
    (mine,) = [one for one in of_job(job) if one.uid == pwd.getpwnam(account).pw_uid]
    put_away = len(pilot.records("quarantined", path=f"/tmp/left-by-{account}"))
    before = time.monotonic()
    planned = command(
        "gridwarden", "ban", "add", people.anna.subject, "--because", "a test", "--now", "--hold", "--dry-run"
    )
    assert f"{account}  jobs would be cancelled: " in planned
    assert slurm.state(own) == "RUNNING"
    said = command("gridwarden", "ban", "add", people.anna.subject, "--because", "a test", "--now", "--hold")
    (told,) = [line for line in said.splitlines() if "jobs cancelled" in line]
    assert sorted(map(int, told.split(": ")[1].split())) == sorted([pending, array, own])
    assert f"{account}  is on hold here" in said
    slurm.until("the payload's end", lambda: not running(account))
    assert time.monotonic() - before < 60  # what issue and administrator ask for
    assert {slurm.state(number) for number in (pending, own)} == {"CANCELLED"}
    assert all(map(running, others))
    assert slurm.state(job) == "RUNNING"
    ended = pilot.home() / "ended"
    slurm.until("the pilot to see it", lambda: ended.exists() and ended.read_text())
    assert ended.read_text().split()[0] == "anna"
    assert SENTENCES[reasons.BANNED] in (pilot.home() / "anna.err").read_text()
    (end,) = slurm.until("the record", lambda: pilot.records("payload_end", payload=mine.payload))
    assert end["because"] == f"banned: {people.anna.subject}"
    lease = end["lease"]
    assert {one["job"] for one in pilot.records("cancel", account=account, lease=lease)} >= {str(own), str(array)}
    assert (HOLDS / account).read_text().startswith("banned: a test, by ")
    (kept,) = slurm.until(
        "its evidence to be put away", lambda: pilot.records("quarantined", path=f"/tmp/left-by-{account}")[put_away:]
    )
    assert Path(kept["into"]).read_text() == f"{account}\n"
    assert kept["hold"].startswith("banned: a test, by ")
    refused = ["gridwarden", "lease", "release", account, "--because", "idle"]
    slurm.until("the epilog", lambda: not register.names_of(REGISTER, account))
    assert command(*refused, code=75) == ""
    Path(kept["into"]).unlink()
    rows = json.loads(command("gridwarden", "ban", "list", "--format", "json"))
    assert account in " ".join(row["accounts"] for row in rows)
