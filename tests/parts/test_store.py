"""The store itself, on SQLite and on a real PostgreSQL: its schema, its months, and what hostile ledgers do to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from gridwarden import chain, ledger
from gridwarden.accounting import collect, partitions, positions, schema, spans, store_file
from gridwarden.accounting.engines import engine_of
from gridwarden.accounting.job_runs import Run
from gridwarden.accounting.migrate import migrate
from gridwarden.accounting.status import status
from gridwarden.accounting.store import open_any, open_store, open_to_read, upgrade
from gridwarden.errors import ConfigurationError, Unavailable
from tests.payload import wait_until

NOW = 1_795_301_600_000_000  # in November 2026
DAY = 86_400_000_000
LEASE = "a" * 32
OF_EXPRESSIONS = {
    "job_runs_by_node",
    "job_runs_by_start",
    "job_runs_of_payloads",
    "batch_jobs_by_node",
    "batch_jobs_by_start",
}


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "ledger"
    directory.mkdir(mode=0o700)
    return directory


def from_ledger(url, directory, now=NOW):
    return collect.collect_ledger(open_store(url), directory, now=now, progress=lambda *_: None)


def rows(url: str, query: str) -> list[tuple]:
    with open_to_read(url).transaction() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def observe(directory, number: int = 1, *, time: int | None = None, **fields: object) -> None:
    """One record of the ledger; as of ``time`` if that is said."""
    values = {"account": "cms001", "lease": LEASE, "name": f"name{number}", "inode": 1} | fields
    if time is None:
        ledger.append(directory, "observation", values, node="n1", cluster="site")
    else:
        append_as_root_would(
            directory, {"kind": "observation", "time": time, "node": "n1", "cluster": "site", **values}
        )


def append_as_root_would(directory, body: dict[str, object]) -> None:
    """Seal anything like a record, as whoever is root on a node can."""
    last = [line for line in chain.read(directory) if line.seq] if (directory / "current.jsonl").exists() else []
    seq, previous = (last[-1].seq, last[-1].hash) if last else (0, ledger.FIRST)
    line, _, _ = ledger._line(previous, seq + 1, json.dumps(body).encode())
    with (directory / "current.jsonl").open("ab") as file:
        file.write(line)


def at(year: int, month: int) -> int:
    return int(datetime(year, month, 15, tzinfo=UTC).timestamp()) * 1_000_000


def test_the_migrations_make_the_schema_that_the_program_knows(url):
    with open_store(url).transaction() as connection:
        found = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    # Comments are for who reads the program; a month has its indexes from the whole table.
    differences = [part for each in found for part in (each if isinstance(each, list) else [each])]
    differences = [each for each in differences if "comment" not in each[0]]
    # Nor can indexes of expressions be compared: that they serve their queries is tested instead.
    differences = [each for each in differences if getattr(each[1], "name", None) not in OF_EXPRESSIONS]
    assert [each for each in differences if "_other" not in str(each[1:])] == []


@pytest.mark.parametrize(
    ("table", "where", "index"),
    [
        ("job_runs", "", "job_runs_by_start"),
        ("job_runs", "node = :node", "job_runs_by_node"),
        ("job_runs", "batch = 'payload'", "job_runs_of_payloads"),
        ("batch_jobs", "", "batch_jobs_by_start"),
        ("batch_jobs", f"{spans.ONE_NODE} IN (:node, '*')", "batch_jobs_by_node"),
    ],
)
def test_a_question_of_a_time_reads_by_an_index_whatever_came_before_and_after(url, table, where, index):
    store = open_store(url)
    values = {"since": NOW, "until": NOW + 1, "node": "n1"}
    with store.transaction() as connection:
        if store.partitioned:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN" if store.partitioned else "EXPLAIN QUERY PLAN"
        plan = str(
            connection.execute(text(f"{explain} {spans.select_overlapping('start', table, where)}"), values).all()
        )
    # Of an empty table PostgreSQL takes either index; it weighs them when there is something to read.
    either = plan.count(f"{table}_by_") + plan.count(f"{table}_of_")
    assert (either if store.partitioned else plan.count(f"{index} (")) == 7, plan
    assert "SCAN job_runs" not in plan and "SCAN batch_jobs" not in plan and "Seq Scan" not in plan


@pytest.mark.parametrize("hours", [0, 1, 4, 18, 76, 300, 10_000, None])
def test_a_run_of_any_length_is_found_at_each_of_its_moments_and_at_no_other(url, hours):
    start, hour = NOW - 20_000 * 3_600_000_000, 3_600_000_000
    end = None if hours is None else start + hours * hour
    row = ["l", 1, "slurm", "site", "n1", "7", 0, *[""] * 8, start, end, ""]
    run = Run(*row)
    store = open_store(url)
    with store.transaction() as connection:
        collect.rows.upsert(connection, schema.job_runs, [run._asdict()])
    query = text(spans.select_overlapping("job", "job_runs", "node = :node"))

    def found(since: int, until: int) -> list[str]:
        with store.transaction() as connection:
            return list(connection.scalars(query, {"since": since, "until": until, "node": "n1"}))

    last = NOW if end is None else end
    for within in ((start, start + 1), (last, last + 1), (0, NOW + 1), ((start + last) // 2, last + 1)):
        assert found(*within) == ["7"]
    assert found(0, start) == []
    assert found(last + 1, NOW + 2) == ([] if end is not None else ["7"])


def test_a_store_that_many_nodes_meet_empty_is_made_once(database):
    program = f"from gridwarden.accounting.store import open_store; open_store({database!r})"
    started = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]


def test_who_collects_a_source_keeps_others_from_it_until_the_rows_are_there(url):
    store, order = open_store(url), []

    def second() -> None:
        with store.transaction() as connection:
            order.append(positions.claim(connection, "ledger:x").at)

    second()  # what is there already is claimed otherwise than what is not
    other = threading.Thread(target=second)
    with store.transaction() as connection:
        order.append(positions.claim(connection, "ledger:x").at)
        other.start()
        other.join(0.5)
        positions.set_position(connection, "ledger:x", positions.Position(7, "head"))
    other.join()
    assert order == [0, 0, 7]


def test_a_newer_store_is_refused_with_the_command_to_run(url):
    with open_store(url).transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    for opening in (open_store, open_to_read, lambda url: upgrade(open_any(url, write=True))):
        with pytest.raises(ConfigurationError, match="schema 999") as caught:
            opening(url)
        assert "pip install --upgrade gridwarden" in caught.value.hint
    facts = dict(status(open_any(url, write=False)))
    assert facts["schema"].startswith("999; this gridwarden knows")


def test_an_upgrade_that_is_tried_out_leaves_an_empty_database_empty(database):
    before, after = upgrade(open_any(database, write=True, rehearse=True))
    assert (before, after) == (0, store_file.SCHEMA_VERSION)
    with pytest.raises(Unavailable, match="is empty"):
        open_to_read(database)
    assert upgrade(open_any(database, write=True)) == (0, store_file.SCHEMA_VERSION)
    open_to_read(database)


def test_status_says_how_far_each_source_came_and_what_of_it_cannot_be_used(url, directory):
    observe(directory)
    observe(directory)
    current = directory / "current.jsonl"
    current.write_bytes(current.read_bytes().replace(b"name1", b"name2", 1))
    from_ledger(url, directory)
    facts = dict(status(open_any(url, write=False)))
    assert facts[f"ledger:{ledger.identifier(directory)}"] == "2; 1 lines that cannot be used"
    assert "files" not in facts
    with open_store(url).transaction() as connection:
        for number in range(3):
            positions.set_position(connection, f"file:{number}", positions.Position(10, ""))
        positions.add_faults(connection, "file:1", [("log:7", "no record: x")], NOW)
        positions.set_position(connection, "slurm:site", positions.Position(1_795_371_999_123_456, ""))
    facts = dict(status(open_any(url, write=False)))
    assert facts["files"] == "3; 1 lines that cannot be used"
    assert facts["slurm:site"] == "2026-11-22T18:26:39+00:00"
    assert not [key for key in facts if key.startswith("file:")]
    assert int(facts["bytes"]) > 0


def test_what_root_of_a_node_writes_keeps_no_database_from_the_other_records(url, directory):
    long = os.urandom(4_000).hex()
    common = {"kind": "job_start", "time": NOW, "node": "n1", "cluster": "site"}
    hostile = [
        common | {"account": long, "lease": long, "job": long, "batch": long, "restart": 10**18},
        common | {"account": "nul \0 and \udcff", "subject": "\0"},
        common | {"time": "yesterday", "pid": "one", "job": 7},
        common | {"time": 2**62, "pid": -1},
        common | {"time": -(2**62)},
        {"kind": long},
    ]
    observe(directory)
    for body in hostile:
        append_as_root_would(directory, body)
    observe(directory)
    found = from_ledger(url, directory)
    assert (found.rows, found.fresh_faults) == (8, [])
    assert rows(url, "SELECT count(*) FROM records") == [(8,)]
    assert rows(url, "SELECT count(*) FROM records WHERE account = 'cms001'") == [(2,)]


def test_records_are_kept_by_month_so_that_old_ones_can_go_at_once(database, directory):
    times = [at(2026, 9), at(2026, 10), at(2026, 10), at(2026, 11)]
    for moment in times:
        observe(directory, time=moment)
    from_ledger(database, directory)
    assert rows(database, "SELECT count(*) FROM records_2026_10") == [(2,)]
    assert dict(status(open_any(database, write=False)))["months"] == "2026-09 2026-10 2026-11"
    assert rows(database, "SELECT count(*) FROM records_other") == [(0,)]


def test_what_a_wrong_clock_dated_makes_no_months_and_comes_to_its_own_when_they_begin(database, directory):
    for moment in (at(1999, 1), at(2027, 2), at(9000, 1), 2**62):
        observe(directory, time=moment)
    from_ledger(database, directory)
    assert rows(database, "SELECT count(*) FROM records_other") == [(4,)]
    observe(directory, time=at(2027, 2) + DAY)
    from_ledger(database, directory, now=at(2027, 2) + 2 * DAY)
    assert rows(database, "SELECT count(*) FROM records_other") == [(3,)]
    assert rows(database, "SELECT count(*) FROM records_2027_02") == [(2,)]
    with open_to_read(database).transaction() as connection:
        assert partitions.existing(connection) == [(2027, 2)]


class Node(threading.Thread):
    """A node that writes records and collects them, through every outage, until it is told to end."""

    def __init__(self, url: str, directory: Path) -> None:
        super().__init__()
        directory.mkdir(mode=0o700)
        self.url, self.directory = url, directory
        self.outages: list[str] = []
        self.ending = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.ending.is_set():
            for _ in range(10):
                observe(self.directory)
            try:
                from_ledger(self.url, self.directory)
            except Unavailable as error:
                self.outages.append(str(error))

    def end(self) -> None:
        self.ending.set()
        self.join()
        from_ledger(self.url, self.directory)


def test_a_database_that_stops_again_and_again_loses_nothing_and_keeps_nothing_twice(server, database, tmp_path):
    nodes = [Node(database, tmp_path / f"ledger{number}") for number in range(3)]
    for mode in ("immediate", "fast", "immediate"):
        time.sleep(0.5)
        known = [len(node.outages) for node in nodes]
        server.stop(mode)
        while any(len(node.outages) == before for node, before in zip(nodes, known, strict=True)):
            time.sleep(0.01)
        server.start()
    for node in nodes:
        node.end()
        lines = [(line.seq, line.hash) for line in chain.read(node.directory)]
        identifier = ledger.identifier(node.directory)
        stored = rows(database, "SELECT ledger, seq, hash FROM records ORDER BY seq")
        assert [row[1:] for row in stored if row[0] == identifier] == lines
        assert chain.acknowledged(node.directory) == len(lines) >= 30
        assert not any("\n" in outage for outage in node.outages)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_below_postgresql_is_one_clear_line_and_nothing_is_lost(server, database, directory):
    small = server.root / "small"
    small.mkdir()
    owner = server.root.stat()
    options = f"size=24m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(small)], check=True)
    try:
        name = database.partition("@/")[2].partition("?")[0]
        server.sql(f"CREATE TABLESPACE small LOCATION '{small}'")
        server.sql(f"ALTER DATABASE {name} SET TABLESPACE small")
        open_store(database)
        for _ in range(150):
            observe(directory, name=os.urandom(15_000).hex())  # what does not compress
        with (small / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space"):
            while True:
                ballast.write(bytes(65536))
                ballast.flush()
        os.truncate(small / "ballast", (small / "ballast").stat().st_size - 500_000)
        with pytest.raises(Unavailable, match="No space left") as caught:
            from_ledger(database, directory)
        assert "\n" not in f"{caught.value}{caught.value.hint}"
        assert "free space" in caught.value.hint
        assert chain.acknowledged(directory) == 0
        (small / "ballast").unlink()
        from_ledger(database, directory)
        assert rows(database, "SELECT count(*) FROM records") == [(150,)]
        assert chain.acknowledged(directory) == 150
    finally:
        server.drop(database)
        server.sql("DROP TABLESPACE small")
        subprocess.run(["umount", str(small)], check=True)


def test_without_its_driver_a_site_is_told_what_to_install(database):
    program = f"""
import sys
sys.modules["psycopg"] = None
from gridwarden.accounting.store import open_store
from gridwarden.errors import ConfigurationError
try:
    open_store({database!r})
except ConfigurationError as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "gridwarden[postgresql]" in done.stdout


def test_a_server_that_is_not_there_is_one_line_and_what_to_do(tmp_path):
    with pytest.raises(Unavailable, match="No such file") as caught:
        open_to_read(f"postgresql://gridwarden@/store?host={tmp_path}")
    assert "\n" not in str(caught.value)
    assert "start the database" in caught.value.hint


def test_a_database_that_nobody_made_is_told_from_one_that_is_down(server):
    with pytest.raises(Unavailable, match='"none" does not exist') as caught:
        open_to_read(f"postgresql://gridwarden@/none?host={server.root}")
    assert "make the role and the database" in caught.value.hint


def test_the_views_are_what_their_page_promises_to_other_tools(url):
    page = (Path(__file__).parent.parent.parent / "docs/store.md").read_text()
    promised = {
        name: re.findall(r"`(\w+)`", columns)
        for name, columns in re.findall(r"^\| `(\w+_v\d+)` \|(.+)\|$", page, re.MULTILINE)
    }
    with open_store(url).transaction() as connection:
        found = {
            name: list(connection.execute(text(f"SELECT * FROM {name}")).keys())  # noqa: S608  the database's own names
            for name in inspect(connection).get_view_names()
        }
    assert found == promised
    assert len(found) == 6


def test_what_another_tool_built_on_a_view_sees_all_processes_after_an_upgrade_divided_their_table(database):
    insert = text(
        'INSERT INTO processes (node, pid, start, "end", parent, uid, gid, command, user_cpu, system_cpu, status) '
        "VALUES ('n1', :pid, :now, :now, 1, 1, 1, '', 1, 1, 0)"
    )
    with engine_of(database, write=True).begin() as connection:
        migrate(connection, "0006")
        connection.execute(insert, {"pid": 1, "now": NOW})
        connection.execute(text("CREATE VIEW of_another_tool AS SELECT pid FROM processes_v1"))
    store = open_any(database, write=True)
    upgrade(store)
    partitions.make_room(store, [NOW], NOW, partitions.PROCESSES)
    with store.transaction() as connection:
        connection.execute(insert, {"pid": 2, "now": NOW})
    assert rows(database, "SELECT * FROM of_another_tool ORDER BY pid") == [(1,), (2,)]


def test_a_month_that_begins_while_old_ones_are_let_go_keeps_what_is_just_brought(database):
    """A whole month goes where nothing is in it; what another collector has not committed yet is not to be seen."""
    store = open_store(database)
    partitions.make_room(store, [NOW], NOW)
    letting_go = threading.Event()

    def let_go() -> None:
        with store.transaction() as connection:
            letting_go.set()
            partitions.drop_whole_months(connection)

    with store.transaction() as connection:
        connection.execute(
            text("INSERT INTO records (ledger, seq, hash, digest, time) VALUES ('l', 1, 'h', 'd', :at)"), {"at": NOW}
        )
        other = threading.Thread(target=let_go)
        other.start()
        assert letting_go.wait(30)
        wait_until(lambda: rows(database, "SELECT 1 FROM pg_locks WHERE NOT granted"), "it to wait for the collector")
    other.join(60)
    assert rows(database, "SELECT count(*) FROM records") == [(1,)]
