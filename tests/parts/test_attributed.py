"""Payloads and jobs in a real store: who used what, the same in every report that can be asked for."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, timedelta, timezone

import pytest
from click.testing import CliRunner

from gridwarden import ledger
from gridwarden.accounting import collect, evidence, expire, ledger_batches, processes, schema
from gridwarden.accounting.attributed import of_number
from gridwarden.accounting.batch_records import Job
from gridwarden.accounting.explain import explain
from gridwarden.accounting.payload_runs import ANOTHERS, NO_JOB
from gridwarden.accounting.report import BY, report
from gridwarden.accounting.retention import Cutoffs
from gridwarden.accounting.rows import upsert
from gridwarden.accounting.store import open_store, open_to_read
from gridwarden.cli import gridwarden
from gridwarden.retention_settings import Retention
from gridwarden.times import Range

ANNA, BELA, CHEN = (f"/DC=org/DC=example/CN={name}" for name in ("Anna", "Bela", "Chen"))
SECOND = 1_000_000
HOUR = 3600 * SECOND
NOW = 1_795_301_600_000_000
EVER = Range(0, NOW)


@pytest.fixture
def node(tmp_path, url):
    return Node(tmp_path / "ledger", url)


class Node:
    """A ledger of payloads at chosen times, and jobs as their batch system says; ``collect`` brings all into the store."""

    def __init__(self, directory, url):
        directory.mkdir(mode=0o700)
        self.directory, self.url = directory, url
        self.head = (0, ledger.FIRST)
        self.jobs = []

    def write(self, hours: float, kind: str, **fields: object) -> None:
        body = {"kind": kind, "time": NOW - int(hours * HOUR), "boot": "b", "clock": 1, "node": "n1", "cluster": "site"}
        line, *head = ledger._line(self.head[1], self.head[0] + 1, json.dumps(body | fields).encode())
        self.head = (head[0], head[1])
        with (self.directory / "current.jsonl").open("ab") as file:
            file.write(line)

    def payload(
        self, begin: float, end: float | None, subject: str, cpu: int | None, job: str, **changes: object
    ) -> str:
        name = f"{self.head[0] + 1:032x}"
        about = {"payload": name, "batch": "slurm", "job": job, "restart": 0, "account": f"cms{ord(subject[-1]):03}",
                 "uid": 2001, "lease": f"{ord(subject[-1]):032x}"}  # fmt: skip
        who = {"pilot": "pilotcms", "pilot_uid": 990, "pilot_scheme": "x509", "pilot_subject": BELA, "pilot_vo": "cms",
               "scheme": "x509", "subject": subject, "vo": "cms", "credential": "", "also_scheme": "",
               "also_subject": "", "also_vo": "", "also_credential": "", "program": "", "name": "",
               "cgroup": ""}  # fmt: skip
        self.write(begin, "payload_start", **(about | who | changes))
        if end is not None:
            figures = {"status": 0, "signal": None, "user": cpu, "system": 0, "memory": 1, "group_cpu": None,
                       "measured": "wait4", "because": ""}  # fmt: skip
            self.write(end, "payload_end", **about, **figures)
        return name

    def job(self, number: str, begin: float, end: float | None, cpu: int, **changes: object) -> None:
        start = NOW - int(begin * HOUR)
        ended = None if end is None else NOW - int(end * HOUR)
        row = Job(
            "slurm", "site", number, start, 0, "pilotcms", 990, start, ended, "COMPLETED", "0:0", 0, 0, cpu, "n1", ""
        )
        self.jobs.append(row._replace(**changes))

    def collect(self):
        store = open_store(self.url)
        collect.collect_ledger(store, self.directory, now=NOW, progress=lambda *_: None)
        with store.transaction() as connection:
            upsert(connection, schema.batch_jobs, [job._asdict() for job in self.jobs])
        return open_to_read(self.url)


def sums(store, within=EVER):
    found = report(store, within, ("identity",))
    return {(row.row, row.identity): row.cpu // SECOND for row in found.rows}, found


def start_of(node, number: str, hours: float, subject: str, lease: str) -> None:
    about = {"batch": "slurm", "job": number, "restart": 0, "account": "cms001", "uid": 1, "lease": lease}
    who = {"scheme": "x509", "subject": subject, "vo": "cms", "stamp": "", "evidence": "holder", "batch_start": None}
    node.write(hours, "job_start", **about, **who)


def end_of(node, number: str, hours: float, lease: str, seen: str) -> None:
    if seen:
        node.write(hours, "observation", account="cms001", lease=seen, name="n", inode=1)
    about = {"batch": "slurm", "job": number, "restart": 0, "account": "cms001", "uid": 1, "lease": lease}
    node.write(hours, "job_end", **about, exit_code="0:0")


def lend(node, hours: float, subject: str, lease: str) -> None:
    node.write(
        hours, "lease", account="cms001", uid=1, lease=lease, name="n", scheme="x509", subject=subject, vo="cms",
        fqans="/cms/Role=pilot /cms", credential="", adopted=0,
    )  # fmt: skip


@pytest.mark.parametrize("lines", [1, 2, 10_000])
def test_jobs_of_one_account_are_whose_it_was_then_wherever_a_collect_was_interrupted(node, monkeypatch, lines):
    monkeypatch.setattr(ledger_batches, "BATCH_LINES", lines)
    first, second = "a" * 32, "b" * 32
    lend(node, 100, ANNA, first)
    start_of(node, "1", 90, ANNA, first)
    end_of(node, "1", 80, first, seen=first)
    start_of(node, "3", 70, ANNA, first)
    node.write(60, "freed", account="cms001", uid=1, lease=first, name="n", because="idle")
    lend(node, 50, BELA, second)
    end_of(node, "3", 40, first, seen=second)
    start_of(node, "4", 30, BELA, second)
    end_of(node, "4", 20, second, seen="")
    for number, begin, end in (
        ("1", 90, 80),
        ("2", 78, 75),
        ("3", 70, 40),
        ("4", 30, 20),
        ("5", 19, 18),
        ("6", 120, 110),
    ):
        node.job(number, begin, end, 10 * SECOND, account="cms001")
    store = node.collect()
    with store.transaction() as connection:
        found = {number: of_number(connection, number)[0].attribution for number in "123456"}
    of_each = {
        number: [(part.subject, part.evidence, part.fqan) for part in each.parts] for number, each in found.items()
    }
    pilot = "/cms/Role=pilot"
    assert of_each == {
        "1": [(ANNA, evidence.BATCH, pilot)],
        "2": [(ANNA, evidence.LEASE_HISTORY, pilot)],
        "3": [],
        "4": [(BELA, evidence.BATCH, pilot)],
        "5": [(BELA, evidence.LEASE_HISTORY, pilot)],
        "6": [],
    }
    assert [each.subject for each in found["3"].candidates] == [ANNA, BELA]
    assert found["1"].parts[0].because.endswith("when the job started, and when it ended")
    assert found["4"].parts[0].because.endswith("when the job started, and nobody looked when it ended")


def test_a_report_splits_pilots_and_adds_up_by_both_measures(node):
    node.job("7", 10, 5, 100 * SECOND)
    node.payload(9, 8, ANNA, 30 * SECOND, "7")
    node.payload(8, 6, CHEN, 40 * SECOND, "7")
    node.payload(7, 6, ANNA, 5 * SECOND, "7")
    node.payload(4, 3, ANNA, 9 * SECOND, "")  # outside of any job
    store = node.collect()
    by_identity, found = sums(store)
    assert by_identity == {
        ("part", ANNA): 35, ("part", CHEN): 40, ("part", BELA): 25, ("outside", ANNA): 9,
        ("unattributed", ""): 0, ("batch_discrepancy", ""): 0, ("total", ""): 100,
    }  # fmt: skip
    rows = {(row.row, row.identity): row for row in found.rows}
    anna, bela = rows["part", ANNA], rows["part", BELA]
    assert (anna.jobs, anna.payloads, anna.batch) == (1, 2, 0)
    assert (bela.jobs, bela.payloads, bela.batch // SECOND) == (1, 0, 100)
    assert rows["total", ""].payloads == 3
    assert found.outside == {NO_JOB: 1}
    for by in (BY, ("vo",), ("account",)):
        counted = [row for row in report(store, EVER, by).rows if row.row not in ("outside", "total")]
        assert sum(row.cpu for row in counted) == sum(row.batch for row in counted) == 100 * SECOND


def test_a_report_adds_up_by_group_node_queue_and_month_and_shows_wall_time_by_cores(node):
    node.job("7", 10, 5, 100 * SECOND, cores=8, queue="grid", nodes="n[1-2]")
    node.job("8", 20, 19, 10 * SECOND, account="cms065", queue="short")
    node.job("9", 24 * 40, 24 * 40 - 1, 50 * SECOND, account="cms065", queue="short", cores=4, wall=1800 * SECOND)
    own = {"account": "cms065", "lease": "c" * 32}
    node.write(
        24 * 50, "lease", **own, uid=1, name="n", scheme="x509", subject=ANNA, vo="cms",
        fqans="/cms/Role=production /cms", credential="", adopted=0,
    )  # fmt: skip
    node.payload(9, 8, ANNA, 30 * SECOND, "7", **own)
    node.payload(9, 8, ANNA, 5 * SECOND, "", **own)
    store = node.collect()

    def by(*names: str) -> dict[tuple[str, ...], tuple[int, int]]:
        return {
            (row.row, *(getattr(row, name) for name in names)): (row.cpu // SECOND, row.wall_cores // (3600 * SECOND))
            for row in report(store, EVER, names, UTC).rows
            if row.row in ("part", "outside", "total")
        }

    total = {("total", ""): (160, 43)}
    assert by("fqan") == total | {
        ("part", "/cms/Role=production"): (90, 3), ("part", ""): (70, 40), ("outside", ""): (5, 0),
    }  # fmt: skip
    # A payload ran on the node that its record names; what is left of its job, on all of that job's.
    assert by("node") == total | {("part", "n1"): (90, 3), ("part", "n[1-2]"): (70, 40), ("outside", "n1"): (5, 0)}
    assert by("queue") == total | {("part", "grid"): (100, 40), ("part", "short"): (60, 3), ("outside", ""): (5, 0)}
    assert list(by("month", "queue").items()) == [
        (("part", "2026-10", "short"), (50, 2)), (("part", "2026-11", "grid"), (100, 40)),
        (("part", "2026-11", "short"), (10, 1)), (("outside", "2026-11", ""), (5, 0)), (("total", "", ""), (160, 43)),
    ]  # fmt: skip


def test_a_month_is_that_of_the_zone_in_which_a_report_was_asked_for(node):
    node.job("7", 24 * 22, 24 * 21, SECOND)  # until 2026-10-31T22:53Z
    store = node.collect()
    east = timezone(timedelta(hours=2))
    of_zone = [report(store, EVER, ("month",), zone).rows[0].month for zone in (UTC, east)]
    assert of_zone == ["2026-10", "2026-11"]  # of what is nobody's, too


def test_a_report_by_account_says_whose_jobs_nobody_can_be_named_for(node):
    """As of years of a batch system's history, from before there were any records of who held what."""
    node.job("7", 10, 5, 100 * SECOND, account="cms001")
    node.job("8", 10, 5, 0, account="cms001")
    node.job("9", 10, 5, 30 * SECOND, account="cms002")
    found = report(node.collect(), EVER, ("account",))
    rows = [(row.row, row.account, row.jobs, row.cpu // SECOND) for row in found.rows if row.jobs]
    assert rows == [("unattributed", "cms001", 2, 100), ("unattributed", "cms002", 1, 30), ("total", "", 3, 130)]
    assert list(found.reasons.values()) == [3]


@pytest.mark.parametrize(
    ("batch", "cluster", "number", "of_node"),
    [
        ("pbs", "pbs1.example.org", "7", "7.pbs1.example.org"),
        ("htcondor", "ce.example.org", "7.0", "ce.example.org#7.0#1795270920"),
    ],
)
def test_payloads_and_hooks_of_pbs_and_htcondor_find_their_jobs_in_the_accounting(
    node, batch, cluster, number, of_node
):
    lease = "a" * 32
    pilot = {"batch": batch, "job": of_node, "account": "cms001", "uid": 1, "lease": lease}
    who = {"scheme": "x509", "subject": BELA, "vo": "cms", "stamp": "", "evidence": "holder", "batch_start": None}
    # HTCondor's history has one row for all runs of a job; PBS's has one for each.
    node.write(10, "job_start", **pilot, **who, restart=1 if batch == "htcondor" else 0)
    node.job(number, 10, 5, 100 * SECOND, batch=batch, cluster=cluster, account="cms001")
    node.payload(9, 8, ANNA, 30 * SECOND, of_node, batch=batch, pilot="cms001", pilot_subject="")
    store = node.collect()
    assert sums(store)[0] == {
        ("part", ANNA): 30, ("part", BELA): 70, ("unattributed", ""): 0, ("batch_discrepancy", ""): 0, ("total", ""): 100,
    }  # fmt: skip


def test_each_payload_counts_in_one_report_only_whichever_spans_are_asked_for(node):
    """A job's payloads are in the report of the job's end, those of none in that of their own."""
    for number, hours in enumerate((40, 30, 20), 1):
        node.job(str(number), hours, hours - 9, 50 * SECOND)
        node.payload(hours - 1, hours - 9.5, ANNA, 7 * SECOND, str(number))  # it runs beyond the job's end
        node.payload(hours - 2, hours - 3, CHEN, 11 * SECOND, "")
    node.payload(19, None, CHEN, None, "")
    node.payload(18, 17, CHEN, 1 * SECOND, "3", pilot="pilotatlas")
    store = node.collect()
    _, whole = sums(store)
    pieces: dict[tuple[str, str], list[int]] = {}
    edges = [0, *(NOW - hours * HOUR for hours in (38, 31, 29, 27, 21, 19, 12, 11, 5)), NOW]
    for span in itertools.starmap(Range, itertools.pairwise(edges)):
        for row in report(store, span, ("identity",)).rows:
            piece = pieces.setdefault((row.row, row.identity), [0, 0, 0, 0])
            for index, value in enumerate((row.cpu, row.batch, row.payloads, row.jobs)):
                piece[index] += value
    assert pieces == {(row.row, row.identity): [row.cpu, row.batch, row.payloads, row.jobs] for row in whole.rows}
    assert whole.outside == {NO_JOB: 4, ANOTHERS: 1}


def test_a_payloads_end_counts_however_long_after_the_job_it_comes(node):
    node.job("7", 400, 399, 10 * SECOND)
    node.payload(399.5, 1, ANNA, 300 * SECOND, "7")
    node.payload(2, 1.5, CHEN, 5 * SECOND, "8")  # not of the time of job 7, and must not be taken for an end alone
    store = node.collect()
    by_identity, found = sums(store, Range(NOW - 400 * HOUR, NOW - 398 * HOUR))
    assert by_identity["part", ANNA] == 300
    assert by_identity["batch_discrepancy", ""] == -290
    assert found.outside == {}


def test_a_job_that_had_not_ended_keeps_its_payloads_for_the_report_of_its_end(node):
    node.job("7", 10, None, 0)
    node.payload(9, 8, ANNA, 30 * SECOND, "7")
    _, found = sums(node.collect())
    assert ([row.row for row in found.rows], found.unfinished) == (["unattributed", "batch_discrepancy", "total"], 1)
    with node.collect().transaction() as connection:
        (each,) = of_number(connection, "7")
    assert [payload.subject for payload in each.payloads] == [ANNA]


def test_an_identity_that_became_a_pseudonym_keeps_its_sums(node):
    node.job("7", 2000, 1999, 100 * SECOND)
    node.payload(1999.9, 1999.5, ANNA, 30 * SECOND, "7")
    node.payload(1999.9, 1999.4, BELA, 20 * SECOND, "7")  # the pilot's own work
    before, _ = sums(node.collect())
    retention = Retention(days=365, pseudonym_days=30)
    store = open_store(node.url)
    expire.expire(store, Cutoffs.of(retention, NOW), bytes(32), now=NOW, progress=lambda _: None)
    after, found = sums(store)
    assert sorted(after.values()) == sorted(before.values())
    assert all(row.identity.startswith("pseudonym:") for row in found.rows if row.row == "part")


def test_the_commands_show_pilots_and_a_derivation(node, tmp_path):
    node.job("7", 10, 5, 100 * SECOND, cores=1)
    node.payload(9, 8, ANNA, 30 * SECOND, "7")
    node.payload(8.5, 6, CHEN, 40 * SECOND, "7", name="\x1b[31mred")
    node.collect()
    config = tmp_path / "site.yaml"
    config.write_text(f"""
site: EXAMPLE
pools: [cms]
policy: [{{fqan: /cms, pool: cms}}]
slurm: {{cluster: site}}
store: {node.url}
""")

    def run(*words: str) -> str:
        done = CliRunner().invoke(gridwarden, ["--config", str(config), "report", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    (pilot,) = json.loads(run("--since", "2026-01-01", "--pilots", "--format", "json"))
    assert (pilot["job"], pilot["identity"], pilot["covered"], pilot["at_once"]) == ("7", BELA, 70.0, 2)
    assert pilot["remarks"] == "2 payloads at once, cores: 1"
    rows = json.loads(run("--explain", "7", "--format", "json"))
    assert [row["cpu_microseconds"] // SECOND for row in rows] == [100, 100, 30, 40, 30, 30, 0, 0, 100]
    assert [row["step"] for row in rows] == list(range(1, 10))
    shown = run("--explain", "7")
    assert ANNA in shown
    assert "0:01:40.000" in shown
    assert "70.0" in run("--since", "2026-01-01", "--pilots")
    for words, said in [
        (["--explain", "8"], "no batch job '8'"),
        (["--explain", "7", "--pilots"], "different things"),
        (["--explain", "7", "--since", "-1h"], "leave --since away"),
        ([], "needs --since"),
    ]:
        done = CliRunner().invoke(gridwarden, ["--config", str(config), "report", *words])
        assert done.exit_code != 0
        assert said in f"{done.exception} {done.exception.hint}"


def test_the_same_rows_come_out_whatever_order_the_records_were_collected_in(node, tmp_path):
    def fill(other: Node, order: list[int]) -> list[object]:
        other.job("7", 10, 5, 100 * SECOND)
        told = [
            lambda: other.payload(9, 8, ANNA, 30 * SECOND, "7"),
            lambda: other.payload(8, None, CHEN, None, "7"),
            lambda: other.payload(7, 6, CHEN, 3 * SECOND, "7"),
            lambda: other.payload(6, 5, ANNA, 2 * SECOND, "9"),
        ]
        for index in order:
            told[index]()
        store = other.collect()
        return [report(store, EVER, by) for by in (BY, ("identity",), ("vo",))]

    assert fill(node, [0, 1, 2, 3]) == fill(
        Node(tmp_path / "other", f"sqlite:///{tmp_path}/other.sqlite"), [3, 1, 0, 2]
    )


def put_process(node, pid: int, start: int, **changes: object) -> None:
    """One that exit statistics told of; two seconds of CPU time."""
    row = {
        "node": "n1", "pid": pid, "start": start, "end": start + SECOND, "parent": 1, "uid": 5, "gid": 5, "command": "c",
        "user_cpu": 0, "system_cpu": 0, "status": 0, "exact": 1, "cpu": 2 * SECOND, "threads": 1, "boot": "b",
        "account": "cms001", "batch": "slurm", "cluster": "site", "job": "9", "known_by": "",
    } | changes  # fmt: skip
    with open_store(node.url).transaction() as connection:
        processes.put(connection, list(row), [tuple(row.values())])


def test_a_payload_whose_launcher_left_no_figures_has_what_exit_statistics_counted_and_never_the_pilot(node):
    """The node was lost, or launcher and guard were killed: its control group is gone, its processes are on record."""
    node.job("7", 10, 5, 100 * SECOND)
    lost = node.payload(9, None, ANNA, None, "7")
    unmeasured = node.payload(8, 7, CHEN, None, "7")
    whole = node.payload(8, 7, CHEN, 5 * SECOND, "7")
    store = node.collect()
    begin = NOW - 9 * HOUR
    for pid, (payload, subject) in enumerate(
        [(lost, ANNA), (lost, ANNA), (unmeasured, CHEN), (whole, CHEN), (lost, CHEN)]
    ):
        account = f"cms{ord(subject[-1]):03}"
        put_process(node, pid + 1, begin, batch="payload", job=payload, account=account, cpu=10 * SECOND)
    put_process(node, 9, begin, batch="payload", job=lost, account="cms097", exact=0, cpu=None)
    with store.transaction() as connection:
        (found,) = of_number(connection, "7")
    of_each = [(part.subject, part.cpu // SECOND, part.evidence) for part in found.attribution.parts]
    assert of_each == [
        (ANNA, 20, evidence.BATCH), (CHEN, 10, evidence.BATCH), (CHEN, 5, evidence.KERNEL_MEASURED), (BELA, 0, evidence.BATCH)
    ]  # fmt: skip
    assert found.attribution.unattributed == 65 * SECOND, "it may be what was not seen of these two"
    said = [line.because for line in explain(found, UTC) if line.what == "payload"]
    assert "no record of its end, so only what exit statistics counted" in said[0]
    assert "only what exit statistics counted" in said[1]
    assert "measured by wait4" in said[2]


def test_what_the_kernel_counted_of_a_plain_jobs_processes_is_its_holders_and_never_another_runs(node):
    lease = "a" * 32
    lend(node, 30, ANNA, lease)
    start_of(node, "9", 20, ANNA, lease)
    node.job("9", 20, 19, SECOND, account="cms001", batch="slurm")
    store = node.collect()
    begin = NOW - 20 * HOUR
    put_process(node, 1, begin + SECOND)
    put_process(node, 2, begin + 2 * SECOND)
    put_process(node, 3, begin - HOUR)  # of the run before
    put_process(node, 4, begin + SECOND, account="cms002")
    put_process(node, 5, begin + SECOND, cluster="other")
    put_process(node, 6, begin + SECOND, exact=0, cpu=None)
    (found,) = [row for row in report(store, EVER, BY).rows if row.row == "part"]
    assert (found.identity, found.cpu, found.batch) == (ANNA, 4 * SECOND, SECOND)
    for pid in (7, 8):  # by root of a node, whose words stop no report
        put_process(node, pid, begin + SECOND, cpu=2**63 - 1, user_cpu=2**63 - 1, system_cpu=1)
    (found,) = [row for row in report(store, EVER, BY).rows if row.row == "part"]
    assert (found.identity, found.cpu) == (ANNA, 4 * SECOND + 2 * (2**63 - 1))


def test_an_htcondor_jobs_owner_neither_zeroes_what_it_used_nor_raises_it_without_a_word(node):
    """The ad's figures and times are the owner's; what the agent measured of its processes is not."""
    lend(node, 30, ANNA, "a" * 32)
    for number, said in (("9.0", 0), ("10.0", 100 * SECOND), ("11.0", 2 * SECOND), ("12.0", 3 * SECOND)):
        node.job(number, 20, 19, said, account="cms001", batch="htcondor", cluster="ce")
    store = node.collect()
    for pid, number in enumerate(("9.0", "10.0", "11.0")):
        # Not when the ad says that it ran.
        put_process(node, pid, NOW - 25 * HOUR, batch="htcondor", cluster="ce", job=number)
    put_process(node, 8, NOW - 25 * HOUR, batch="htcondor", cluster="other", job="12.0")
    with store.transaction() as connection:
        found = {number: of_number(connection, number)[0] for number in ("9.0", "10.0", "11.0", "12.0")}
    assert [each.attribution.parts[0].cpu // SECOND for each in found.values()] == [2, 100, 2, 3]
    explained = [{line.what: line.because for line in explain(each, UTC)} for each in found.values()]
    assert all("which the job's owner can change" in each["total"] for each in explained)
    zeroed, raised, honest, unmeasured = (each.get("exits", "") for each in explained)
    assert "htcondor says 0:00:02.000 less, and this counts" in zeroed
    assert "htcondor says 0:01:38.000 more, which the job's owner can change" in raised
    assert honest.endswith("known to be its own")
    assert unmeasured == ""


def test_jobs_of_two_installations_of_one_schedd_share_no_processes_though_they_share_a_number(node):
    lend(node, 300, ANNA, "a" * 32)
    for begin in (200, 20):
        node.job("9.0", begin, begin - 1, 0, account="cms001", batch="htcondor", cluster="ce")
    store = node.collect()
    put_process(node, 1, NOW - 20 * HOUR + SECOND, batch="htcondor", cluster="ce", job="9.0")
    with store.transaction() as connection:
        found = [each.attribution.parts[0].cpu // SECOND for each in of_number(connection, "9.0")]
    assert found == [0, 2]
