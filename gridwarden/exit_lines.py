"""The lines in which a node keeps the processes that have ended: written by the agent, read by the collector.

A file begins with ``gridwarden-exits<TAB>1<TAB>NODE<TAB>CLUSTER<TAB>BOOT`` and has a line a process then, fields between
tabs in the order of ``FIELDS``, escaped as in ``tab_file``.  Its lines are numbered from 1.  A file that is complete is
called by when it was begun, in microseconds, and its SHA-256 is in the ledger.
"""

from __future__ import annotations

from gridwarden import tab_file

MAGIC = "gridwarden-exits"
VERSION = "1"
DIRECTORY = "exits"  # beside the ledger
CURRENT = "current"
SUFFIX = ".exits"
FIELDS = (
    "seq", "end", "start", "pid", "parent", "uid", "gid", "cpu", "user", "system", "status", "threads", "batch", "job", "known_by",
    "command",
)  # fmt: skip
"""``start`` and ``end`` in microseconds since the epoch, CPU times in microseconds, ``status`` as wait(2) has it."""
NUMBERS = 12
LARGEST_NUMBER = (1 << 63) - 1

GROUP, PARENTS_GROUP, REGISTER = "group", "parent", "register"
KNOWN_BY = {
    "": "",
    GROUP: "its control group",
    PARENTS_GROUP: "its parent's control group",
    REGISTER: "the register, where the account had no other job",
}
"""How a process's job is known, in the line and in words."""


def heading(node: str, cluster: str, boot: str) -> bytes:
    """The first line of a file."""
    return f"{MAGIC}\t{VERSION}\t{tab_file.escape(node)}\t{tab_file.escape(cluster)}\t{boot}\n".encode("ascii")


def parse_heading(line: bytes) -> tuple[str, str, str]:
    """Node, cluster and boot id; raises ValueError."""
    magic, version, node, cluster, boot = line.decode("ascii").split("\t")
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError("it is not a file of exit statistics of version 1")
    return tab_file.unescape(node), tab_file.unescape(cluster), boot


def line(numbers: tuple[int, ...], batch: str, job: str, known_by: str, command: bytes) -> bytes:
    """A process's line; ``numbers`` are the first twelve of ``FIELDS``."""
    name = tab_file.escape(command.decode("utf-8", "surrogateescape"))
    if batch or job:
        batch, job = tab_file.escape(batch), tab_file.escape(job)
    return "\t".join((*map(str, numbers), batch, job, known_by, f"{name}\n")).encode("ascii")


def parse(text: bytes) -> tuple[list[int], str, str, str, str]:
    """Numbers, batch, job, how that is known (in words) and command of a line without its newline; raises ValueError."""
    fields = text.decode("ascii").split("\t")
    if len(fields) != len(FIELDS) or fields[NUMBERS + 2] not in KNOWN_BY:
        raise ValueError("it is not a line of exit statistics")
    numbers = [int(field) for field in fields[:NUMBERS]]
    if not all(0 <= number <= LARGEST_NUMBER for number in numbers):
        raise ValueError("a number is beyond what can be")
    batch, job, known_by, command = fields[NUMBERS:]
    return numbers, tab_file.unescape(batch), tab_file.unescape(job), KNOWN_BY[known_by], tab_file.unescape(command)
