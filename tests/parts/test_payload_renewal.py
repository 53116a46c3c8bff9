"""New credentials for a payload that runs: for whom, in which file, and never for somebody else."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from gridwarden import chain, payloads, reasons
from gridwarden.errors import ConfigurationError, Refused, Unavailable
from gridwarden.hooks.pilot import job_of, renew, scratch
from gridwarden.hooks.pilot.renew import Copies
from gridwarden.register import AccountLock

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users: needs root")

UID, PILOT, OTHER_PILOT = 61061, 61062, 61063
ANNA = SimpleNamespace(scheme="token", subject="https://wlcg,anna", credential="jti=2")


def no_process() -> NoReturn:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")  # as fork(2)


class Node:
    """A node with payloads that this process leads."""

    def __init__(self, base: Path) -> None:
        self.site = {name: [str(base / name)] for name in ("payloads", "locks", "ledger", "register")}
        for (path,) in self.site.values():
            os.mkdir(path, 0o700)
        self.own = base / "own"
        self.own.mkdir(mode=0o700)
        os.chown(self.own, UID, UID)
        self.held: dict[str, int] = {}

    def run(self, **values: str | int) -> payloads.State:
        usual = {
            "payload": payloads.new_id(), "account": "gwt61", "uid": UID, "gid": UID, "scheme": ANNA.scheme,
            "subject": ANNA.subject, "pilot_uid": PILOT, "name": "job-1", "token": str(self.own / "token"), "start": 1,
        }  # fmt: skip
        state = payloads.State(**usual | values)
        self.held[state.payload] = payloads.write(self.site["payloads"][0], state)
        return state

    def kill(self, state: payloads.State) -> None:
        os.close(self.held.pop(state.payload))

    def records(self, kind: str) -> list[dict[str, object]]:
        found = (line.body for line in chain.read(Path(self.site["ledger"][0])))
        return [body for body in found if body["kind"] == kind]

    def renewed(self) -> list[dict[str, object]]:
        return self.records("renewed")

    def renew(self, state: payloads.State, copies: Copies, *people: SimpleNamespace, account: str = "gwt61") -> None:
        target = SimpleNamespace(account=account, groups=(UID,)) if account else None
        renew.renew(self.site, state, people or (ANNA,), target, copies)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may pass through; pytest's own is closed by each run of pytest anew."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def refused(work: object, *arguments: object, **named: object) -> str:
    with pytest.raises(Refused) as error:
        work(*arguments, **named)
    return error.value.reason


def test_a_payload_finds_the_new_token_where_the_old_one_was_and_each_is_on_record(node: Node) -> None:
    state = node.run()
    for number in (2, 3, 4):
        person = SimpleNamespace(scheme=ANNA.scheme, subject=ANNA.subject, credential=f"jti={number}")
        node.renew(state, Copies(token=b"token %d" % number), person)
        assert (node.own / "token").read_bytes() == b"token %d" % number
    assert [one["credential"] for one in node.renewed()] == ["jti=2", "jti=3", "jti=4"]
    assert {one["payload"] for one in node.renewed()} == {state.payload}


def test_somebody_elses_credential_never_gets_into_a_payload_even_in_the_same_account(node: Node) -> None:
    state = node.run()
    bela = SimpleNamespace(scheme="token", subject="https://wlcg,bela", credential="jti=9")
    forged = SimpleNamespace(scheme="x509", subject=ANNA.subject, credential="1f")
    for person in (bela, forged):
        assert refused(node.renew, state, Copies(token=b"t"), person) == reasons.IDENTITY_CHANGED
    assert refused(node.renew, state, Copies(token=b"t"), ANNA, bela) == reasons.IDENTITY_CHANGED
    for account in ("gwt62", ""):
        assert refused(node.renew, state, Copies(token=b"t"), ANNA, account=account) == reasons.IDENTITY_CHANGED
    assert node.renewed() == []
    assert not (node.own / "token").exists()


def test_of_a_payload_of_two_identities_both_may_be_renewed_and_stand_on_record(node: Node) -> None:
    proxy = SimpleNamespace(scheme="x509", subject="/CN=Anna", credential="2a/CN=CA")
    state = node.run(
        scheme=proxy.scheme, subject=proxy.subject, also_scheme=ANNA.scheme, also_subject=ANNA.subject,
        proxy=str(node.own / "proxy"),
    )  # fmt: skip
    node.renew(state, Copies(proxy=b"p", token=b"t"), proxy, ANNA)
    assert [(one["subject"], one["credential"]) for one in node.renewed()] == [
        (proxy.subject, proxy.credential), (ANNA.subject, ANNA.credential),
    ]  # fmt: skip


def test_a_payload_gets_no_kind_of_credential_that_it_was_not_started_with(node: Node) -> None:
    assert refused(node.renew, node.run(), Copies(proxy=b"p")) == reasons.PAYLOAD_UNKNOWN
    assert node.renewed() == [], "what was not handed over must not be on record as if it was"


def test_a_credential_that_cannot_be_recorded_is_not_handed_over(node: Node) -> None:
    state = node.run()
    os.rename(node.site["ledger"][0], f"{node.site['ledger'][0]}.gone")
    with pytest.raises(ConfigurationError, match="ledger"):
        node.renew(state, Copies(token=b"t"))
    assert not (node.own / "token").exists()


def test_a_place_that_is_not_the_owners_any_more_gets_nothing(node: Node) -> None:
    state = node.run()
    os.chown(node.own, PILOT, PILOT)
    assert refused(node.renew, state, Copies(token=b"t")) == reasons.TARGET_UNUSABLE
    (gap,) = node.records("gap")
    assert state.payload in gap["what"], "the record of a renewal must not stand alone if there was none"


def test_a_renewal_for_which_no_process_can_be_started_is_on_record_as_one_that_did_not_reach_the_payload(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = node.run()
    monkeypatch.setattr(os, "fork", no_process)
    with pytest.raises(BlockingIOError):
        node.renew(state, Copies(token=b"t"))
    (gap,) = node.records("gap")
    assert state.payload in gap["what"]


def test_a_payload_that_has_ended_meanwhile_gets_nothing(node: Node) -> None:
    state = node.run()
    node.kill(state)
    assert refused(node.renew, state, Copies(token=b"t")) == reasons.PAYLOAD_UNKNOWN
    payloads.remove(node.site["payloads"][0], state.payload)
    assert refused(node.renew, state, Copies(token=b"t")) == reasons.PAYLOAD_UNKNOWN


def test_while_a_payload_is_cleared_away_its_renewal_waits(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renew, "LOCK_SECONDS", 0.1)
    state = node.run()
    with AccountLock(node.site["locks"][0], "gwt61", 1), pytest.raises(Unavailable):
        node.renew(state, Copies(token=b"t"))


def test_a_payload_is_found_by_its_callers_name_or_its_target_and_by_no_other_caller(node: Node) -> None:
    state = node.run(proxy="/exchange/p")
    assert renew.find(node.site, PILOT, name="job-1").payload == state.payload
    assert renew.find(node.site, PILOT, target="/exchange/p").payload == state.payload
    assert renew.find(node.site, PILOT, target=state.token).payload == state.payload
    for uid, name, target in ((OTHER_PILOT, "job-1", ""), (OTHER_PILOT, "", "/exchange/p"), (PILOT, "job-2", "")):
        assert refused(renew.find, node.site, uid, name=name, target=target) == reasons.PAYLOAD_UNKNOWN


def test_a_payload_without_name_or_target_is_not_taken_for_one_that_is_asked_for_without(node: Node) -> None:
    node.run(name="", token="")
    assert refused(renew.find, node.site, PILOT) == reasons.PAYLOAD_UNKNOWN


def test_of_payloads_of_one_name_the_last_that_still_runs_is_renewed(node: Node) -> None:
    first, last, dead = node.run(start=1), node.run(start=2), node.run(start=3)
    node.kill(dead)
    assert renew.find(node.site, PILOT, name="job-1").payload == last.payload
    node.kill(last)
    assert renew.find(node.site, PILOT, name="job-1").payload == first.payload


@pytest.mark.parametrize(
    ("title", "job"),
    [
        ("slurmstepd: [123.batch]", "123"),
        ("slurmstepd: [4.0]", "4"),
        ("slurmstepd: [4.extern]", "4"),
        ("slurmstepd: [x.batch]", ""),
        ("slurmstepd: [123]", ""),
        ("slurmstepd infinity", ""),
        ("/usr/sbin/slurmstepd", ""),
        ("", ""),
    ],
)
def test_the_job_is_what_slurmstepd_calls_itself_or_not_known(title: str, job: str) -> None:
    assert job_of.step_job(title) == job


@pytest.mark.parametrize(
    ("group", "is_slurms"),
    [
        ("/system.slice/slurmstepd.scope/job_5", True),
        ("/system.slice/n1_slurmstepd.scope/job_5", True),
        ("/slurm/uid_2101/job_55", True),
        ("/slurm_n1/uid_2101/job_55", True),
        ("/user.slice/user-2101.slice/user@2101.service/job_5", False),
        ("/user.slice/slurmstepd.scope/job_5", False),
        ("/user.slice/user-2101.slice/user@2101.service/system.slice/slurmstepd.scope/job_5", False),
        ("/system.slice/mine.service/slurmstepd.scope/job_5", False),
        ("/slurm/uid_2101/mine/uid_2102/job_5", False),
        ("/job_5", False),
    ],
)
def test_no_control_group_of_a_users_own_passes_for_a_job(group: str, *, is_slurms: bool) -> None:
    assert job_of.made_by_slurm(group) is is_slurms


def test_no_name_that_a_user_can_give_a_process_makes_it_a_batch_job(node: Node, tmp_path: Path) -> None:
    fake = tmp_path / "slurmstepd"
    fake.symlink_to("/bin/sleep")
    child = subprocess.Popen(["slurmstepd: [99.batch]", "30"], executable=fake)
    try:
        assert job_of.caller_job(node.site, "pilot", child.pid).job == ""
    finally:
        child.kill()
        child.wait()


def test_a_pilot_outside_any_batch_job_is_in_none(node: Node) -> None:
    found = job_of.caller_job(node.site, "pilot")
    assert (found.batch, found.job, found.restart) == ("", "", 0)


def lent(directory: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> payloads.State:
    entry = SimpleNamespace(pw_gid=PILOT, pw_dir=str(home))
    monkeypatch.setattr(scratch, "pwd", SimpleNamespace(getpwuid=lambda _: entry))
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        return scratch.noted(payloads.State(pilot="pilot", pilot_uid=PILOT, uid=UID, gid=UID), descriptor)
    finally:
        os.close(descriptor)


def test_what_is_lent_is_noted_by_its_identity_and_not_by_its_name_alone(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "scratch"
    directory.mkdir()
    os.chown(directory, PILOT, PILOT)
    state = lent(directory, monkeypatch, tmp_path / "home")
    status = directory.stat()
    assert (state.scratch, state.scratch_gid) == (str(directory), PILOT)
    assert (state.scratch_device, state.scratch_inode) == (status.st_dev, status.st_ino)


def test_what_cannot_be_handed_over_in_time_is_the_pilots_again_and_no_payload_runs(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "scratch"
    for path in (directory, *(directory / f"{number}" for number in range(50))):
        path.mkdir()
        os.chown(path, PILOT, PILOT)
    state = lent(directory, monkeypatch, tmp_path / "home")
    monkeypatch.setattr(scratch, "HAND_OVER_SECONDS", 0)
    top = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(Unavailable, match="not reached in time"):
        scratch.hand_over(state, top)
    os.close(top)
    assert {path.stat().st_uid for path in (directory, *directory.iterdir())} == {PILOT}


def test_a_pilot_started_in_its_home_does_not_give_that_away(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "above/home"
    home.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(home)
    for directory in (home, home.parent):
        os.chown(directory, PILOT, PILOT)
        for shown in (home, link):
            assert refused(lent, directory, monkeypatch, shown) == reasons.DIRECTORY_OTHERS


def test_a_directory_of_somebody_else_cannot_be_lent(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(lent, node.own, monkeypatch, tmp_path / "home") == reasons.DIRECTORY_OTHERS
