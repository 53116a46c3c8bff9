"""HTCondor as a node sees it: the slots of its startd, and the condor_starter that runs each job.

``condor_status -direct`` asks the startd itself, at the address that it writes into its log directory, so
neither collector nor schedd is asked.  Each slot's ad carries TotalSlots, so half an answer shows.
A job's owner can change its GlobalJobId (condor_qedit), and with it what the startd repeats of it; its number and its
schedd are the startd's own.  Observed with 23.9.6.
"""

from __future__ import annotations

import os
import stat
import time

from gridwarden import proc
from gridwarden.batch import question
from gridwarden.batch.evidence import Answer, LiveJob
from gridwarden.errors import Unavailable

STARTD, STARTER = "condor_startd", "condor_starter"
# A GlobalJobId may hold whatever its owner likes; a tab or a line's end in it, or megabytes, would spoil the answer for all slots.
USUAL, LONGEST, ODD = "-A-Za-z0-9_.:@#/+", 255, "odd"
NAMED = f'ifThenElse(size(GlobalJobId) > {LONGEST} || regexp("[^{USUAL}]", GlobalJobId), "{ODD}", GlobalJobId)'
ATTRIBUTES = ("Name", "TotalSlots", NAMED, "JobId", "RemoteScheddName")
UNDEFINED, NO_TEXT = "undefined", "error"
LONGEST_TIME = 19  # digits
ADDRESS_BYTES = 4096


class Starter:
    """A condor_starter: ``slot`` is the name that the startd gave it, without the machine's ("": no startd's)."""

    __slots__ = ("process", "slot")

    def __init__(self, process: proc.Process, slot: str) -> None:
        self.process = process
        self.slot = slot


def jobs_here(site: dict[str, list[str]], seconds: float) -> Answer:
    """The HTCondor jobs that run on this machine, as far as the startd and its starters agree."""
    programs = site["prune_htcondor_programs"][0]
    daemons = site["prune_daemon"]
    return question.answer("htcondor", lambda left: Answer("htcondor", _look(programs, daemons, left)), seconds)


class SlotJob:
    """A job in a slot: ``job`` as it is put on record, "" for none.

    ``declared`` is the GlobalJobId, which its owner may have changed; ``ODD`` for one with other characters than ``USUAL``,
    or more than ``LONGEST``, or that is no text.
    """

    __slots__ = ("declared", "job")

    def __init__(self, declared: str, number: str, schedd: str) -> None:
        self.declared = {UNDEFINED: "", NO_TEXT: ODD}.get(declared, declared)
        self.job = record_name(self.declared, number, schedd)


def record_name(declared: str, number: str, schedd: str) -> str:
    """The GlobalJobId (SCHEDD#CLUSTER.PROC#TIME) where it is of that job; what of it is sure where its owner has changed it."""
    if UNDEFINED in (number, schedd):
        return declared
    begin = f"{schedd}#{number}#"
    since = declared.removeprefix(begin) if declared.startswith(begin) else ""
    return declared if since.isascii() and since.isdigit() and len(since) <= LONGEST_TIME else begin


def job_of(starter: proc.Process, site: dict[str, list[str]], seconds: float) -> SlotJob:
    """The job that a starter runs, by its startd; raises Unavailable when that is not told in time."""
    deadline = time.monotonic() + seconds
    programs, slot = site["prune_htcondor_programs"][0], _slot_of(starter)
    while (left := deadline - time.monotonic()) > 0:
        slots = _ask_slots(programs, _ask_address(programs, left), left)
        found = slots.get(slot)
        if found and found.job:
            return found
        time.sleep(question.PAUSE_SECONDS)  # a startd tells of a job a moment after its starter began
    raise Unavailable(f"the startd tells of no job in {slot or 'the slot of that starter'}")


def _look(programs: str, daemons: list[str], seconds: float) -> list[LiveJob]:
    """The jobs by their slots; raises Unavailable, OSError."""
    deadline = time.monotonic() + seconds
    slots = _ask_slots(programs, _ask_address(programs, seconds), deadline - time.monotonic())
    processes = proc.everyone()
    running = [process for process in processes if question.is_daemon(process, daemons)]
    if not any(process.command == STARTD for process in running):
        raise Unavailable(f"something answers, but no {STARTD} runs here from a file that prune.daemons names")
    starters = [Starter(process, _slot_of(process)) for process in running if process.command == STARTER]
    missing = set(slots) - {starter.slot for starter in starters}
    for slot in missing:
        if slots[slot].job:
            raise Unavailable(
                f"the startd has {slots[slot].job} in {slot}, but no condor_starter from prune.daemons runs it"
            )
    jobs = {slot: found.job for slot, found in slots.items()}
    return [_live_job(starter, jobs.get(starter.slot, ""), processes) for starter in starters]


def _ask_address(programs: str, seconds: float) -> str:
    """Where the startd listens, as it wrote itself; raises Unavailable, OSError."""
    command = [f"{programs}/condor_config_val", "STARTD_ADDRESS_FILE"]
    text, well = question.ask(command, seconds)
    path = text.removesuffix("\n")
    if not well or not path.startswith("/") or "\n" in path or path == text:
        raise question.no_answer(command, text)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Unavailable(f"{path} is not a file that only its owner can write")
        address, newline, _ = os.read(descriptor, ADDRESS_BYTES).decode("utf-8", "replace").partition("\n")
    finally:
        os.close(descriptor)
    if not (newline and address.startswith("<") and address.endswith(">")):
        raise Unavailable(f"{path} holds no whole address of a startd")
    return address


def _ask_slots(programs: str, address: str, seconds: float) -> dict[str, SlotJob]:
    """The job in each slot by the slot's name without the machine's; raises Unavailable."""
    command = [f"{programs}/condor_status", "-direct", address, "-af:Vt", *ATTRIBUTES]
    return question.ask_for(command, parse_slots, seconds)


def parse_slots(text: str) -> dict[str, SlotJob] | None:
    """The job in each slot of lines of ``ATTRIBUTES``; None when slots are missing, or there are none."""
    lines = text.split("\n")
    if lines.pop() != "":
        return None
    slots = {}
    for line in lines:
        fields = [field.strip('"') for field in line.split("\t")]
        if len(fields) != len(ATTRIBUTES) or fields[1] != str(len(lines)):
            return None
        slots[fields[0].partition("@")[0]] = SlotJob(*fields[2:])
    return slots if slots and len(slots) == len(lines) else None


def _slot_of(process: proc.Process) -> str:
    """The slot that a starter was started for: its argument ``-a``."""
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            words = file.read().decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    return words[words.index("-a") + 1] if "-a" in words[:-1] else ""


def _live_job(starter: Starter, job: str, processes: list[proc.Process]) -> LiveJob:
    children = [each for each in processes if each.parent == starter.process.pid and each.real_uid]
    groups: tuple[str, ...] = ()
    for child in children:
        # BASE_CGROUP/EXECUTE_SLOT@MACHINE, "/" in EXECUTE written "_" (vanilla_proc.cpp of 23.9).
        groups += question.control_groups(child.pid, lambda name: f"_{starter.slot}@" in name)
    return LiveJob(
        batch="htcondor",
        job=job or starter.slot or f"of condor_starter {starter.process.pid}",
        node="",
        owner=next((child.real_uid for child in children), None),
        roots={starter.process.pid: starter.process.start},
        sessions=frozenset(),
        cgroups=tuple(dict.fromkeys(groups)),
    )
