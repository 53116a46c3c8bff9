"""Ledgers in the store against what left their nodes: whoever is root there cannot write the past anew unseen."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC
from functools import partial

import pytest
from sqlalchemy import text

from gridwarden import chain, ledger, ledger_head
from gridwarden.accounting import collect, heads, prove, store_file, store_writer
from gridwarden.accounting.engines import engine_of
from gridwarden.accounting.migrate import migrate
from gridwarden.accounting.store import open_any, open_store, open_to_read, upgrade
from gridwarden.errors import ConfigurationError, Unavailable

NOW = 1_795_301_600_000_000
HOST = os.uname().nodename.partition(".")[0]


class Node:
    """A node whose records go to its ledger and, as lines of syslog, to another host."""

    def __init__(self, directory) -> None:
        directory.mkdir(mode=0o700)
        self.directory = directory
        self.syslog: list[bytes] = []

    def record(self, subject: str = "/CN=Anna", *, heard: bool = True) -> None:
        fields = {"account": "cms001", "uid": 1, "lease": "a" * 32, "name": "", "scheme": "x509", "subject": subject,
                  "because": "", "who": ""}  # fmt: skip
        seq, head = ledger.append(self.directory, "release", fields, node="n1", cluster="site")
        if heard:
            moment = b"2026-11-22T07:44:18.123456+00:00"
            text = f'event=lease outcome=released subject="a b" seq={seq} head={head}'
            self.syslog.append(moment + f" {HOST} gridwarden[17]: {text}\n".encode())

    def forget(self) -> None:
        """What root does first to write everything anew; the ledger keeps its name."""
        for path in self.directory.glob("*.jsonl"):
            path.unlink()

    def collect(self, url: str) -> None:
        collect.collect_ledger(open_store(url), self.directory, now=NOW, progress=lambda *_: None)

    def prove(self, url: str):
        store = open_store(url)
        prove.keep(store, heads.parse(self.syslog, "syslog", now=NOW, zone=UTC), lambda _: None)
        return prove.prove(open_to_read(url), lambda _: None)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "ledger")


def test_a_ledger_that_nobody_touched_is_proven_line_by_line(url, node):
    for _ in range(30):
        node.record()
    node.collect(url)
    verdict = node.prove(url)
    assert (verdict.faults, verdict.pending) == ([], {})
    (proof,) = verdict.proofs
    assert (proof.ledger, proof.lines, proof.heads) == (ledger.identifier(node.directory), 30, 30)
    assert set(proof.nodes.split()) == {HOST, "n1"}
    assert node.prove(url) == verdict


@pytest.mark.parametrize("cut", [0, 4])
def test_root_who_writes_a_whole_ledger_anew_is_found_by_the_heads_that_had_left(url, node, cut):
    for number in range(10):
        node.record(f"/CN=Eve {number}")
    kept = [line for line in chain.read(node.directory) if line.seq <= cut]
    node.forget()
    for line in kept:
        node.record(str(line.body["subject"]), heard=False)
    for _ in range(10 - cut):
        node.record("/CN=Anna", heard=False)
    assert chain.faults(node.directory) == []
    node.collect(url)
    assert prove.prove(open_to_read(url), lambda _: None).faults == []
    (fault,) = node.prove(url).faults
    assert fault.subject == f"ledger:{ledger.identifier(node.directory)}"
    assert re.match(rf"line 1 is not the one whose head left {HOST} \(syslog:1\); so for 10 heads", fault.what)


def test_root_who_writes_a_ledger_anew_is_found_by_the_heads_that_the_node_had_sent(url, node):
    for _ in range(5):
        node.record()
    seq, head = ledger_head.head(node.directory)
    open_store(url)
    for _ in range(2):
        store_writer.add_head(url, heads.Head(HOST, seq, head, NOW, f"sent by {HOST}"))
    node.forget()
    for _ in range(6):
        node.record(heard=False)
    node.collect(url)
    (fault,) = prove.prove(open_to_read(url), lambda _: None).faults
    assert fault.what == f"line 5 is not the one whose head left {HOST} (sent by {HOST})"


def test_a_role_that_can_send_heads_can_neither_change_nor_remove_one(database):
    open_store(database)
    head = heads.Head(HOST, 5, "a" * 64, NOW, f"sent by {HOST}")
    with open_store(database).transaction() as connection:
        for statement in (
            "DROP ROLE IF EXISTS sender", "CREATE ROLE sender LOGIN",
            "GRANT SELECT ON alembic_version TO sender", "GRANT INSERT ON heads TO sender",
        ):  # fmt: skip
            connection.execute(text(statement))
    url = database.replace("//gridwarden@", "//sender@")
    for _ in range(2):
        store_writer.add_head(url, head)
    try:
        for statement in ("DELETE FROM heads", "UPDATE heads SET hash = ''", "SELECT * FROM heads", "TRUNCATE heads"):
            with (
                pytest.raises(Unavailable, match="permission denied"),
                open_any(url, write=True).transaction() as connection,
            ):
                connection.execute(text(statement))
        with open_to_read(database).transaction() as connection:
            assert [tuple(row) for row in connection.execute(text("SELECT * FROM heads"))] == [tuple(head)]
    finally:
        with open_store(database).transaction() as connection:
            connection.execute(text("DROP OWNED BY sender"))
            connection.execute(text("DROP ROLE sender"))


AT_COMMIT = """
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION at_commit()
"""


@pytest.mark.parametrize(
    ("what", "advice"),
    [
        ("RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'", "free space"),
        ("RAISE 'could not serialize access' USING ERRCODE = 'serialization_failure'", "run this again"),
        ("PERFORM pg_terminate_backend(pg_backend_pid())", "start the database"),
    ],
    ids=["full disk", "serialization", "server gone"],
)
def test_what_a_database_says_only_at_commit_is_one_clear_line_and_nothing_is_lost_or_kept_twice(
    database, node, what, advice
):
    for number in range(3):
        node.record(f"/CN={number}")
    head = heads.Head(HOST, 3, "a" * 64, NOW, f"sent by {HOST}")
    brought = (
        ("heads", "heads", partial(store_writer.add_head, database, head), 1),
        ("positions", "records", partial(node.collect, database), 3),
    )
    for table, filled, bring, rows in brought:
        count = text(f"SELECT count(*) FROM {filled}")  # noqa: S608  one of two
        with open_store(database).transaction() as connection:
            connection.exec_driver_sql(AT_COMMIT.format(what=what, table=table))
        with pytest.raises(Unavailable) as caught:
            bring()
        assert "\n" not in f"{caught.value}{caught.value.hint}"
        assert advice in caught.value.hint
        with open_store(database).transaction() as connection:
            assert connection.scalar(count) == 0
            connection.exec_driver_sql("DROP FUNCTION at_commit CASCADE")
        for _ in range(2):
            bring()
            with open_to_read(database).transaction() as connection:
                assert connection.scalar(count) == rows


def test_a_head_for_a_store_that_is_not_there_or_of_another_schema_makes_none(url, tmp_path):
    head = heads.Head(HOST, 5, "a" * 64, NOW, "here")
    with pytest.raises(Unavailable):
        store_writer.add_head(url, head)
    assert list(tmp_path.glob("store*")) == []
    with open_store(url).transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="schema 9999"):
        store_writer.add_head(url, head)


def test_root_who_gives_the_new_ledger_a_new_name_is_found_too(url, node):
    for _ in range(5):
        node.record()
    shutil.rmtree(node.directory)
    node.directory.mkdir(mode=0o700)
    for _ in range(7):
        node.record(heard=False)
    node.collect(url)
    (fault,) = node.prove(url).faults
    assert fault.what.startswith("line 1 is not the one")


def test_root_who_cuts_the_end_off_before_it_was_collected_is_found(url, node):
    for _ in range(5):
        node.record()
    current = node.directory / "current.jsonl"
    current.write_bytes(b"".join(current.read_bytes().splitlines(keepends=True)[:3]))
    node.collect(url)
    # Nothing was written since: it could be that the rest is only not collected yet.
    node.syslog = [line.replace(b"2026-11-22", b"2099-11-22") for line in node.syslog]
    verdict = node.prove(url)
    assert (verdict.faults, verdict.pending) == ([], {HOST: 2})
    node.syslog = [line.replace(b"2099-11-22", b"2001-11-22") for line in node.syslog]
    with open_store(url).transaction() as connection:
        connection.execute(text("DELETE FROM heads"))
    (fault,) = node.prove(url).faults
    assert fault.what.startswith("line 4 is gone, and later ones are there")


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE records SET body = replace(body, 'Anna', 'Bela') WHERE seq = 3", "line 3: the record was altered"),
        ("DELETE FROM records WHERE seq = 3", "the line after 2 is 4: what stood between them is gone"),
        ("DELETE FROM records WHERE seq = 1", "the line after 0 is 2: what stood between them is gone"),
        ("DELETE FROM records WHERE seq = 6", "it ends with 5, which is not the line that was collected last"),
        ("UPDATE records SET hash = digest WHERE seq = 3", "line 3: the chain is broken before it"),
    ],
)
def test_a_row_altered_in_the_store_itself_is_found_at_its_line(url, node, statement, found):
    for _ in range(6):
        node.record()
    node.collect(url)
    with open_store(url).transaction() as connection:
        connection.execute(text(statement))
    assert prove.Fault(f"ledger:{ledger.identifier(node.directory)}", found) in node.prove(url).faults


def test_what_was_wrong_when_it_was_collected_is_said_again(url, node):
    for _ in range(3):
        node.record()
    current = node.directory / "current.jsonl"
    current.write_bytes(current.read_bytes().replace(b"Anna", b"Bela", 1))
    node.collect(url)
    assert [fault.what for fault in node.prove(url).faults] == ["current.jsonl:1: the record was altered"]


def test_nodes_do_not_answer_for_each_other(url, node, tmp_path):
    other = Node(tmp_path / "other")
    for _ in range(3):
        node.record()
        other.record()
    other.collect(url)
    node.syslog = [line.replace(HOST.encode(), b"wn2.example.org", 1) for line in node.syslog]
    verdict = node.prove(url)
    assert (verdict.faults, verdict.pending) == ([], {"wn2": 3})


def test_a_store_of_an_older_version_is_refused_until_it_is_upgraded_and_then_says_the_same(url, node):
    engine = engine_of(url, write=True)
    row = {"ledger": "L" * 32, "seq": 1, "hash": "h", "digest": "d", "time": NOW, "node": "n1.example.org"}
    with engine.begin() as connection:
        migrate(connection, "0001")
        columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
        connection.execute(text(f"INSERT INTO records ({columns}) VALUES ({values})"), row)  # noqa: S608
    if url.startswith("sqlite"):
        store_file.path_of(url).chmod(0o600)
    for opening in (open_store, open_to_read):
        with pytest.raises(ConfigurationError, match="has schema 1") as caught:
            opening(url)
        assert caught.value.hint == "run gridwarden store upgrade"
    before, after = upgrade(open_any(url, write=True, rehearse=True))
    assert (before, after) == (1, store_file.SCHEMA_VERSION)
    assert upgrade(open_any(url, write=True)) == (before, after)
    with open_to_read(url).transaction() as connection:
        (stored,) = connection.execute(text("SELECT ledger, seq, time, altered FROM records"))
        assert tuple(stored) == (row["ledger"], 1, NOW, None)
        assert tuple(connection.execute(text("SELECT * FROM ledger_nodes")).one()) == (row["ledger"], "n1")
