"""Nodes of each batch system with one live job, whose answers a test can break: real processes, stand-in programs.

What the programs print was printed by the real ones (Slurm 24.11.5, HTCondor 23.9.6) or is what the sources of
OpenPBS 23.06.06 and Torque 6.1 print.  The site's stories ask the real Slurm and HTCondor.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from gridwarden import ledger, register
from gridwarden.batch import htcondor, pbs, registered, slurm, torque
from gridwarden.batch.evidence import Answer
from tests.killing import kill

UID = 61021
ARRIVAL_SECONDS = 60
STEP = """
import socket, subprocess, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
subprocess.Popen(["sleep", "1000"], user=int(sys.argv[2]), group=int(sys.argv[2]), extra_groups=[], cwd="/")
print(flush=True)
time.sleep(1000)
"""
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")  # one that every user may execute
CLONE = "import ctypes, os; ctypes.CDLL(None).syscall(435, (ctypes.c_uint64 * 8)(0x8000), 64) or "
SIBLING = f"""{PYTHON} -Ic '{CLONE}(os.setsid(), os.execlp("sleep", "sleep", "1001"))'"""
"""A command whose process makes another its own parent's child (clone3(2), CLONE_PARENT), and ends."""
DAEMON = (
    "for i in $(seq {count}); do {prefix} setpriv --reuid={uid} --clear-groups sleep 1000 & done; echo; wait; read -r _"
)


class BatchNode:
    """A node in a temporary directory.  ``payload()`` are the pids of its job's own processes."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.programs = base / "programs"
        self.programs.mkdir()
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.users: list[int] = []  # processes of the job's user, which outlive a daemon that a test kills
        self.site: dict[str, list[str]] = {"prune_daemon": []}

    def ask(self, seconds: float = 5) -> Answer:
        raise NotImplementedError

    def close(self) -> None:
        kill(*(pid for pid in self.users if uid_of(pid) == UID))
        for daemon in self.daemons:
            daemon.kill()
            daemon.wait()

    def payload(self) -> list[int]:
        return [pid for daemon in self.daemons for pid in self.children(daemon.pid)]

    def children(self, parent: int) -> list[int]:
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def says(self, name: str, text: str, code: int = 0) -> None:
        """Let a program print ``text``, to the byte."""
        (self.base / f"{name}.txt").write_text(text)
        self.program(name, f"cat {self.base}/{name}.txt; exit {code}")

    def daemon(self, name: str, *arguments: str, uid: int = UID, count: int = 1, prefix: str = "") -> int:
        """Run a shell under a daemon's name, with ``count`` processes of the user below it; its pid."""
        path = self.base / "sbin" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            shutil.copy(os.path.realpath(shutil.which("bash") or ""), path)
            self.site["prune_daemon"].append(str(path))
        script = DAEMON.format(count=count, prefix=prefix, uid=uid)
        return self.start([str(path), "-c", script, *arguments], count)

    def start(self, command: list[str], count: int) -> int:
        daemon = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd="/"
        )
        assert daemon.stdout
        daemon.stdout.readline()
        self.daemons.append(daemon)
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while [uid_of(pid) for pid in self.children(daemon.pid)] != [UID] * count:
            assert time.monotonic() < deadline, "the job's processes did not become the user"
            time.sleep(0.01)
        self.users += self.children(daemon.pid)
        return daemon.pid


class SlurmNode(BatchNode):
    """Job 9 with a batch step and step 0 on node n1."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.spool = base / "spool" / "n1"
        self.spool.mkdir(parents=True)
        self.site |= {"slurm_spool": [f"{base}/spool/%n"], "slurm_programs": [str(self.programs)]}
        for step in ("4294967291", "0"):
            self.start([sys.executable, "-c", STEP, f"{self.spool}/n1_9.{step}", str(UID)], 1)
        batch, task = self.payload()
        self.listing = (
            "PID      JOBID    STEPID   LOCALID GLOBALID\n"
            f"{task:<8} 9        0        0       0       \n"
            f"{batch:<8} 9        batch    0       0       \n"
        )
        self.says("scontrol", self.listing)

    def ask(self, seconds: float = 5) -> Answer:
        return slurm.jobs_here(self.site, seconds)


class CondorNode(BatchNode):
    """Job localhost#1.0#1795311349 in one of three slots."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.site["prune_htcondor_programs"] = [str(self.programs)]
        self.address = base / ".startd_address"
        self.address.write_text(
            "<127.0.0.1:19618?addrs=127.0.0.1-19618&sock=startd_315_f4d3>\n$CondorVersion: 23.9.6 $\n"
        )
        self.startd = self.daemon("condor_startd", count=0)
        self.starter = self.daemon("condor_starter", "-a", "slot1_1", "127.0.0.1")
        self.slots = (
            '"slot1@localhost"\t3\tundefined\tundefined\tundefined\n'
            '"slot1_1@localhost"\t3\t"localhost#1.0#1795311349"\t"1.0"\t"localhost"\n'
            '"slot1_2@localhost"\t3\tundefined\tundefined\tundefined\n'
        )
        self.says("condor_config_val", f"{self.address}\n")
        self.says("condor_status", self.slots)

    def ask(self, seconds: float = 5) -> Answer:
        return htcondor.jobs_here(self.site, seconds)


class MomNode(BatchNode):
    """Job 0.pbshead with one task, a session that pbs_mom started."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.jobs = base / "mom_priv" / "jobs"
        self.jobs.mkdir(parents=True)
        (self.jobs / "0.pbshead.JB").touch()
        (self.jobs / "0.pbshead.TK").mkdir()
        (self.jobs / "0.pbshead.TK" / "00000001").touch()
        self.daemon("pbs_mom", prefix="setsid")
        (self.session,) = self.payload()

    def forget(self) -> None:
        """Have no record of the job."""
        (self.jobs / "0.pbshead.JB").unlink()

    def child(self, how: str) -> int:
        """Have a mom start a process of the user that is no task on record, one of CHILDREN; its pid."""
        mom = str(self.base / "sbin" / "pbs_mom")
        command = CHILDREN[how].format(mom=mom, user=f"setpriv --reuid={UID} --clear-groups", sibling=SIBLING)
        parent = self.start([mom, "-c", f"{command} & echo; wait; read -r _"], 1)
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while True:
            pids = self.children(parent)
            if [command_of(pid) for pid in pids] in (["sleep"], ["pbs_mom"]):
                self.users += pids
                return pids[0]
            assert time.monotonic() < deadline, "the child did not come to its program"


CHILDREN = {
    "a process that made itself the mom's child": "setsid {user} {sibling}",
    "a task that is not on record yet": "setsid {user} sleep 1001",
    "a task whose file has the mom's path in its own mount namespace": (
        "unshare --mount sh -c 'mount --bind /bin/bash {mom}; exec setsid {user} {mom} -c \"kill -STOP \\$\\$\"'"
    ),
    "a task before its program": "setsid {user} {mom} -c 'kill -STOP $$'",
    "the mom's own copying": "{user} {mom} -c 'kill -STOP $$'",
    "the program that copies for the mom": "{user} sleep 1001",
}


PRINTED = """\
---------------------------------------------------
jobid:\t{job}
---------------------------------------------------
state:\t\t0x4
substate:\t0x2a (42)
svrflgs:\t0x1 (1)
stime:\t\t1795311349
obittime:\t\t0
file base:\t
queue:\t\tworkq
union type mom:
\tsvraddr\t173867009
\texitst\t0
\tuid\t{uid}
\tgid\t{uid}

task file {jobs}/{job}.TK/00000001

\tparentjobid:\t{job}
\tparentnode:\t0
\tmyvnode:\t0
\tparenttask:\t0
\ttask:\t\t1
\tstatus:\t\t1\tTI_STATE_RUNNING
\tsid:\t\t{session}
\texitstat:\t0
"""


class PbsNode(MomNode):
    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.site |= {"prune_pbs_home": [str(base)], "prune_pbs_programs": [str(self.programs)]}
        self.printed = PRINTED.format(job="0.pbshead", uid=UID, jobs=self.jobs, session=self.session)
        self.says("printjob", self.printed)

    def ask(self, seconds: float = 5) -> Answer:
        return pbs.jobs_here(self.site, seconds)


class TorqueNode(MomNode):
    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.site |= {"prune_torque_home": [str(base)], "prune_torque_programs": [str(self.programs)]}
        head = "\nHost: wn042/wn042.example.org   Version: 6.1.3   PID: 505\n"
        head += "HomeDirectory:          /var/spool/torque/mom_priv\n"
        self.told = f"{head}job[0.pbshead]  state=RUNNING sidlist={self.session}\n\ndiagnostics complete\n\n"
        self.idle = f"{head}NOTE:  no local jobs detected\n\ndiagnostics complete\n\n"
        self.says("momctl", self.told)

    def ask(self, seconds: float = 5) -> Answer:
        return torque.jobs_here(self.site, seconds)


class RegisterNode(BatchNode):
    """Job 9 of Slurm as its prolog entered it."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.register = base / "jobs"
        self.register.mkdir(mode=0o700)
        self.site["register"] = [str(self.register)]
        entry = {"batch": "slurm", "cluster": "site", "node": "n1", "job": "9", "restart": 0, "account": "cms001"}
        register.enter(self.register, register.Entry(**entry, uid=UID, lease="", start=1, boot=ledger.boot_id()))
        self.entry = self.register / "cms001" / "slurm.site.n1.9"

    def ask(self, seconds: float = 5) -> Answer:
        return registered.jobs_here(self.site, seconds)


NODES = {
    "slurm": SlurmNode, "htcondor": CondorNode, "pbs": PbsNode, "torque": TorqueNode, "register": RegisterNode
}  # fmt: skip


def command_of(pid: int) -> str:
    """The name of the program that a process of the job's user executes, "" for any other."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() if uid_of(pid) == UID else ""
    except (FileNotFoundError, ProcessLookupError):
        return ""


def uid_of(pid: int) -> int:
    """The real uid of a process, -1 when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return int(status.partition("\nUid:")[2].split()[0])
