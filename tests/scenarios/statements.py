"""What the rows of the table may say: each statement is a sentence for docs/slurm.md, and how a test sees that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gridwarden import reasons
from gridwarden.mapper.encoding import lease_name
from gridwarden.reason_sentences import SENTENCES
from tests.scenarios import batch

if TYPE_CHECKING:
    from collections.abc import Callable

Record = dict[str, Any]
SOMEBODY_ELSE = "/DC=org/DC=example/CN=Somebody Else"  # to whom LCMAPS lends a row's account


class Seen:
    """What was seen of one row's jobs, by everybody, once all was over."""

    def __init__(self, subject: str, account: str) -> None:
        self.subject = subject
        self.account = account
        self.moments: dict[str, list[str]] = {}  # the jobs' states at named moments of the row
        self.states: list[str] = []  # at the end, of every job and task
        self.numbers: list[str] = []
        self.runs = 0  # how often the script's first line was executed
        self.told: list[str] = []  # what was refused, in the words that the user saw
        self.live: list[Record] = []  # whoran about a process of a job, while it ran
        self.past: list[Record] = []  # whoran about the jobs, after the collector
        self.records: list[Record] = []  # of the ledger: about these jobs, or about the account
        self.nodes: list[str] = []  # states that nodes were left in
        self.parts: list[tuple[str, int]] = []  # identity and microseconds of each part of the jobs' CPU time
        self.total = 0  # microseconds, as the batch system counted
        self.facts: dict[str, Any] = {}  # whatever else the row looked at

    def of(self, kind: str) -> list[Record]:
        """The records of a kind that are about the row's jobs."""
        return [one for one in self.records if one["kind"] == kind and one.get("job", "") in ("", *self.numbers)]

    def gaps(self) -> list[str]:
        """The reasons of the gaps."""
        return [gap["reason"] for gap in self.of("gap")]


class Statement(NamedTuple):
    """A sentence, and whether it is true of what was seen."""

    text: str
    holds: Callable[[Seen], object]


def all_are(state: str) -> Callable[[Seen], object]:
    """Whether every job of the row ended so."""
    return lambda seen: seen.states and set(seen.states) == {state}


def told(*words: str) -> Callable[[Seen], object]:
    """Whether the user was told of each of these."""
    return lambda seen: all(any(word in said for said in seen.told) for word in words)


def starts_and_ends(starts: int, ends: int) -> Callable[[Seen], object]:
    """Whether so many starts and ends of jobs are on record, each with the holder's lease."""

    def holds(seen: Seen) -> object:
        both = seen.of("job_start") + seen.of("job_end")
        counts = (len(seen.of("job_start")), len(seen.of("job_end")))
        return counts == (starts, ends) and len({one["lease"] for one in both} - {""}) <= 1

    return holds


def gap(reason: str) -> Callable[[Seen], object]:
    """Whether a gap for this reason is on record."""
    return lambda seen: any(reason in one for one in seen.gaps())


def whose(seen: Seen) -> set[str]:
    """All whom whoran names, by what was collected."""
    return {answer["identity"] for answer in seen.past}


def levels(seen: Seen) -> set[str]:
    """How whoran knows, by what was collected."""
    return {answer["evidence"] for answer in seen.past}


# What the user sees.
COMPLETED = Statement("the job completes", all_are(batch.COMPLETED))
EACH_COMPLETED = Statement("each task completes", all_are(batch.COMPLETED))
RAN_ONCE = Statement("it ran once", lambda seen: seen.runs == 1)
RAN_TWICE = Statement("it ran twice", lambda seen: seen.runs == 2)
NEVER_RAN = Statement("not one instruction of it ran", lambda seen: seen.runs == 0)
CANCELLED = Statement("the job is cancelled", all_are(batch.CANCELLED))
HELD = Statement("the job is back in the queue, held", all_are(batch.HELD))
WAS_HELD = Statement(
    "the job is held until an administrator releases it", lambda seen: seen.moments["submitted"] == [batch.HELD]
)
LOST = Statement("the job is lost with its node", all_are(batch.LOST))
SUSPENDED = Statement("it is suspended, then goes on", lambda seen: seen.moments["suspended"] == [batch.SUSPENDED])
STILL_RUNNING = Statement("the job runs on meanwhile", lambda seen: seen.moments["meanwhile"] == [batch.RUNNING])
OTHER_RUNS = Statement(
    "the second runs on when the first ends", lambda seen: seen.moments["first over"] == [batch.RUNNING]
)
SUBMISSION_REFUSED = Statement(
    "every way to submit is refused: banned at this site", told("banned", "is banned at this site")
)
REFUSED_NEXT = Statement("the next submission is refused: banned", told("banned"))
POOL_FULL = Statement("the submission is refused: pool-full", told("pool-full"))
STAMP_REFUSED = Statement(
    "every try is refused",
    lambda seen: (
        len(seen.told) == seen.facts["tries"] and any(SENTENCES[reasons.STAMP_PROTECTED] in said for said in seen.told)
    ),
)
UNTOUCHED = Statement("what they wrote into `extra` stays theirs", lambda seen: seen.facts["extra"] == "mine")

# What the administrator sees.
EACH_PAYLOAD = Statement(
    "start and end of each payload, with its owner and the pilot",
    lambda seen: (
        {one["subject"] for one in seen.of("payload_start")} == seen.facts["owners"]
        and len(seen.of("payload_end")) == 2
    ),
)
START_AND_END = Statement("start and end of it on record, under one lease", starts_and_ends(1, 1))
START_NO_END = Statement("its start on record, and no end", starts_and_ends(1, 0))
START_MAYBE_END = Statement(
    "its start on record; its end only once the node is back",
    lambda seen: len(seen.of("job_start")) == 1 and len(seen.of("job_end")) <= 1,
)
NO_START = Statement("no start on record", lambda seen: not seen.of("job_start"))
NOTHING = Statement("nothing on record", lambda seen: not seen.of("job_start") and not seen.of("job_end"))
ON_EACH_TASK = Statement(
    "start and end of each task",
    lambda seen: (
        len(seen.numbers)
        == len({one["job"] for one in seen.of("job_start")})
        == len({one["job"] for one in seen.of("job_end")})
        == len(seen.of("job_start"))
        == len(seen.of("job_end"))
    ),
)
ON_BOTH_NODES = Statement(
    "start and end of it on each node",
    lambda seen: starts_and_ends(2, 2)(seen) and len({one["node"] for one in seen.of("job_start")}) == 2,
)
BOTH_RUNS = Statement(
    "start and end of each run, the second as restart 1",
    lambda seen: starts_and_ends(2, 2)(seen) and [one["restart"] for one in seen.of("job_start")] == [0, 1],
)
LAST_RUN_ENDED = Statement(
    "a start of each run, and the end of the second; of the first only where Slurm runs its epilog late",
    lambda seen: (
        [one["restart"] for one in seen.of("job_start")] == [0, 1]
        and 1 in {one["restart"] for one in seen.of("job_end")}
    ),
)
ONE_START = Statement("a start of its first run alone, and the ends of both", starts_and_ends(1, 2))
BOTH_JOBS = Statement("start and end of each", starts_and_ends(2, 2))
STAMPED = Statement(
    "the job's stamp is the lease",
    lambda seen: (
        seen.facts["stamp"] == seen.facts["lease"]
        and {one["stamp"] for one in seen.of("job_start")} <= {seen.facts["lease"]}
    ),
)
LINK_SEEN = Statement(
    "holder and link verified", lambda seen: {one["evidence"] for one in seen.of("job_start")} == {"holder+link"}
)
REFUSED_RECORD = Statement("a `refused` record with the reason", lambda seen: seen.of("refused"))
CANCEL_RECORD = Statement("a `cancel` record with the reason", lambda seen: seen.of("cancel")[0]["reason"])
HOLD_RECORD = Statement("a `hold` record with the reason", lambda seen: seen.of("hold")[0]["reason"])
NODES_USABLE = Statement("no node drained", lambda seen: set(seen.nodes) == {batch.USABLE})
NODE_DRAINED = Statement("the node drained", lambda seen: batch.DRAINED in seen.nodes)
KILLED = Statement("a `kill` record for what it left running", lambda seen: len(seen.of("kill")) == 1)
GAP_MISSING = Statement("a gap: holder-missing", gap("holder-missing"))
GAP_INVALID = Statement("a gap: holder-invalid", gap("holder-invalid"))
GAP_UNJUDGED = Statement("a gap: no prolog had entered it", gap("no prolog had entered it"))
GAP_FOUND = Statement("a gap: no prolog has judged it, by the agent", gap("no prolog has judged it"))
GAP_NOT_LINKED = Statement("a gap: holder-not-linked", gap("holder-not-linked"))
OTHER_LINK_SEEN = Statement(
    "observations, at the first job's end and at start and end of the other, of the name that the account is linked to",
    lambda seen: [one["name"] for one in seen.of("observation") if not one["lease"]] == [lease_name(SOMEBODY_ELSE)] * 3,
)
SAID_IN_SYSLOG = Statement("a syslog line: outcome=unrecorded", lambda seen: seen.facts["syslog"])

# What whoran says.
NAMES_LIVE = Statement(
    "names the person while it runs (`kernel-measured`)",
    lambda seen: (
        seen.live and {(one["identity"], one["evidence"]) for one in seen.live} == {(seen.subject, "kernel-measured")}
    ),
)
NAMES_AFTER = Statement(
    "names the person afterwards (`batch`)", lambda seen: (whose(seen), levels(seen)) == ({seen.subject}, {"batch"})
)
NAMES_WITH_STRAY = Statement(
    "names the person afterwards: of the jobs (`batch`), of the process left (`lease history`)",
    lambda seen: (whose(seen), levels(seen)) == ({seen.subject}, {"batch", "lease history"}),
)
NAMES_HOLDER = Statement(
    "names the person while it runs, by who holds the account (`lease history`)",
    lambda seen: [(one["identity"], one["evidence"]) for one in seen.live] == [(seen.subject, "lease history")],
)
NAMES_UNJUDGED = Statement(
    "names the person afterwards, for the run that no prolog judged no better than by `lease history`",
    lambda seen: whose(seen) == {seen.subject} and levels(seen) <= {"batch", "lease history"},
)
NAMES_BY_LEASE = Statement(
    "names who held the account when the job was there (`lease history`)",
    lambda seen: (whose(seen), levels(seen)) == ({seen.subject}, {"lease history"}),
)
NAMES_BOTH_WAYS = Statement(
    "names the person afterwards: of the first job (`batch`), of the other, which no hook could verify (`lease history`)",
    lambda seen: (
        [(one["job"], one["identity"], one["evidence"]) for one in sorted(seen.past, key=lambda one: int(one["job"]))]
        == [
            (number, seen.subject, level)
            for number, level in zip(seen.numbers, ("batch", "lease history"), strict=True)
        ]
    ),
)
NAMES_EITHER = Statement(
    "names, for each of the two jobs, the person and whoever the account was lent to instead, and between which moments "
    "it changed hands (`ambiguous`)",
    lambda seen: (
        {(one["job"], one["identity"], one["evidence"]) for one in seen.past}
        == {(number, who, "ambiguous") for number in seen.numbers for who in (seen.subject, SOMEBODY_ELSE.lower())}
        and all("changed hands between" in one["because"] for one in seen.past)
    ),
)
NAMES_OWNERS = Statement("names each payload's owner afterwards", lambda seen: seen.facts["owners"] <= whose(seen))
NOBODY = Statement("nobody ran", lambda seen: not seen.past)
LOCAL = Statement("names the local user", lambda seen: {one["identity"] for one in seen.live} == {seen.account})

# What accounting says.
THEIRS = Statement(
    "all of its CPU time is the person's",
    lambda seen: (
        seen.total > 0
        and {name for name, _ in seen.parts} == {seen.subject}
        and sum(cpu for _, cpu in seen.parts) == seen.total
    ),
)
NO_TIME = Statement("no CPU time", lambda seen: seen.total == 0)
NOBODYS = Statement("its CPU time is nobody's (`unattributed`)", lambda seen: seen.total > 0 and not seen.parts)
DIVIDED = Statement(
    "payloads' CPU time is their owners', the rest the pilot's",
    lambda seen: (
        seen.facts["owners"] <= {name for name, cpu in seen.parts if cpu > 0}
        and sum(cpu for _, cpu in seen.parts) <= seen.total * 1.1
    ),
)
