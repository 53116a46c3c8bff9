"""Slurm's hooks that are not root's, on the real Slurm: what they tell the agent, and that no job depends on it."""

from __future__ import annotations

import json
import pwd
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import tab_file
from gridwarden.hooks.agent import held
from gridwarden.hooks.install import slurm_conf
from tests.gridmap import bodies
from tests.scenarios.slurm import restart_controller
from tests.site import agent as site_agent
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

    from gridwarden.mapper.site import SiteValues

CONF, HOOKS = Path("/etc/slurm/slurm.conf"), Path("/usr/libexec/gridwarden")
OPTIONAL = [line[1:] for line in slurm_conf(HOOKS, 100).splitlines() if line.startswith("#") and "=" in line]


def run(command: str, code: int = 0) -> str:
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, check=False)
    assert done.returncode == code, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def is_old() -> bool:
    return "22.05" in run("scontrol --version")


@pytest.fixture(scope="module", autouse=True)
def _called() -> Iterator[None]:
    """A Slurm that calls all three, for these stories alone; the first of them is told on Slurm 22.05, too."""
    before = CONF.read_text()
    CONF.write_text("\n".join([before, *OPTIONAL, ""]))
    run("scontrol reconfigure")
    if is_old():
        restart_controller()  # which calls them only so there, whatever scontrol show config says
    until("Slurm to call them", lambda: "slurm-task-prolog" in run("scontrol show config"))
    yield
    CONF.write_text(before)
    run("scontrol reconfigure")
    until("Slurm to call none of them", lambda: "slurm-task-prolog" not in run("scontrol show config"))
    idle = ["idle"]
    until("the nodes to be idle", lambda: run("sinfo --noheader --format=%T").split() == idle)


@pytest.fixture(scope="module")
def account(people: SimpleNamespace) -> str:
    return run(f"gridwarden map --proxy {people.anna.proxy}").split()[0]


@contextmanager
def agent(state: str) -> Iterator[None]:
    """An agent that answers, one that is stopped, or none."""
    if state == "gone":
        yield
        return
    process = site_agent.start()
    try:
        if state == "stopped":
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        process.send_signal(signal.SIGCONT)
        site_agent.end(process)


def declared(site: SiteValues, what: str, job: int) -> list[dict[str, str]]:
    """What slurmctld's hooks have said of a job."""
    said = [(body, tab_file.decode(f"version\t1\n{body['text']}".encode())) for body in bodies(site, "declared")]
    uid = pwd.getpwnam("slurm").pw_uid
    return [
        {key: values[-1] for key, values in told.items()}
        for body, told in said
        if (body["what"], body["uid"], told.get("job")) == (what, uid, [str(job)])
    ]


def test_who_asks_for_a_tasks_pid_is_led_to_its_job_and_the_controller_has_a_record_of_its_own(
    site: SiteValues, slurm: ModuleType, account: str, people: SimpleNamespace
) -> None:
    written = Path(pwd.getpwnam(account).pw_dir, "task-pid")
    with agent("answers"):

        def noted() -> list[dict[str, object]]:
            """The note of a job's task: slurmd may not have read its configuration for the first."""
            job = slurm.submit(account, "echo $$ > ~/task-pid; exit 3", "--nodelist", "n1")
            until("it to be over", lambda: not run(f"squeue --noheader --job {job} || true").strip())
            return [body for body in bodies(site, "noted") if body["job"] == str(job)]

        (note,) = slurm.until("a task to be noted", noted)
        job = int(str(note["job"]))
        (ended,) = slurm.until("its end", lambda: declared(site, "job_ended", job))
    (allocated,) = declared(site, "job_allocated", job)
    assert (note["what"], note["pid"]) == ("task", int(written.read_text()))
    written.unlink()
    about = {"account": account, "nodes": "n1", "restart": "0"}
    if not is_old():  # a job has no extra there
        about["stamp"] = str(note["lease"])
    assert about.items() <= allocated.items()
    assert (about | {"exit_code": "3:0"}).items() <= ended.items()
    (answer,) = json.loads(run(f"whoran --format json {note['pid']} 2>/dev/null"))
    assert (answer["identity"], answer["job"], answer["evidence"]) == (people.anna.subject, str(job), "declared")


@pytest.mark.parametrize("state", ["gone", "stopped"])
def test_a_job_runs_all_the_same_where_no_agent_answers_and_syslog_says_so(
    state: str, slurm: ModuleType, account: str
) -> None:
    out = Path(pwd.getpwnam(account).pw_dir, "out")
    with agent(state):
        job = slurm.submit(account, "echo said", f"--output={out}")
        assert slurm.wait(job)["job_state"] == ["COMPLETED"]

        def told() -> set[str]:
            lines = Path("/var/log/syslog").read_text(errors="replace").splitlines()
            found = (
                line.partition("event=")[2] for line in lines if f" job={job} " in line and "outcome=absent" in line
            )
            return {line.partition(" ")[0] for line in found}

        slurm.until("a line of each", lambda: told() == {"prolog-slurmctld", "task-prolog", "epilog-slurmctld"})
    assert out.read_text() == "said\n"
    out.unlink()
    assert "DRAIN" not in slurm.node_state()


def test_they_are_not_removed_while_slurm_calls_them_and_the_doctor_sees_that_their_users_can_read_them() -> None:
    said = run("gridwarden hooks uninstall", 78)
    assert all(line in said for line in OPTIONAL)
    assert "hook-" not in run("gridwarden doctor || true")
    run(f"chmod o-r {HOOKS}/slurm-task-prolog")
    (found,) = [
        row for row in json.loads(run("gridwarden doctor --format json", 1)) if row["kind"] == "hook-unreadable"
    ]
    run(found["remedy"])
    assert "hook-" not in run("gridwarden doctor || true")


def test_the_agent_knows_that_slurmctld_runs_here_after_a_reconfiguration_too() -> None:
    """It has executed itself by another name then; the agent would release no held job any more."""
    assert held.runs_controller(held.uid_of("slurm"))
