"""What whoran is asked: a process, a time or a range, and filters.  Pure."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import times
from gridwarden.accounting import job_names
from gridwarden.errors import BadQuestion
from gridwarden.log_times import begins_with_month
from gridwarden.payloads import GROUP_PREFIX

if TYPE_CHECKING:
    from datetime import tzinfo

LARGEST_PID = 4_194_304  # PID_MAX_LIMIT of 64-bit Linux
HINT = f"ask for a pid, or for a time: {times.GRAMMAR}"
NAME_HINT = (
    "ask for an account with --account, for a node with --node, a person with --identity, a job with --job; "
    "a time is written 14:02 or '2026-11-21 14:02'"
)

_PATTERN = set("*?[")
_NAMED_TIMES = {"now", "today", "yesterday"}
_PID_AT = re.compile(r"(\d+) ?@ ?(\S.*)", re.ASCII | re.DOTALL)
# What Slurm, PBS and gridwarden call the control groups of a job, its account, and a payload.
_IN_CGROUP = {
    "job": re.compile(r"/job_(\d+)(?:/|$)|/pbs_jobs\.(?:service|slice)/jobid/(\d+)[./]|/(\d+)\.[\w.-]+$", re.ASCII),
    "uid": re.compile(r"/uid_(\d+)(?:/|$)", re.ASCII),
    "payload": re.compile(rf"/{GROUP_PREFIX}([0-9a-f]{{32}})(?:/|$)", re.ASCII),
}
_PART_OF_JOB = re.compile(r"\d+[_+]\S*", re.ASCII)
_STEP_OF_JOB = re.compile(r"(\d+)\.(?:batch|extern|interactive)", re.ASCII)  # Slurm's; 7.0 is HTCondor's job
_PID_AND_MORE = re.compile(r"(\d{1,7}) +([^ .].*)", re.ASCII)


class Question(NamedTuple):
    """One question: about ``pid``, or about the time in ``within``, or (both None) about all times.

    A filter that is None lets everything pass.  ``node`` and ``account`` may be patterns (``cms*``);
    ``identity`` is a part of a subject, in any case.  ``children`` asks for the descendants of a process besides.
    With ``pid`` and ``within`` it is about the process that had the pid then; with ``session`` about all processes of a
    session or process group.
    """

    pid: int | None
    within: times.Range | None
    node: str | None = None
    account: str | None = None
    identity: str | None = None
    job: str | None = None
    children: bool = False
    session: int | None = None

    def exact(self, name: str) -> str | int | None:
        """Return the one value that pid, node, account or job must have, None where more than one may pass."""
        value: str | int | None = getattr(self, name)
        return None if isinstance(value, str) and not _PATTERN.isdisjoint(value) else value

    def lets_pass(self, *, nodes: list[str], account: str, subject: str, job: str) -> bool:
        """Say whether the filters let an answer with these values pass."""
        return (
            (self.node is None or any(fnmatchcase(node, self.node) for node in nodes))
            and (self.account is None or fnmatchcase(account, self.account))
            and (self.job is None or self.job == job_names.number(job))
            and (self.identity is None or self.identity.casefold() in subject.casefold())
        )


def of_cgroup(path: str) -> tuple[str | None, int | None]:
    """Return the job, or payload, and the uid that the path of a control group names; raises BadQuestion where none."""
    found = {name: match for name, pattern in _IN_CGROUP.items() if (match := pattern.search(path))}
    job = next((match for name in ("payload", "job") if (match := found.get(name))), None)
    uid = found.get("uid")
    if job is None and uid is None:
        message = f"{path!r} names neither a job nor an account as Slurm, PBS and gridwarden do"
        raise BadQuestion(message, "ask for a process in it: whoran PID, of those in its file cgroup.procs")
    return next(filter(None, job.groups())) if job else None, int(uid[1]) if uid else None


def ask(  # noqa: PLR0913  one argument an option
    text: str | None,
    *,
    now: int,
    zone: tzinfo,
    node: str | None = None,
    account: str | None = None,
    identity: str | None = None,
    job: str | None = None,
    children: bool = False,
    session: int | None = None,
) -> Question:
    """Read a question as it was typed; raises BadQuestion when it has no single reading."""
    if session is not None:
        if children or (text and (_PID_AT.fullmatch(text.strip()) or text.strip().isdigit())):
            raise BadQuestion("--session asks for a whole session", "ask for a pid, or for a session")
        about = Question(None, None, node, account, identity, job)
        if text is not None:
            about = _ask(text, now=now, zone=zone, node=node, account=account, identity=identity, job=job)
        return about._replace(session=session)
    if text is not None and (found := _PID_AT.fullmatch(text.strip())):
        of_pid = ask(found[1], now=now, zone=zone, node=node, account=account, identity=identity, job=job)
        at = ask(found[2], now=now, zone=zone)
        if at.within is None:
            raise BadQuestion(f"{found[2]!r} is not a time", f"a pid and when it lived: 4711@{times.GRAMMAR}")
        return of_pid._replace(within=at.within, children=children)
    question = _ask(text, now=now, zone=zone, node=node, account=account, identity=identity, job=job)
    if children and question.pid is None:
        raise BadQuestion("--children asks for those of a process", "name its pid, or leave --children away")
    return question._replace(children=children)


def _refuse_slips(filters: dict[str, str | None]) -> None:
    """Refuse filters that would let nothing pass, though more was meant."""
    for name, value in filters.items():
        if value == "":
            raise BadQuestion(f"--{name} is empty", f"leave --{name} away to ask about every {name}")
    job = filters["job"]
    if job is not None and _PART_OF_JOB.fullmatch(job):
        hint = f"ask for its own number: sacct -X -o JobIDRaw -j {shlex.quote(job)}"
        raise BadQuestion(f"--job {job} is one of several in an array or a heterogeneous job", hint)
    if job is not None and (found := _STEP_OF_JOB.fullmatch(job)):
        raise BadQuestion(f"--job {job} is a step of a job", f"ask for the job: --job {found[1]}")


def _ask(
    text: str | None,
    *,
    now: int,
    zone: tzinfo,
    node: str | None,
    account: str | None,
    identity: str | None,
    job: str | None,
) -> Question:
    filters = {"node": node, "account": account, "identity": identity, "job": job}
    _refuse_slips(filters)
    job = job and job_names.number(job)
    about = Question(None, None, node, account, identity, job)
    if text is None:
        if not any(filters.values()):
            raise BadQuestion("nothing was asked", HINT)
        return about
    text = text.strip()
    if text.isascii() and text.isdigit():
        if not 1 <= int(text[:20]) <= LARGEST_PID:
            hint = f"a pid is 1 to {LARGEST_PID}; seconds since the epoch are written @{text[:20]}"
            raise BadQuestion(f"{text[:20]} is not a pid", hint)
        return about._replace(pid=int(text))
    if found := _PID_AND_MORE.fullmatch(text):
        raise BadQuestion(f"{text!r} is a pid and more", f"a pid and when it lived is written {found[1]}@{found[2]}")
    if times.is_range(text):
        return about._replace(within=times.parse_range(text, now=now, zone=zone))
    named = text.split()[0] in _NAMED_TIMES or begins_with_month(text) if text else False
    if (text[:1].isalpha() or text.startswith("/")) and not named:
        raise BadQuestion(f"{text!r} is neither a pid nor a time", NAME_HINT)
    instant = times.parse_instant(text, now=now, zone=zone)
    # Logs and Slurm write whole seconds: such a time is all of its second.
    length = 1 if instant % times.MICROSECONDS else times.MICROSECONDS
    return about._replace(within=times.Range(instant, instant + length))
