"""What ``scontrol listpids`` prints: the processes that the slurmstepd of this node count to their steps.

scontrol asks each slurmstepd through its socket, and nobody else (scontrol(1); read in the source of 24.11).
It prints no list at all when one step does not answer, and finds no step where SlurmdSpoolDir is missing.
"""

from __future__ import annotations

from gridwarden.batch import question

HEADER = ["PID", "JOBID", "STEPID", "LOCALID", "GLOBALID"]
NO_STEPS = "No job steps exist on this node.\n"
ENDED_STEP = "Unable to connect to slurmstepd: Connection refused"
STEP_NAMES = {4294967290: "interactive", 4294967291: "batch", 4294967292: "extern", 4294967293: "TBD"}


class Listed:
    """A process of a step; ``is_task``: the step's own, not one that it started."""

    __slots__ = ("is_task", "job", "pid", "step")

    def __init__(self, pid: int, job: str, step: str, *, is_task: bool) -> None:
        self.pid = pid
        self.job = job
        self.step = step
        self.is_task = is_task


def ask(programs: str, node: str, seconds: float) -> list[Listed] | None:
    """The processes of all steps of ``node`` ("": of this machine's only slurmd).

    None when scontrol lists nothing because of a step whose slurmstepd is dead; Unavailable when it gives no
    whole answer.
    """
    command = [f"{programs}/scontrol", "listpids", *(["*", node] if node else [])]
    text, well = question.ask(command, seconds)
    if text == NO_STEPS:
        return []
    if not well and text and all(line == ENDED_STEP for line in text.splitlines()):
        return None
    listed = parse(text) if well else None
    if listed is None:
        raise question.no_answer(command, text)
    return listed


def parse(text: str) -> list[Listed] | None:
    """The processes of a list; None when it is not whole."""
    lines = text.split("\n")
    if lines.pop() != "" or not lines or lines[0].split() != HEADER:
        return None
    listed = []
    for line in lines[1:]:
        fields = line.split()
        if len(fields) != len(HEADER) or not (fields[0].lstrip("-").isdigit() and fields[1].isdigit()):
            return None
        listed.append(Listed(int(fields[0]), fields[1], fields[2], is_task=fields[3] != "-"))
    return listed


def step_name(numbers: str) -> str:
    """What scontrol calls a step whose socket's name ends in ``numbers`` (``STEP`` or ``STEP.COMPONENT``)."""
    step, _, component = numbers.partition(".")
    name = STEP_NAMES.get(int(step), step)
    return f"{name}+{component}" if component else name
