"""Slurm's hooks that are not root's: each hands what it knows to this machine's agent, and neither fails a job nor holds it up.

slurmctld runs PrologSlurmctld and EpilogSlurmctld as SlurmUser.  No job is theirs, so the agent stores what they say as
``declared``: a witness on another machine than the job's.  A task runs TaskProlog as the job's user; all that counts of that
is the process that calls it, which the agent sees below the job's slurmstepd (``noted``).  Nothing is ever printed: what
TaskProlog writes to standard output are orders to Slurm.
"""

from __future__ import annotations

import os

from gridwarden import agent_client, node_file, syslog_line
from gridwarden.hooks import job as batch_job
from gridwarden.hooks.slurm import deadline, variables

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

ALLOCATED, ENDED, TASK = "prolog-slurmctld", "epilog-slurmctld", "task-prolog"
WHAT = {ALLOCATED: "job_allocated", ENDED: "job_ended", TASK: "task"}
SECONDS = 1.0  # for the agent's answer: the job waits as long
MORE_SECONDS = 1.0  # for all the rest, such as a disk
LONGEST_NODES = 6000  # a message has 8192 bytes
OFF = "/etc/gridwarden/off/hooks"  # gridwarden.off, which nobody loads while nothing is there


def main(context: str) -> None:
    """Tell the agent what the hook ``context`` knows; whatever becomes of that, the job goes on."""
    try:
        deadline.arm(SECONDS + MORE_SECONDS)
        run(context, os.environ, node_file.PATH)
    except (Exception, deadline.Overdue) as error:  # noqa: BLE001 - nothing of ours is worth a job
        syslog_line.decision(context, "error", batch="slurm", detail=str(error) or type(error).__name__)
    finally:
        deadline.disarm()


def run(context: str, environment: Mapping[str, str], node_file_path: str) -> None:
    """``main`` for the given environment and node file; raises ConfigurationError, OSError."""
    site = node_file.read(node_file_path)
    account = environment.get("SLURM_JOB_USER", "")
    if not (variables.is_name(account) and batch_job.concerns(account, site)):
        return
    said = task(environment) if context == TASK else job(environment)
    shown = {key: said[key] for key in ("job", "account", "nodes") if key in said}
    if os.path.lexists(OFF) and _is_off():
        syslog_line.decision(context, "off", batch="slurm", **shown)
        return
    told = agent_client.tell(site.get("agent_socket", [""])[0], WHAT[context], said, SECONDS)
    outcome, detail = told.outcome, told.detail
    if outcome == (agent_client.STORED if context == TASK else agent_client.DECLARED):
        if context == TASK:
            return  # there may be thousands, and the record says it
        outcome, detail = "sent", ""
    syslog_line.decision(context, outcome, batch="slurm", **shown, seq=told.seq or None, detail=detail)


def job(environment: Mapping[str, str]) -> dict[str, str]:
    """What slurmctld's variables say of a job; raises ConfigurationError when they are not slurmctld's.

    Seen with 24.11.5: both hooks have those of a Prolog but for SLURMD_NODENAME; the exit code is the epilog's.
    """
    said = {
        "job": str(variables.number(environment, "SLURM_JOB_ID")),
        "restart": str(variables.number(environment, "SLURM_JOB_RESTART_COUNT", "0")),
        "account": variables.name(environment, "SLURM_JOB_USER"),
        "uid": str(variables.number(environment, "SLURM_JOB_UID")),
        "nodes": environment.get("SLURM_JOB_NODELIST", "")[:LONGEST_NODES],
        "stamp": variables.stamp(environment),
        "exit_code": environment.get("SLURM_JOB_EXIT_CODE2", ""),
    }
    return {key: value for key, value in said.items() if value}


def task(environment: Mapping[str, str]) -> dict[str, str]:
    """Which task it is by the job's own environment, its user's word; raises ConfigurationError for what is no number."""
    given = {"job": "SLURM_JOB_ID", "step": "SLURM_STEP_ID", "task": "SLURM_PROCID"}
    return {key: str(variables.number(environment, name)) for key, name in given.items() if name in environment}


def _is_off() -> bool:
    from gridwarden import off  # noqa: PLC0415 - rare

    return off.switch(off.HOOKS) is not None
