"""Answer who ran: from the living processes of this machine, and from what was recorded.

An answer never says more than its evidence level; what could not be read is said in a note.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gridwarden.accounting import (
    answers,
    claimed,
    evidence,
    hostlist,
    lease_history,
    live_process,
    near_names,
    noted_process,
    past_answers,
    past_process,
)
from gridwarden.accounting.batch_records import HTCONDOR
from gridwarden.accounting.job_runs import SOMEBODY, number, text
from gridwarden.accounting.lease_history import Sighting
from gridwarden.accounting.living import is_lent, living, no_slot_account
from gridwarden.accounting.process_records import BLUR
from gridwarden.accounting.question import Question
from gridwarden.accounting.same_job import CONTRADICTED, is_contradicted, is_of
from gridwarden.accounting.shown_credentials import shown_credentials
from gridwarden.payloads import BATCH as PAYLOAD

if TYPE_CHECKING:
    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.batch_records import Job
    from gridwarden.accounting.job_runs import Run
    from gridwarden.accounting.living import Node
    from gridwarden.accounting.past import Past


def whoran(question: Question, node: Node, past: Past) -> tuple[list[Answer], list[str]]:
    """Return the answers to a question, the earliest first, and notes on what they leave out."""
    notes: list[str] = []
    if question.session is not None:
        found = _of_session(question, question.session, node, past, notes)
    elif question.pid is not None:
        found = _of_pid(question, question.pid, node, past, notes)
        if len({(answer.node, answer.since) for answer in found}) > 1:
            notes.append(f"more than one process had the pid {question.pid}; SINCE tells them apart")
        if not found and not notes:
            notes.append(f"no process of this machine has the pid {question.pid}, and no record names one that had it")
            if question.within is not None:
                notes.append("whose jobs ran here then is answered to the time alone")
        if not found and question.within is not None:
            found = [past_answers.of_gap(gap) for gap in past.gaps(question)]
    else:
        found = _during(question, node, past)
    chosen = [
        answer
        for answer in found
        if question.lets_pass(
            nodes=hostlist.expand(answer.node), account=answer.account, subject=answer.identity, job=answer.job
        )
    ]
    if question.pid is not None and len(chosen) < len(found):
        notes.append("the options leave out a process that had the pid; whoran finds a living one only on its own node")
    if not chosen:
        notes += near_names.of_node(question, past)
    if chosen and all(answer.evidence == evidence.KERNEL_MEASURED and answer.until is None for answer in chosen):
        return chosen, notes  # of the living, which does not rest on the past
    # A ledger that was given another name is in the store twice.
    return sorted(set(chosen), key=lambda answer: (answer.since or 0, repr(answer))), [*notes, *past.unread]


def _of_pid(question: Question, pid: int, node: Node, past: Past, notes: list[str]) -> list[Answer]:
    """Answer for the process that has the pid, those that had it, and their descendants where these are asked for."""
    lent = partial(is_lent, node=node)
    process = live_process.look(pid)
    if process is not None and question.within is not None and process.started >= question.within.end:
        process = None  # it began later
    found = living(pid, node, past, notes) if process is not None else []
    if process is not None and question.children:
        for child in live_process.descendants(pid):
            found += living(child, node, past, notes)
        found += past_process.children(pid, process.started, past, notes, lent)
    killed = _killed(question, past)  # whose records say more
    ended = past_process.ended(question, past, notes, lent)
    recorded = [*found, *killed, *(each for each in ended if not any(_is_same(each, kill) for kill in killed))]
    recorded = [each for answer in recorded for each in claimed.instead_of(answer, past)]
    recorded = [_with_credentials(each, past) if each.pid == pid else each for each in recorded]
    return recorded or noted_process.of_pid(question, past) or claimed.payloads(question, past)


def _with_credentials(answer: Answer, past: Past) -> Answer:
    """Say with which credentials whoever had a process that has ended was there; of the living nothing recorded is asked."""
    shown = [] if answer.until is None else shown_credentials(answer, past)
    return answer._replace(because=f"{answer.because}; credential {', '.join(shown)}") if shown else answer


def _of_session(question: Question, session: int, node: Node, past: Past, notes: list[str]) -> list[Answer]:
    """Answer for the processes of a session or process group: those that live, whoever led it, and PBS's job of it.

    Of processes that are one person's, in one job, one stands for all.
    """
    within = question.within
    alive = [pid for pid, started in live_process.of_session(session) if within is None or started < within.end]
    found: dict[tuple[str, ...], Answer] = {}
    for pid in alive:
        for answer in living(pid, node, past, notes):
            found.setdefault(answer[:9], answer)
    if alive:
        notes.append(f"{len(alive)} processes of this machine are of session or process group {session}")
    led = question._replace(pid=session)
    ended = [*_killed(led, past), *past_process.ended(led, past, notes, partial(is_lent, node=node))]
    jobs = [answer for job in past.jobs_of_session(question, session) for answer in _recorded_by_batch(job, node, past)]
    return [*found.values(), *ended, *jobs]


def _is_same(one: Answer, other: Answer) -> bool:
    """Say whether both are about one process: the kernel's record of it, and whoever killed it."""
    return (one.node, one.pid) == (other.node, other.pid) and abs((one.since or 0) - (other.since or 0)) <= BLUR


def _killed(question: Question, past: Past) -> list[Answer]:
    """Answer for processes that were killed: those of the question's pid, or those that lived in its time."""
    processes = {
        (text(kill, "node"), number(kill, "pid"), number(kill, "process_start")): kill for kill in past.kills(question)
    }
    found: list[Answer] = []
    for kill in processes.values():
        account = text(kill, "account")
        lending = past.lending(text(kill, "lease"), account)
        candidates = lease_history.holders_at(past.sightings(account), account, number(kill, "process_start"))
        of_kill = past_answers.of_kill(kill, lending, candidates)
        if len(of_kill) == 1 and text(kill, "batch") == PAYLOAD:
            of_kill = answers.everybody_of(of_kill[0], past.start_of_payload(text(kill, "job")))
        found += of_kill
    return found


def _during(question: Question, node: Node, past: Past) -> list[Answer]:
    """Answer for a time: jobs by their hooks, jobs by the batch system alone, strays, gaps, bare holdings."""
    runs = past.runs(question)
    since, until = question.within or (0, past.FOREVER)
    found = [
        answer
        for run in runs
        for answer in past_answers.of_run(run, _job_of(run, past), past.start_of(run), _later_holders(run, past))
        if _overlaps(answer, since, until)
    ]
    runs_of: dict[str, list[Run]] = {}
    for run in runs:
        runs_of.setdefault(run.job, []).append(run)
    for job in _jobs(question, node, past):
        if not any(is_of(run, job) for run in runs_of.get(job.job, ())):
            found += _recorded_by_batch(job, node, past)
    found += _killed(question, past)
    account = question.exact("account")
    if isinstance(account, str) and not any(answer.account == account for answer in found):
        holding = lease_history.holders_within(past.sightings(account), account, since, until)
        found += past_answers.of_holding(account, holding) or claimed.of_account(account, since, until, past)
    known = {answer.account for answer in found}
    found += [*claimed.payloads(question, past), *claimed.mappings(question, known, past)]
    if question.within is not None:
        found += [past_answers.of_gap(gap) for gap in past.gaps(question)]
    return found


def _job_of(run: Run, past: Past) -> Job | None:
    """Return the batch system's record of a run whose end no hook recorded: it may know when that was."""
    return past.job_of(run) if run.end is None or run.ended_by == "restart" else None


def _later_holders(run: Run, past: Past) -> list[Sighting]:
    """Return whose the account was when the run ended, where it was not its own holder's alone any more."""
    if not run.changed_hands or run.end is None:
        return []
    if run.held == SOMEBODY:
        found = lease_history.linked_by(past.sightings(run.account), run.account, run.end)
    else:
        found = [lending] if (lending := past.lending(run.held, run.account)) else []
    return found or [Sighting(run.start, run.account, "", "", "", "", begins=False)]


def _recorded_by_batch(job: Job, node: Node, past: Past) -> list[Answer]:
    if is_contradicted(_of_number(job, past), job):
        return [past_answers.of_job(job, [], None, lent=True)[0]._replace(because=CONTRADICTED)]
    sightings = past.sightings(job.account)
    lent = bool(sightings or job.stamp) or is_lent(job.account, node)
    candidates = lease_history.holders_of_job(sightings, job.account, job.submit, job.start or job.submit)
    stamped = past.lending(job.stamp, job.account) if job.stamp else None
    found = past_answers.of_job(job, candidates, stamped, lent=lent)
    if not lent:  # whoever else is behind an account of its own, its owner is named
        found += claimed.of_job(job, found[0]._replace(scheme="", identity="", vo=""), past)
    elif not any(each.identity for each in found):
        of_ce = claimed.of_job(job, found[0], past)
        found = of_ce or [each for answer in found for each in claimed.instead_of(answer, past)]
    if account := node.slot_account(job.nodes, job.slot):
        return [past_answers.in_slot(answer, account, job) for answer in found]
    return found


def _of_number(job: Job, past: Past) -> list[Run]:
    """Return the runs under a job's number at any time, where its own record may be its owner's words."""
    return past.runs(Question(None, None, job=job.job)) if job.batch == HTCONDOR else []


def _jobs(question: Question, node: Node, past: Past) -> list[Job]:
    """Return the batch system's jobs; an account that slots have is that of whatever ran in these."""
    found = past.jobs(question)
    account = question.exact("account")
    if account is not None and question.within is not None and node.slot_account is not no_slot_account:
        others = past.jobs(question._replace(account=None))
        found += [job for job in others if node.slot_account(job.nodes, job.slot) == account]
    return found


def _overlaps(answer: Answer, since: int, until: int) -> bool:
    """Say whether it did, now that the batch system may have told its end."""
    return (answer.since or 0) < until and (answer.until is None or answer.until >= since)
