"""What the store and the ledger lines that it does not hold yet say about the past."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from gridwarden import chain, exit_lines, ledger
from gridwarden.accounting import spans, store_reader, switched
from gridwarden.accounting.batch_records import Job
from gridwarden.accounting.fresh_exits import FreshExits
from gridwarden.accounting.job_runs import Body, OpenRuns, Run, number
from gridwarden.accounting.lease_history import KINDS as KINDS_OF_SIGHTING
from gridwarden.accounting.lease_history import Sighting, sighting
from gridwarden.accounting.question import Question
from gridwarden.accounting.same_job import is_of
from gridwarden.errors import GridwardenError
from gridwarden.payloads import BATCH as PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gridwarden.accounting.store_reader import Reader

# Only names of columns that stand in this program are put into queries; values are always bound.
_RUN = ", ".join(Run._fields).replace(" end,", ' "end",')
_JOB = ", ".join(Job._fields).replace(" end,", ' "end",')
_RUNS = f"SELECT {_RUN} FROM job_runs"  # noqa: S608  our own column names
_JOBS = f"SELECT {_JOB} FROM batch_jobs"  # noqa: S608  our own column names
_LEDGERS_OF = "SELECT ledger FROM ledger_nodes WHERE node = :node"
_SIGHTINGS = f"kind IN ({', '.join(map(repr, KINDS_OF_SIGHTING))})"
_NOT_ASKED = "not its earlier records, not other nodes, not the batch system's own accounting"


class Past:
    """The store, if it can be read, and this machine's own ledger beyond it; ``unread`` says what could not be.

    Every look-up answers from what could be read.
    """

    FOREVER = 2**62

    def __init__(self, store_url: str, ledger_directory: Path) -> None:
        self.unread: list[str] = []
        self._store = self._open(store_url)
        self.exits = FreshExits(ledger_directory.parent / exit_lines.DIRECTORY)
        self._own = ""  # the identifier of this machine's ledger
        self._new: list[Body] = []
        self._runs: dict[tuple[str, int], Run] = {}
        self._starts: dict[tuple[str, int], Body] = {}  # of payloads
        self._sightings: dict[str, list[Sighting]] = {}  # read once: jobs of one account ask for the same
        try:
            self._read_ledger(ledger_directory)
        except (GridwardenError, OSError) as error:
            self.unread.append(f"the ledger {ledger_directory}: {error}")

    def close(self) -> None:
        """Let go of the store, and of the agent's files."""
        self.exits.close()
        if self._store is not None:
            self._store.close()

    def runs(self, question: Question) -> list[Run]:
        """Return the runs of jobs that overlap the question's time; its filters are not all applied here."""
        since, until = _bounds(question)
        stored = [Run(*row) for row in self._overlapping(_RUN, "job_runs", question, ("node", "account", "job"))]
        found = {(run.ledger, run.seq): run for run in stored}
        found.update(self._runs)  # what the ledger says since then is newer
        return [run for run in found.values() if run.start < until and (run.end is None or run.end >= since)]

    def jobs(self, question: Question) -> list[Job]:
        """Return the batch system's own records of jobs that ran within the question's time."""
        # A job of several nodes is looked at whichever is asked for.
        nodes = "" if question.exact("node") is None else f"{spans.ONE_NODE} IN (:node, '*')"
        return [Job(*row) for row in self._overlapping(_JOB, "batch_jobs", question, ("account", "job"), nodes)]

    def jobs_of_session(self, question: Question, session: int) -> list[Job]:
        """Return PBS's jobs whose processes were of a session: no other batch system says so."""
        of_session = f"batch = 'pbs' AND fields LIKE '% session={int(session)} %'"
        return [Job(*row) for row in self._overlapping(_JOB, "batch_jobs", question, ("account", "job"), of_session)]

    def job_of(self, run: Run) -> Job | None:
        """Return the batch system's own record of the job of a run, or None when it was not collected."""
        where = "batch = :batch AND cluster = :cluster AND job = :job"
        found = (Job(*row) for row in self._query(f"{_JOBS} WHERE {where}", run._asdict()))
        return min(filter(partial(is_of, run), found), key=lambda job: job.restart != run.restart, default=None)

    def start_of(self, run: Run) -> Body:
        """Return the record of a payload's start, nothing for another run or where it was erased."""
        if run.batch != PAYLOAD:
            return {}
        if body := self._starts.get((run.ledger, run.seq)):
            return body
        where = "SELECT body FROM records WHERE ledger = :ledger AND seq = :seq AND body IS NOT NULL"
        return next((json.loads(str(body)) for (body,) in self._query(where, run._asdict())), {})

    def start_of_payload(self, payload: str) -> Body:
        """Return the record of the start of the payload with this id, nothing where there is none."""
        query = (
            "SELECT body FROM records JOIN job_runs ON job_runs.ledger = records.ledger AND job_runs.seq = records.seq "
            "WHERE job_runs.batch = :batch AND job_runs.job = :job AND body IS NOT NULL"
        )
        stored = [json.loads(str(body)) for (body,) in self._query(query, {"batch": PAYLOAD, "job": payload})]
        return next((body for body in (*self._starts.values(), *stored) if body.get("payload") == payload), {})

    def rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return the store's answer to a query, nothing where it cannot be read; values are bound to ``:name``."""
        return self._query(query, values)

    def ledgers_of(self, node: str) -> frozenset[str]:
        """Return the ledgers that speak of a node, whatever batch systems call it."""
        known = {str(name) for (name,) in self._query(_LEDGERS_OF, {"node": node})}
        return frozenset(
            known | ({self._own} if self._own and node == os.uname().nodename.partition(".")[0] else set())
        )

    def kills(self, question: Question) -> list[Body]:
        """Return the kill records of the question's pid, or of processes that lived in its time."""
        since, until = _bounds(question)
        return [
            body
            for body in self._bodies(
                "kind = 'kill' AND time >= :since", question, ("pid", "node", "account"), ("kill",)
            )
            if number(body, "process_start") < until and number(body, "time") >= since
        ]

    def gaps(self, question: Question) -> list[Body]:
        """Return the gap records within the question's time, and one for each time of switched-off hooks that it is in."""
        since, until = _bounds(question)
        where = "kind = 'gap' AND time >= :since AND time < :until"
        found = self._bodies(where, question, ("node",), ("gap",))
        switches = self._bodies("kind = 'switch' AND time < :until", question, ("node",), ("switch",))
        return [
            *(body for body in found if since <= number(body, "time") < until),
            *switched.gaps(switches, since, until),
        ]

    def sightings(self, account: str) -> list[Sighting]:
        """Return every record that names ``account`` with a lease."""
        if account not in self._sightings:
            question = Question(None, None, account=account)
            bodies = self._bodies(_SIGHTINGS, question, ("account",), KINDS_OF_SIGHTING)
            self._sightings[account] = [sighting(body) for body in bodies]
        return self._sightings[account]

    def lending(self, lease: str, account: str = "") -> Sighting | None:
        """Return who was lent an account under the lease id, or None when no record names them."""
        where = "SELECT body FROM records WHERE body IS NOT NULL AND lease = :lease AND kind = 'lease' ORDER BY time LIMIT 1"
        stored = [json.loads(str(body)) for (body,) in self._query(where, {"lease": lease})]
        found = [
            sighting(body)
            for body in (*stored, *self.of_kinds("lease", "job_start", "payload_start"))
            if body.get("lease") == lease and body.get("subject")
        ]
        return min(found, default=None) or self._started_under(lease, account)

    def _started_under(self, lease: str, account: str) -> Sighting | None:
        """Return whose first run under a lease was: a node's own ledger has no record of the lending itself."""
        where = "account = :account AND lease = :lease AND subject <> '' ORDER BY start LIMIT 1"
        for row in self._query(f"{_RUNS} WHERE {where}", {"account": account, "lease": lease}):
            run = Run(*row)
            return Sighting(run.start, account, lease, run.scheme, run.subject, run.vo, begins=False)
        return None

    def _open(self, url: str) -> Reader | None:
        try:
            return store_reader.open_reader(url)
        except GridwardenError as error:
            said = f"{error}; {error.hint}" if error.hint else str(error)
            self.unread.append(
                f"{said}; so only what this machine's ledger holds beyond the store was asked: {_NOT_ASKED}"
            )
            return None

    def _read_ledger(self, directory: Path) -> None:
        identifier = self._own = ledger.identifier(directory)
        where = "SELECT position FROM positions WHERE source = :source"
        found = self._query(where, {"source": f"ledger:{identifier}"})
        open_runs = OpenRuns(identifier, self._open_runs(identifier))
        for line in chain.read(directory, after=found[0][0] if found else 0):
            if line.fault:
                self.unread.append(f"the ledger {directory}, {line.where}: {line.fault}")
            self._new.append(line.body)
            if line.body.get("kind") == "payload_start":
                self._starts[identifier, line.seq] = line.body
            open_runs.add(line.seq, line.body)
        self._runs = {(identifier, seq): run for seq, run in open_runs.changed.items()}

    def _open_runs(self, identifier: str) -> list[Run]:
        query = f'{_RUNS} WHERE ledger = :ledger AND "end" IS NULL'
        return [Run(*row) for row in self._query(query, {"ledger": identifier})]

    def _bodies(
        self, condition: str, question: Question, filters: tuple[str, ...], kinds: tuple[str, ...]
    ) -> list[Body]:
        """Return records, stored and new; ``filters`` name columns that must equal what the question says."""
        stored = self._select("SELECT body FROM records", f"body IS NOT NULL AND {condition}", question, filters)
        wanted = {name: value for name in filters if (value := question.exact(name)) is not None}
        new = (body for body in self.of_kinds(*kinds) if all(body.get(name) == wanted[name] for name in wanted))
        return [*(json.loads(body) for (body,) in stored), *new]

    def _overlapping(
        self, columns: str, table: str, question: Question, filters: tuple[str, ...], more: str = ""
    ) -> list[tuple[Any, ...]]:
        """Return the rows that lasted into the question's time; ``more`` is a condition besides."""
        since, until = _bounds(question)
        values = {name: value for name in filters if (value := question.exact(name)) is not None}
        where = [*(f"{name} = :{name}" for name in values), *([more] if more else [])]
        query = spans.select_overlapping(columns, table, " AND ".join(where))
        if question.within is None or not values.keys().isdisjoint({"job", "account"}):
            # Of one job, or one account, there are not so many that their lengths would matter.
            lasted = ['start < :until AND ("end" IS NULL OR "end" >= :since)', *where]
            if question.within is None and "job" in values:
                lasted = where  # whoever asks for a job means it, too, if it never began
            query = f"SELECT {columns} FROM {table} WHERE {' AND '.join(lasted)}"  # noqa: S608  our own names
        return self._query(query, {"since": since, "until": until, "node": question.node, **values})

    def _select(
        self, select: str, condition: str, question: Question, filters: tuple[str, ...]
    ) -> list[tuple[Any, ...]]:
        since, until = _bounds(question)
        values = {name: value for name in filters if (value := question.exact(name)) is not None}
        where = " AND ".join([condition, *(f"{name} = :{name}" for name in values)])
        return self._query(f"{select} WHERE {where}", {"since": since, "until": until, **values})

    def _query(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        if self._store is None:
            return []
        try:
            return self._store.rows(query, values)
        except GridwardenError as error:
            if str(error) not in self.unread:
                self.unread.append(str(error))
            return []

    def of_kinds(self, *kinds: str) -> Iterator[Body]:
        """Yield the records of these kinds that the ledger has and the store has not."""
        return (body for body in self._new if body.get("kind") in kinds)


def _bounds(question: Question) -> tuple[int, int]:
    return question.within or (0, Past.FOREVER)
