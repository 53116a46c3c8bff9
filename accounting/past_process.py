"""Find the processes that had a pid and have ended: what they were, whose children, in which job, and whose account's."""

from __future__ import annotations

import os
import pwd
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gridwarden.accounting import lease_history, process_records
from gridwarden.accounting.process_records import BLUR, Process
from gridwarden.accounting.question import Question
from gridwarden.times import Range

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.job_runs import Run
    from gridwarden.accounting.past import Past

MOST = 20  # processes of one pid that are shown, the latest
MOST_CHILDREN = 1000
LONGEST_LINEAGE = 16
_COLUMNS = ", ".join(Process._fields).replace(" end,", ' "end",')
_SELECT = f"SELECT {_COLUMNS} FROM processes WHERE node = :node"  # noqa: S608  our own column names


def ended(question: Question, past: Past, notes: list[str], is_lent: Callable[[str], bool]) -> list[Answer]:
    """Answer for the processes that had the question's pid, and for their descendants where it asks for these."""
    since, until = question.within or (0, past.FOREVER)
    found = [
        process
        for node in _nodes(question, past)
        for process in _of_pid(past, node, question.pid or 0)
        if process.lived_at(since, until)
    ]
    if len(found) > MOST:
        notes.append(f"{len(found) - MOST} earlier processes had the pid {question.pid}: ask for PID@TIME")
        found = found[-MOST:]
    if question.children:
        found += [child for process in found for child in _descendants(past, process, notes)]
    return [answer for process in found for answer in _answers(process, past, is_lent)]


def children(pid: int, started: int, past: Past, notes: list[str], is_lent: Callable[[str], bool]) -> list[Answer]:
    """Answer for the descendants, which have ended, of a process of this machine that lives."""
    living = Process(this_node(), pid, started, past.FOREVER, 0, 0, 0, "", "", "", "", "", "")
    return [answer for child in _descendants(past, living, notes) for answer in _answers(child, past, is_lent)]


def this_node() -> str:
    """This machine's name, as its own process accounting is kept under."""
    return os.uname().nodename.partition(".")[0]


def _answers(process: Process, past: Past, is_lent: Callable[[str], bool]) -> list[Answer]:
    process = process._replace(account=process.account or _account_of(process.uid))
    runs = _runs(process, past) if process.account or process.job else []
    if runs and not process.account:  # one of the uids that the job's user has in user namespaces (subuid(5))
        process = process._replace(
            account=runs[0].account, known_by=f"{process.known_by}, with the uid {process.uid}, which is nobody's here"
        )
    candidates = lease_history.holders_at(past.sightings(process.account), process.account, process.start)
    lent = bool(runs or candidates) or is_lent(process.account)
    return process_records.of_process(process, runs, candidates, _lineage(past, process), lent=lent)


def _runs(process: Process, past: Past) -> list[Run]:
    """Return the runs of the process's account, of its job where it has none, on its machine, which may have other names."""
    within = Range(process.start - BLUR, process.end + BLUR)
    found = past.runs(
        Question(None, within, account=process.account or None, job=None if process.account else process.job)
    )
    ledgers = past.ledgers_of(process.node)
    return [
        run
        for run in found
        if (run.account == process.account if process.account else (run.batch, run.job) == (process.batch, process.job))
        and (run.node.partition(".")[0] == process.node or run.ledger in ledgers)
    ]


def _nodes(question: Question, past: Past) -> list[str]:
    """Return the machines that the question is about: this one, where it names none."""
    if question.node is None:
        return [this_node()]
    if (node := question.exact("node")) is not None:
        return [str(node)]
    known = {str(node) for (node,) in past.rows("SELECT DISTINCT node FROM ledger_nodes", {})}
    return sorted(node for node in known if fnmatchcase(node, question.node))


def _of_pid(past: Past, node: str, pid: int) -> list[Process]:
    # First what is not collected: what is meanwhile, is in the store then.
    fresh = past.exits.of_pid(pid) if node == this_node() else []
    found = past.rows(f"{_SELECT} AND pid = :pid", {"node": node, "pid": pid})
    return process_records.merged([*(Process(*row) for row in found), *fresh])


def _descendants(past: Past, process: Process, notes: list[str]) -> list[Process]:
    """Return those of its descendants whose parents had not ended before them: then the kernel says another parent."""
    found: list[Process] = []
    waiting = [process]
    while waiting and len(found) < MOST_CHILDREN:
        parent = waiting.pop()
        fresh = past.exits.of_parent(parent.pid) if parent.node == this_node() else []
        rows = past.rows(
            f"{_SELECT} AND parent = :pid AND start >= :start AND start <= :end ORDER BY start LIMIT {MOST_CHILDREN}",
            {"node": parent.node, "pid": parent.pid, "start": parent.start - BLUR, "end": parent.end + BLUR},
        )
        known = process_records.merged([*(Process(*row) for row in rows), *fresh])
        own = [
            child
            for child in known
            if child.pid != parent.pid and parent.start - BLUR <= child.start <= parent.end + BLUR
        ]
        found += own
        waiting += own
    if len(found) >= MOST_CHILDREN:
        notes.append(f"the descendants of {process.pid} are more than {MOST_CHILDREN}; not all are shown")
    return found[:MOST_CHILDREN]


def _lineage(past: Past, process: Process) -> list[Process]:
    """Return its ancestors that have ended, the parent first, up to one of which there is no record (it may live)."""
    found: list[Process] = []
    child = process
    while len(found) < LONGEST_LINEAGE and child.parent > 1:
        known = _of_pid(past, child.node, child.parent)
        # The parent lived when the child ended.
        parents = [each for each in known if each.start <= child.start + BLUR and each.end + BLUR >= child.end]
        if not parents or parents[-1] in found:
            break
        child = parents[-1]
        found.append(child)
    return found


def _account_of(uid: int) -> str:
    """Return the name that the uid has here now; empty where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
