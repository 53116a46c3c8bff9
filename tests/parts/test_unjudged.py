"""Jobs that run without a prolog having judged them, with real processes of a spare uid below a daemon of root's."""

from __future__ import annotations

import os
import pwd
from socket import AF_UNIX, socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gridwarden import holders, node_file, off, proc
from gridwarden.hooks.agent import unjudged_errand
from gridwarden.hooks.agent.unjudged import OTHERS
from gridwarden.hooks.slurm import controller
from tests.parts.test_hooks import ACCOUNT, LEASE, UID, Machine, machine, step

if TYPE_CHECKING:
    from pathlib import Path

    Told = dict[str, str] | None

__all__ = ["machine"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

THE_JOB = "n1 9"


@pytest.fixture(autouse=True)
def _accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    def getpwuid(uid: int) -> pwd.struct_passwd:
        return pwd.struct_passwd((ACCOUNT if uid == UID else "guest", "x", uid, uid, "", "/", "/bin/sh"))

    monkeypatch.setattr(unjudged_errand, "pwd", SimpleNamespace(getpwuid=getpwuid))


def looked(machine: Machine, told: Told = None) -> Told:
    return unjudged_errand.see_to(node_file.read(str(machine.base / "node")), told or {})


def stops(machine: Machine, *names: str) -> None:
    for name in names:
        machine.program(name, f'echo "{name} $*" >> {machine.base}/called')


def called(machine: Machine) -> list[str]:
    path: Path = machine.base / "called"
    return [f"{line.split()[0]} {line.split()[-1]}" for line in path.read_text().splitlines()] if path.exists() else []


def test_a_job_that_no_prolog_judged_is_on_record_with_its_holder_once_and_runs_on(machine: Machine) -> None:
    with step(machine) as processes:
        told = looked(machine)
        assert told == {THE_JOB: "record-gap : missed"}
        assert looked(machine, told) == told
        assert proc.read(processes[0].pid)
    (gap,) = machine.records("gap")
    assert (gap["what"], gap["node"]) == (f"start of slurm job 9, account {ACCOUNT}", "n1")
    assert gap["reason"] == unjudged_errand.NOT_JUDGED
    assert [seen["lease"] for seen in machine.records("observation")] == [LEASE]
    assert looked(machine, told) == {}


def test_a_banned_holders_job_that_no_prolog_stopped_is_cancelled_until_it_is_gone_and_on_record_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.holder(verdict=holders.BANNED, because="an incident")
    machine.program("scancel", "exit 1")
    with step(machine):
        with monkeypatch.context() as in_a_hurry:
            in_a_hurry.setattr(controller, "SECONDS", 0.1)
            told = looked(machine)
        assert told == {THE_JOB: "cancel banned: an incident: failed"}
        stops(machine, "scancel")
        told = looked(machine, told)
        assert told == {THE_JOB: "cancel banned: an incident: cancelled"}
        looked(machine, told)
    assert called(machine) == ["scancel 9"] * 2
    (cancelled,) = machine.records("cancel")
    assert (cancelled["job"], cancelled["lease"], cancelled["reason"]) == ("9", LEASE, "banned: an incident")
    assert len(machine.records("gap")) == 1


def test_a_banned_holders_job_is_cancelled_also_where_its_account_cannot_be_looked_up(machine: Machine) -> None:
    machine.holder(verdict=holders.BANNED, because="an incident", account="gwtest09", uid=UID)
    stops(machine, "scancel")
    with pytest.MonkeyPatch.context() as other_account, step(machine):
        entry = pwd.struct_passwd(("gwtest09", "x", UID, UID, "", "/", "/bin/sh"))
        other_account.setattr(unjudged_errand, "pwd", SimpleNamespace(getpwuid=lambda _: entry))
        assert looked(machine) == {THE_JOB: "cancel banned: an incident: cancelled"}


def test_to_whom_another_program_lent_such_a_jobs_account_is_on_record(machine: Machine) -> None:
    names = machine.base / "gridmapdir"
    (names / "%2fcn%3danna").rename(names / "%2fcn%3dbela")
    with step(machine):
        looked(machine)
    assert "is not in" in machine.records("gap")[0]["reason"]
    assert [seen["name"] for seen in machine.records("observation")] == ["%2fcn%3dbela"]


def test_a_ban_that_comes_while_such_a_job_runs_stops_it(machine: Machine) -> None:
    stops(machine, "scancel")
    with step(machine):
        told = looked(machine)
        machine.holder(verdict=holders.BANNED, because="an incident")
        assert looked(machine, told) == {THE_JOB: "cancel banned: an incident: cancelled"}
    assert called(machine) == ["scancel 9"]


def test_a_full_disk_lets_no_banned_job_run_on_and_what_could_not_be_recorded_is_later(machine: Machine) -> None:
    machine.holder(verdict=holders.BANNED, because="an incident")
    stops(machine, "scancel")
    (machine.base / "ledger").rename(machine.base / "elsewhere")
    with step(machine):
        told = looked(machine)
        assert called(machine) == ["scancel 9"]
        (machine.base / "elsewhere").rename(machine.base / "ledger")
        looked(machine, told)
    assert len(machine.records("cancel")) == 1


@pytest.mark.parametrize(
    ("choice", "asked", "kind"),
    [
        ("record-gap", [], "gap"),
        ("cancel", ["scancel 9"], "cancel"),
        ("requeue-held", ["scontrol 9"], "hold"),
        ("drain", ["scontrol 9"], "hold"),
    ],
)
def test_a_job_of_an_account_that_nobody_holds_is_what_the_site_chose_for_its_prolog(
    machine: Machine, choice: str, asked: list[str], kind: str
) -> None:
    machine.configure(prolog_on_failure=choice)
    holders.remove(machine.base / "holders", ACCOUNT)
    stops(machine, "scancel", "scontrol")
    with step(machine):
        looked(machine)
    assert called(machine) == asked
    assert f"{ACCOUNT} has no holder file" in machine.records(kind)[0]["reason"]


def test_a_job_that_a_prolog_has_entered_is_left_to_its_prolog(machine: Machine) -> None:
    machine.run("prolog", SLURM_JOB_ID="9")
    machine.holder(verdict=holders.BANNED, because="an incident")
    with step(machine):
        assert looked(machine) == {}
    assert not machine.records("gap")


def test_a_job_of_a_user_of_the_machine_is_nobodys_business_and_is_looked_at_once(machine: Machine) -> None:
    with step(machine, UID + 7):
        told = looked(machine)
        assert told == {THE_JOB: OTHERS}
        (machine.base / "spool" / "n1" / "n1_9.4294967291").unlink()
        (machine.base / "spool" / "n1" / "n1_9.4294967291").touch()  # nobody to be asked there
        assert looked(machine, told) == told
    assert not machine.records("gap")


def test_hooks_that_are_switched_off_judge_nobody_later_either(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(off, "DIRECTORY", str(tmp_path))
    off.write(off.Switch(off.HOOKS, "a test", "root", 1, 0))
    with step(machine):
        assert looked(machine) == {}
        off.remove(off.HOOKS)
        assert looked(machine)


def test_where_no_slurmd_keeps_its_steps_there_is_nothing_to_look_for(machine: Machine) -> None:
    machine.configure(slurm_spool=f"{machine.base}/absent/%n")
    assert looked(machine) is None


def test_whoever_takes_another_uid_or_keeps_their_slurmstepd_busy_hides_no_other_job(machine: Machine) -> None:
    """A job of somebody else's, whose slurmstepd takes no connection, does not end the look."""
    with socket(AF_UNIX) as stopped, step(machine, UID + 7):
        path = f"{machine.base}/spool/n1/n1_3.4294967291"
        stopped.bind(path)
        stopped.listen(0)
        with socket(AF_UNIX) as first:
            first.connect(path)
            script = machine.base / "spool" / "n1" / "job00009" / "slurm_script"
            script.parent.mkdir()
            script.touch()
            os.chown(script, UID, UID)
            assert looked(machine) == {"n1 3": unjudged_errand.UNKNOWN, THE_JOB: "record-gap : missed"}


def test_a_job_of_which_only_an_extern_step_is_there_is_in_its_prolog_still(machine: Machine) -> None:
    with step(machine):
        spool = machine.base / "spool" / "n1"
        (spool / "n1_9.4294967291").rename(spool / "n1_9.4294967292")
        assert looked(machine) == {}
