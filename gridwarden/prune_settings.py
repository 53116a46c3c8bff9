"""The declaration of the section ``prune``: whose processes and files are cleared away, by what, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from gridwarden.batch import NO_BATCH_SYSTEM
from gridwarden.setting_types import AbsolutePath, Account, CgroupPath, Hours, Seconds, Section, UidRange

BatchSystem = Literal["slurm", "htcondor", "pbs", "torque"]
LoginSessions = Literal["spare", "judge"]


class Daemons(Section):
    """Programs of the batch systems that start jobs on a node.

    What descends from one of them is spared, if it runs as root from exactly this file.
    """

    slurm: tuple[AbsolutePath, ...] = Field(
        (Path("/usr/sbin/slurmd"), Path("/usr/sbin/slurmstepd")), description="Those of Slurm."
    )
    htcondor: tuple[AbsolutePath, ...] = Field(
        (
            Path("/usr/sbin/condor_master"),
            Path("/usr/sbin/condor_startd"),
            Path("/usr/sbin/condor_starter"),
            Path("/usr/libexec/condor/condor_starter"),
        ),
        description="Those of HTCondor.",
    )
    pbs: tuple[AbsolutePath, ...] = Field((Path("/opt/pbs/sbin/pbs_mom"),), description="Those of OpenPBS.")
    torque: tuple[AbsolutePath, ...] = Field((Path("/usr/sbin/pbs_mom"),), description="Those of Torque.")


class Prune(Section):
    """What `gridwarden-prune` clears away on a node, and what it spares."""

    kill: bool = Field(
        default=False,
        description="Whether `gridwarden-prune` kills and removes; false: it only reports. Look at its reports for "
        "a week first.",
    )
    epilog: bool = Field(
        default=True,
        description="Whether the epilog clears away what an account's last job on the node left.",
    )
    batch: tuple[BatchSystem, ...] = Field(
        ("slurm",),
        description="Batch systems whose jobs run on the nodes: slurm, htcondor, pbs, torque. When one of them does "
        "not answer, nothing is killed. `[]`: none, as on a login host; then only an entry of the local register "
        "accounts for a process.",
    )
    uids: tuple[UidRange, ...] = Field(
        (),
        description="Uids that are judged besides those of the pools, from 1000 on.",
        examples=[["20000-29999"]],
    )
    exempt_users: tuple[Account, ...] = Field((), description="Accounts whose processes and files are left alone.")
    exempt_commands: tuple[AbsolutePath, ...] = Field(
        (),
        description="Programs that are left alone, by the file that a process executes; its name counts for nothing.",
        examples=[["/usr/bin/cvmfs2"]],
    )
    exempt_cgroups: tuple[CgroupPath, ...] = Field(
        (),
        description="Control groups that are left alone with all below them, as `/proc/PID/cgroup` shows them.",
        examples=[["/system.slice/xrootd.service"]],
    )
    cgroup_protects: bool = Field(
        default=True,
        description="Whether a process that left its job's process tree is spared while it is in the job's control "
        "group: the batch system ends it with the job.",
    )
    login_sessions: LoginSessions = Field(
        "judge",
        description="Whether processes in a login session (ssh, console) are spared, as on a submit host, or judged.",
    )
    submit_helpers: tuple[AbsolutePath, ...] = Field(
        (),
        description="Programs that a submit host runs for users, such as qsub's background process, left alone.",
        examples=[["/opt/pbs/bin/qsub"]],
    )
    term_seconds: Seconds = Field(
        0,
        le=60,
        description="How long a stray has between TERM and KILL. 0: KILL at once.",
    )
    seconds: Seconds = Field(
        60,
        ge=5,
        le=3600,
        description="How long one run may take; what was not reached by then is reported.",
    )
    scratch_age_hours: Hours = Field(
        24,
        description="How long nobody must have touched what an account without a job left in `scratch` before "
        "it is removed. What an account's former holder left is removed at once.",
    )
    prometheus: AbsolutePath | None = Field(
        None,
        description="File for the textfile collector of Prometheus's node exporter, written after each run.",
        examples=["/var/lib/prometheus/node-exporter/gridwarden.prom"],
    )
    htcondor_programs: AbsolutePath = Field(Path("/usr/bin"), description="Directory of HTCondor's commands.")
    pbs_home: AbsolutePath = Field(Path("/var/spool/pbs"), description="PBS_HOME of pbs.conf.")
    pbs_programs: AbsolutePath = Field(Path("/opt/pbs/bin"), description="Directory of OpenPBS's commands.")
    torque_home: AbsolutePath = Field(Path("/var/spool/torque"), description="Directory of Torque's mom_priv.")
    torque_programs: AbsolutePath = Field(Path("/usr/sbin"), description="Directory of Torque's momctl.")
    daemons: Daemons = Field(Daemons(), description="Programs of the batch systems that start jobs on a node.")

    def remarks(self) -> list[str]:
        """Return what an administrator should know of these choices."""
        if self.batch:
            return []
        logins = " and no login" if self.login_sessions == "spare" else ""
        what = f"every process of the pools that no entry of the local register{logins} accounts for is a stray"
        return [f"warning: prune.batch is empty: {what}"]

    def node_pairs(self) -> list[tuple[str, str]]:
        """Return what the node file says of this section, in its order."""
        return [
            ("prune_kill", yes_or_no(self.kill)),
            ("prune_epilog", yes_or_no(self.epilog)),
            *(("prune_batch", name) for name in self.batch or (NO_BATCH_SYSTEM,)),
            *(("prune_uids", uids) for uids in self.uids),
            *(("prune_exempt_user", name) for name in self.exempt_users),
            *(("prune_exempt_command", str(path)) for path in self.exempt_commands),
            *(("prune_exempt_cgroup", path) for path in self.exempt_cgroups),
            ("prune_cgroup_protects", yes_or_no(self.cgroup_protects)),
            ("prune_login_sessions", self.login_sessions),
            *(("prune_submit_helper", str(path)) for path in self.submit_helpers),
            ("prune_term_seconds", f"{self.term_seconds:g}"),
            ("prune_seconds", f"{self.seconds:g}"),
            ("prune_scratch_age_hours", f"{self.scratch_age_hours:g}"),
            *([("prune_prometheus", str(self.prometheus))] if self.prometheus else []),
            *(("prune_daemon", str(path)) for name in self.batch for path in getattr(self.daemons, name)),
            ("prune_htcondor_programs", str(self.htcondor_programs)),
            ("prune_pbs_home", str(self.pbs_home)),
            ("prune_pbs_programs", str(self.pbs_programs)),
            ("prune_torque_home", str(self.torque_home)),
            ("prune_torque_programs", str(self.torque_programs)),
        ]


def yes_or_no(value: bool) -> str:  # noqa: FBT001  the value of a key
    """Return how the node file says a truth."""
    return "yes" if value else "no"
