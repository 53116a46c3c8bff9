"""The part of ``gridwarden exec-test`` that submits to Slurm, suspends, resumes and cancels, and compares with sacct.

Whatever belongs to the pilot is done, written and read as the pilot.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gridwarden.errors import Unavailable
from gridwarden.hooks.pilot.exec_test import SLACK, Proof

if TYPE_CHECKING:
    import pwd
    from collections.abc import Callable, Sequence
    from pathlib import Path

START_SECONDS = 300.0  # for a job to start
ANSWER_SECONDS = 30.0
SETTLE_SECONDS = 1.0  # within which every process must have stopped
WATCH_SECONDS = 1.0
INTERPRETER_SECONDS = 0.3  # of CPU time, before and after what the job itself can measure
WRITERS = (b"apart", b"within")
Answer = TypeVar("Answer")


class Slurm(NamedTuple):
    """Whose job it is, Slurm's programs, and options of sbatch."""

    pilot: pwd.struct_passwd
    programs: Path
    options: tuple[str, ...] = ()

    def as_pilot(self, command: Sequence[str], text: str = "") -> bytes:
        """What a command says that runs as the pilot; raises Unavailable when it does not end with 0.

        In a session of its own: the pilot's processes could type into the administrator's terminal.
        """
        pilot = self.pilot
        return _run(
            command,
            f" as {pilot.pw_name}",
            input=text.encode(),
            user=pilot.pw_uid,
            group=pilot.pw_gid,
            extra_groups=os.getgrouplist(pilot.pw_name, pilot.pw_gid),
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "HOME": pilot.pw_dir, "USER": pilot.pw_name, "LOGNAME": pilot.pw_name},
        )

    def ask(self, program: str, *words: str) -> str:
        """What one of Slurm's programs says to root; raises Unavailable."""
        return _run([str(self.programs / program), *words]).decode("utf-8", "backslashreplace")

    def submit(self, command: Sequence[str], directory: str) -> str:
        """Submit a job that becomes ``command``; its id."""
        words = [str(self.programs / "sbatch"), "--parsable", f"--chdir={directory}", "--output=output", *self.options]
        return self.as_pilot(words, f"#!/bin/sh\nexec {shlex.join(command)}\n").decode().strip().partition(";")[0]

    def state(self, job: str) -> str:
        """Such as RUNNING; empty once the job has left its node."""
        return self.ask("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


def _run(command: Sequence[str], who: str = "", **options: Any) -> bytes:  # noqa: ANN401 - those of subprocess.run
    """What a command says; raises Unavailable."""
    shown = f"{os.path.basename(command[0])}{who}"
    try:
        done = subprocess.run(list(command), capture_output=True, check=False, timeout=ANSWER_SECONDS, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{shown}: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "backslashreplace").strip()
        raise Unavailable(f"{shown}: {said or f'ended with {done.returncode}'}")
    answer: bytes = done.stdout
    return answer


def until(what: str, ask: Callable[[], Answer], seconds: float) -> Answer:
    """Ask until the answer is true; raises Unavailable."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise Unavailable(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)
    return answer


def run(slurm: Slurm, inside: Callable[[str, bool], Sequence[str]], directory: Path, seconds: int) -> list[Proof]:
    """Both jobs; ``inside`` is the command of the job for its directory, and whether it only ticks."""
    made = slurm.as_pilot(["mktemp", "-d", "-p", str(directory), "exec-test.XXXXXX"]).decode().strip()
    try:
        proofs = proved(slurm, inside(made, False), made, seconds)  # noqa: FBT003
        if proofs[0].holds:  # where no payload runs there is nothing to watch
            proofs += watched(slurm, inside(made, True), made)  # noqa: FBT003
        return proofs
    finally:
        slurm.as_pilot(["rm", "-rf", "--", made])


def ended(slurm: Slurm, job: str) -> bool:
    """Whether nothing of the job is left to wait for."""
    return slurm.state(job) not in ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING")


def proved(slurm: Slurm, command: Sequence[str], directory: str, seconds: int) -> list[Proof]:
    """The job that proves things itself and ends; then what sacct counted."""
    job = slurm.submit(command, directory)
    until(f"job {job} to end", lambda: ended(slurm, job), START_SECONDS + 10 * seconds)
    try:
        told = json.loads(slurm.as_pilot(["cat", "--", f"{directory}/proofs"]))
    except Unavailable:
        output = slurm.as_pilot(["tail", "-c", "300", "--", f"{directory}/output"]).decode("utf-8", "backslashreplace")
        return [Proof("submit", False, f"job {job} proved nothing: {output.strip()}")]  # noqa: FBT003
    counted = until(f"sacct to know the end of job {job}", lambda: accounted(slurm, job), ANSWER_SECONDS)
    apart = abs(counted - told["cpu"])
    near = apart <= SLACK * counted + INTERPRETER_SECONDS
    detail = f"sacct {counted:.2f} s, the pilot with its payloads {told['cpu']:.2f} s"
    return [*(Proof(*proof) for proof in told["proofs"]), Proof("cpu-to-batch", near, detail)]


def accounted(slurm: Slurm, job: str) -> float:
    """CPU seconds of an ended job, 0 while sacct does not know its end."""
    (found,) = json.loads(slurm.ask("sacct", "--jobs", job, "--json"))["jobs"][:1] or [None]
    if not found or not found["time"]["end"]:
        return 0.0
    total = found["time"]["total"]
    return float(total["seconds"]) + float(total["microseconds"]) / 1e6


def watched(slurm: Slurm, command: Sequence[str], directory: str) -> list[Proof]:
    """The job whose payload writes lines from two sessions: suspended, resumed, cancelled."""
    job = slurm.submit(command, directory)

    def ticks() -> bytes:
        return slurm.as_pilot(["tail", "-c", "4096", "--", f"{directory}/ticks"])

    def size() -> int:
        return int(slurm.as_pilot(["stat", "--format=%s", "--", f"{directory}/ticks"]))

    def still() -> bool:
        time.sleep(SETTLE_SECONDS)
        before = size()
        time.sleep(WATCH_SECONDS)
        return size() == before

    def grows() -> bool:
        before, deadline = size(), time.monotonic() + ANSWER_SECONDS
        while size() == before and time.monotonic() < deadline:
            time.sleep(0.1)
        return size() > before

    try:
        until(f"job {job} to start", lambda: slurm.state(job) == "RUNNING", START_SECONDS)
        until("the payload's lines", lambda: _has_all(slurm, directory, ticks), ANSWER_SECONDS)
        slurm.ask("scontrol", "suspend", job)
        stopped = still()
        slurm.ask("scontrol", "resume", job)
        went_on = grows()
    finally:
        slurm.ask("scancel", job)
    until(f"job {job} to end", lambda: ended(slurm, job), ANSWER_SECONDS * 4)
    gone = still()
    return [
        Proof(
            "suspend", stopped, "no process of the payload wrote on" if stopped else "a process of the payload ran on"
        ),
        Proof("resume", went_on, "they went on" if went_on else "they stayed stopped"),
        Proof(
            "kill", gone, "no process of the payload is left" if gone else "a process of the payload outlived the job"
        ),
    ]


def _has_all(slurm: Slurm, directory: str, ticks: Callable[[], bytes]) -> bool:
    there = slurm.as_pilot(["find", directory, "-name", "ticks"])
    return bool(there) and all(writer in ticks() for writer in WRITERS)
