"""Put a question to a batch system's own programs on this node, and answer only with what they agree on.

Never to a controller, which may be far away, or gone.
"""

from __future__ import annotations

import os
import time

from gridwarden import child, proc
from gridwarden.batch.evidence import Answer
from gridwarden.errors import GridwardenError, Unavailable
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeVar

    Told = TypeVar("Told")

TRIES = 4  # jobs start and end between one question and the next: what disagrees is asked again
PAUSE_SECONDS = 0.1
LONGEST_OUTPUT = 16 * 1024 * 1024  # some 100 000 processes, or slots
LONGEST_SHOWN = 160
CONFIGURATION = ("SLURM_CONF", "CONDOR_CONFIG", "PBS_CONF_FILE")  # where a site keeps them, if not where usual
# By itself, scancel leaves jobs of scrontab alone where slurm.conf has ScronParameters=explicit_scancel; 22.05 has neither.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SCANCEL_CRON": "1"}


def answer(batch: str, look: Callable[[float], Answer], seconds: float) -> Answer:
    """What ``look`` answers, asked again when it raises, and once when it doubts, or why nothing can be told.

    ``look`` gets the seconds that are left, and raises Unavailable, another of our errors, or OSError.
    """
    deadline = time.monotonic() + seconds
    doubtful = None
    why = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            found = look(left)
        except (GridwardenError, OSError) as error:
            why = str(error)
        else:
            if doubtful or not found.doubted:
                return found
            doubtful = found  # a user can keep a doubt up, and must not slow every look down
    return doubtful or Answer(batch, [], why or f"there was no time left to ask {batch}")


def ask(command: list[str], seconds: float) -> tuple[str, bool]:
    """What a program prints, its errors among it, and whether it ends with exit code 0.

    Raises Unavailable when that takes longer than ``seconds``.
    """
    environment = {name: os.environ[name] for name in CONFIGURATION if name in os.environ}
    environment |= ENVIRONMENT

    def execute(report: int) -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(report, 1)
        os.dup2(report, 2)
        os.execve(command[0], command, environment)  # noqa: S606  no shell is the point

    deadline = time.monotonic() + seconds
    report, well = child.run(execute, max(seconds, 0), lambda so_far: len(so_far) > LONGEST_OUTPUT)
    if not well and time.monotonic() >= deadline:
        raise Unavailable(f"{command[0]} did not answer in time")
    return report.decode("utf-8", "surrogateescape"), well


def ask_for(command: list[str], parse: Callable[[str], Told | None], seconds: float) -> Told:
    """What ``parse`` makes of what a program prints; Unavailable when it fails, or that is None: not whole."""
    text, well = ask(command, seconds)
    parsed = parse(text) if well else None
    if parsed is None:
        raise no_answer(command, text)
    return parsed


def no_answer(command: list[str], said: str) -> Unavailable:
    """The error for what a program said that is no answer, or not a whole one."""
    shown = escape(said.strip()[:LONGEST_SHOWN]) or "nothing"
    return Unavailable(f"{escape(' '.join(command[:2]))} gave no answer that can be used, but: {shown}")


def is_daemon(process: proc.Process, programs: Collection[str]) -> bool:
    """Whether a process is root's and runs one of these files, or ran it before it was replaced (an upgrade)."""
    if process.real_uid != 0 or process.has_ended():
        return False
    return executable(process.pid).removesuffix(" (deleted)") in programs


def executable(pid: int) -> str:
    """The path that /proc shows of the file that a process executes, "" when it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def control_groups(pid: int, is_of_job: Callable[[str], bool]) -> tuple[str, ...]:
    """The control groups that a batch system made for the job of process ``pid``.

    ``is_of_job`` says by a path's component whether the job has the group of this name to itself.
    """
    try:
        descriptor = proc.open_directory(pid)
    except (FileNotFoundError, ProcessLookupError):
        return ()
    try:
        process = proc.read_below(descriptor)
        paths = proc.cgroups_below(descriptor, process) if process else ()
    finally:
        os.close(descriptor)
    return tuple(dict.fromkeys(group for path in paths if (group := group_in(path, is_of_job))))


def group_in(path: str, is_of_job: Callable[[str], bool]) -> str:
    """``path`` up to the first component that is the job's own; "" when none is."""
    components = path.split("/")
    for place, component in enumerate(components):
        if is_of_job(component):
            return "/".join(components[: place + 1])
    return ""
