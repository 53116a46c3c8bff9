"""What goes from the store for its age, and what must not: on both databases, over a year of a node's records."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from gridwarden import ledger
from gridwarden.accounting import collect, expire, partitions, prove, pseudonyms, schema
from gridwarden.accounting.batch_records import Job
from gridwarden.accounting.heads import Head
from gridwarden.accounting.living import Node
from gridwarden.accounting.past import Past
from gridwarden.accounting.question import ask
from gridwarden.accounting.report import BY, report
from gridwarden.accounting.retention import DAY, Cutoffs
from gridwarden.accounting.rows import upsert
from gridwarden.accounting.store import open_store, open_to_read
from gridwarden.accounting.whoran import whoran
from gridwarden.errors import ConfigurationError
from gridwarden.retention_settings import KindRetention, Retention
from gridwarden.times import Range

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_301_600_000_000  # in November 2026
ANNA, BELA = "/DC=org/CN=Anna", "/DC=org/CN=Bela"
KEY = bytes(range(32))
YEAR = Retention(days=365)


class Year:
    """The ledger of a node over 400 days, the jobs that it ran, and the heads that left it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self.directory = directory
        self.head = (0, ledger.FIRST)
        self.jobs: list[Job] = []
        self.heads: list[Head] = []
        self.lend(390, "cms001", "a" * 32, ANNA)  # and held until today
        self.lend(389, "cms002", "b" * 32, BELA)
        for days in range(388, -1, -8):
            self.job(days, "cms001", "a" * 32, ANNA)
            if days > 100:
                self.job(days, "cms002", "b" * 32, BELA)
        self.write(100, "gap", what="torn line", reason="crash")

    def lend(self, days: int, account: str, lease: str, subject: str) -> None:
        self.write(days, "lease", account=account, lease=lease, name="name", scheme="x509", subject=subject, vo="cms")

    def job(self, days: int, account: str, lease: str, subject: str) -> None:
        job = f"{account[-1]}{days:03}"
        same = {"batch": "slurm", "job": job, "restart": 0, "account": account, "lease": lease}
        self.write(days, "job_start", **same, scheme="x509", subject=subject, vo="cms", evidence="holder")
        self.write(days, "job_end", **same, exit_code="0:0")
        start = NOW - days * DAY
        self.jobs.append(
            Job(
                "slurm",
                "site",
                job,
                start,
                0,
                account,
                1,
                start,
                start + 1,
                "COMPLETED",
                "0:0",
                0,
                0,
                7,
                "n1",
                lease,
                scheme="x509",
                subject=subject,
                name="of Anna",
                fields="Owner=anna",
            )
        )

    def write(self, days: int, kind: str, **fields: object) -> None:
        time = NOW - days * DAY
        common = {"kind": kind, "time": time, "boot": "b", "clock": 1, "node": "n1", "cluster": "site"}
        line, *self.head = ledger._line(self.head[1], self.head[0] + 1, json.dumps(common | fields).encode())
        with (self.directory / "current.jsonl").open("ab") as file:
            file.write(line)
        self.heads.append(Head("n1", *self.head, time, "syslog:1"))

    def collect(self, url: str) -> None:
        store = open_store(url)
        found = collect.collect_ledger(store, self.directory, now=NOW, progress=lambda *_: None)
        assert found.fresh_faults == []
        with store.transaction() as connection:
            upsert(connection, schema.batch_jobs, [job._asdict() for job in self.jobs])
        prove.keep(store, self.heads, lambda _: None)


@pytest.fixture
def year(tmp_path, url) -> Year:
    year = Year(tmp_path / "ledger")
    year.collect(url)
    return year


def run(url: str, retention: Retention = YEAR, *, key: bytes | None = None, now: int = NOW, rehearse: bool = False):
    store = open_store(url, rehearse=rehearse)
    return expire.expire(store, Cutoffs.of(retention, now), key, now=now, progress=lambda _: None)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with open_to_read(url).transaction() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def dump(url: str) -> list[str]:
    with open_to_read(url).transaction() as connection:
        tables = schema.metadata.sorted_tables
        return sorted(f"{table.name}: {row!r}" for table in tables for row in connection.execute(table.select()))


def proven(url: str) -> list[prove.Fault]:
    return prove.prove(open_to_read(url), lambda _: None).faults


def test_what_is_older_than_the_site_keeps_goes_and_the_rest_is_still_proven(url, year):
    before = rows(url, "SELECT count(*) FROM records")[0][0]
    done = run(url)
    assert rows(url, "SELECT count(*) FROM records")[0][0] == before - done.records
    cutoff = NOW - 365 * DAY
    old = [kind for kind, time in rows(url, "SELECT kind, time FROM records WHERE body IS NOT NULL") if time < cutoff]
    assert old == ["lease", "lease"]  # which were seen since
    assert min(end for (end,) in rows(url, 'SELECT "end" FROM job_runs')) >= cutoff
    assert min(end for (end,) in rows(url, 'SELECT "end" FROM batch_jobs')) >= cutoff
    assert done.jobs == done.runs == 6
    assert proven(url) == []
    again = run(url)
    assert again == expire.Expired(0, 0, 0, 0, 0)


def test_the_lending_of_a_lease_that_is_still_used_stays_however_old_it_is(url, year):
    run(url)
    (body,) = [
        json.loads(body)
        for (body,) in rows(url, "SELECT body FROM records WHERE kind = 'lease' AND account = 'cms001'")
    ]
    assert body["subject"] == ANNA
    run(url, now=NOW + 360 * DAY)
    assert rows(url, "SELECT count(*) FROM records WHERE kind = 'lease' AND body IS NOT NULL") == [(1,)]
    run(url, now=NOW + 366 * DAY)
    assert rows(url, "SELECT count(*) FROM records") == [(0,)]
    assert proven(url) == []


def test_a_ledger_goes_on_where_all_of_it_had_gone(url, year):
    run(url, now=NOW + 400 * DAY)
    year.job(0, "cms001", "a" * 32, ANNA)
    year.collect(url)
    assert rows(url, "SELECT count(*) FROM records") == [(2,)]
    assert proven(url) == []


def test_each_kind_of_record_is_kept_for_its_own_time(url, year):
    run(
        url,
        Retention(days=365, kinds=(KindRetention(kind="job_end", days=30), KindRetention(kind="batch_job", days=60))),
    )
    bodies = rows(url, "SELECT kind, time FROM records WHERE body IS NOT NULL")
    assert [kind for kind, time in bodies].count("job_end") == 4
    assert min(time for kind, time in bodies if kind == "job_end") >= NOW - 30 * DAY
    assert [kind for kind, time in bodies].count("gap") == 1
    assert set(rows(url, "SELECT altered, account, lease, pid FROM records WHERE body IS NULL")) == {
        (NOW, None, None, None)
    }
    assert min(end for (end,) in rows(url, 'SELECT "end" FROM batch_jobs')) >= NOW - 60 * DAY
    assert proven(url) == []


def test_runs_go_with_the_kind_of_their_start_a_payloads_not_with_the_jobs(url, year):
    payload = {"payload": "p1", "account": "cms001", "lease": "a" * 32, "scheme": "x509", "subject": BELA, "vo": "cms"}
    year.write(50, "payload_start", **payload)
    year.write(50, "payload_end", **payload)
    year.collect(url)
    runs = "SELECT batch, count(*) FROM job_runs GROUP BY batch ORDER BY batch"
    run(url, Retention(days=365, kinds=(KindRetention(kind="job_start", days=30),)))
    assert rows(url, runs) == [("payload", 1), ("slurm", 4)]
    run(url, Retention(days=365, kinds=(KindRetention(kind="payload_start", days=40),)))
    assert rows(url, runs) == [("slurm", 4)]


def test_a_run_of_a_node_that_was_lost_does_not_keep_a_persons_name_for_ever(url, year):
    lost = {"batch": "slurm", "job": "99", "restart": 0, "account": "cms002", "lease": "b" * 32}
    year.write(80, "job_start", **lost, scheme="x509", subject=BELA, vo="cms", evidence="holder")
    year.collect(url)
    of_lost = "SELECT subject FROM job_runs WHERE job = '99' AND \"end\" IS NULL"
    run(url, Retention(days=500, pseudonym_days=70), key=KEY)
    assert rows(url, of_lost) == [(pseudonyms.pseudonym(KEY, "x509", BELA),)]
    run(url, Retention(days=75))
    assert rows(url, of_lost) == []


def test_identities_become_pseudonyms_while_sums_and_chains_stay(url, year):
    everything = Range(0, NOW + DAY)
    before = report(open_to_read(url), everything, BY)
    done = run(url, Retention(days=500, pseudonym_days=90), key=KEY)
    after = report(open_to_read(url), everything, BY)
    assert done.identities > 0
    assert sum(row.cpu for row in before.rows if row.row == "part") == sum(
        row.cpu for row in after.rows if row.row == "part"
    )
    bela = {row.identity: (row.jobs, row.cpu) for row in before.rows}[BELA]
    assert [(row.jobs, row.cpu) for row in after.rows if row.account == "cms002"] == [bela]
    assert BELA not in "".join(dump(url))
    bodies = rows(url, "SELECT time, body FROM records WHERE kind = 'job_start'")
    recent = [ANNA in body for time, body in bodies if time >= NOW - 90 * DAY]
    old = [ANNA in body for time, body in bodies if time < NOW - 90 * DAY]
    jobs = rows(url, "SELECT submit, subject, name, fields FROM batch_jobs")
    assert {tuple(job) for submit, *job in jobs if submit >= NOW - 90 * DAY} == {(ANNA, "of Anna", "Owner=anna")}
    assert {tuple(job) for submit, *job in jobs if submit < NOW - 90 * DAY} == {
        (pseudonyms.pseudonym(KEY, "x509", subject), "", "") for subject in (ANNA, BELA)
    }
    assert recent
    assert all(recent)
    assert old
    assert not any(old)
    assert proven(url) == []
    assert run(url, Retention(days=500, pseudonym_days=90), key=KEY).identities == 0


def test_whoran_still_tells_who_held_an_account_then_one_from_another(url, year, tmp_path):
    run(url, Retention(days=500, pseudonym_days=90), key=KEY)
    now = NOW // 1_000_000
    past = Past(url, tmp_path / "none")
    node = Node(tmp_path, tmp_path, str(tmp_path), ("cms",))
    moment = ask(f"@{now - 108 * 86_400}", now=NOW, zone=UTC)
    found, _ = whoran(moment, node, past)
    past.close()
    assert {answer.account for answer in found} == {"cms001", "cms002"}
    names = {answer.account: answer.identity for answer in found}
    assert names["cms001"].startswith("pseudonym:")
    assert names["cms002"].startswith("pseudonym:")
    assert names["cms001"] != names["cms002"]


def test_one_store_has_one_key_so_that_nobody_becomes_two(url, year):
    retention = Retention(days=500, pseudonym_days=90)
    run(url, retention, key=KEY)
    with pytest.raises(ConfigurationError, match="another key"):
        run(url, retention, key=bytes(32))


def test_a_rehearsal_says_what_would_go_and_changes_nothing(url, year):
    before = dump(url)
    retention = Retention(days=200, pseudonym_days=90)
    said = run(url, retention, key=KEY, rehearse=True)
    assert dump(url) == before
    assert run(url, retention, key=KEY) == said


def run_killed_in(url: str, retention: Retention, step: int) -> None:
    """Run an expiry that is killed before its transaction of that number is committed, if it comes to it."""
    store = open_store(url)
    begin, begun = store.transaction, itertools.count(1)

    @contextmanager
    def transaction():
        with begin() as connection:
            yield connection
            if next(begun) == step:
                os.kill(os.getpid(), signal.SIGKILL)

    store.transaction = transaction
    expire.expire(store, Cutoffs.of(retention, NOW), KEY, now=NOW, progress=lambda _: None)


def test_an_expiry_killed_at_any_step_is_finished_by_the_next(url, year, tmp_path):
    undisturbed = f"sqlite:///{tmp_path}/other.sqlite"
    year.collect(undisturbed)
    retention = Retention(days=200, pseudonym_days=90)
    run(undisturbed, retention, key=KEY)
    for step in range(1, 8):
        killed = multiprocessing.get_context("fork").Process(target=run_killed_in, args=(url, retention, step))
        killed.start()
        killed.join()
        assert proven(url) == []
    run(url, retention, key=KEY)
    assert dump(url) == dump(undisturbed)


def test_whole_months_are_dropped_from_postgresql_not_emptied_line_by_line(database, tmp_path):
    year = Year(tmp_path / "ledger")
    year.collect(database)
    with open_to_read(database).transaction() as connection:
        before = partitions.existing(connection)
    run(database, Retention(days=30, kinds=()), now=NOW + 10 * DAY)
    with open_to_read(database).transaction() as connection:
        after = partitions.existing(connection)
    assert (2026, 5) in before
    assert (2026, 5) in after  # behind the lending of a lease that is still used
    run(database, Retention(days=30), now=NOW + 31 * DAY)
    with open_to_read(database).transaction() as connection:
        assert partitions.existing(connection) == []
    assert proven(database) == []
