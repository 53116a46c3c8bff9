"""Process accounting into a real store: every record once, whatever is done to the files and to the import."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select, text

from gridwarden.accounting import expire, imports, pacct, pacct_import, partitions, processes, schema, store_file
from gridwarden.accounting.engines import engine_of
from gridwarden.accounting.migrate import migrate
from gridwarden.accounting.retention import Cutoffs
from gridwarden.accounting.store import open_any, open_store, open_to_read, upgrade
from tests.killing import run_after_kills

NOW = 1_795_400_000_000_000
NOBODY = frozenset[int]()


def records(first: int, last: int, *, apart: float = 0.01) -> bytes:
    """Records that a kernel could have written, no two alike, so many seconds apart."""
    begin = 1_795_000_000 - (0 if apart < 1 else last * int(apart))
    return b"".join(
        pacct.RECORD.pack(0, 3, 0, 0, 45000, 100, 1000 + n, 1, begin + int(n * apart), n % 50, n % 90, n % 7, b"work")
        for n in range(first, last)
    )


def take(url: str, *paths: Path, node: str = "wn042", dry_run: bool = False) -> list[imports.Imported]:
    store = open_store(url, rehearse=dry_run)
    found, failed = imports.import_files(
        store, paths, NOBODY, now=NOW, progress=lambda *_: None, node=node, dry_run=dry_run
    )
    assert failed == []
    return found


def rows(url: str) -> list[tuple]:
    with open_to_read(url).transaction() as connection:
        return sorted(map(tuple, connection.execute(select(schema.processes))))


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o640)
    return path


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacct_import, "PIECE", 64 * 70)


def test_what_the_kernel_itself_wrote_is_read(sqlite_url, tmp_path):
    """In a pid namespace of its own, whose accounting ends with it: this machine's stays as it is."""
    path = tmp_path / "pacct"
    program = f"""
import contextlib, ctypes, json, os, time
open({str(path)!r}, "wb").close()
assert ctypes.CDLL(None, use_errno=True).acct({str(path)!r}.encode()) == 0
with contextlib.suppress(OSError):
    # The kernel counts whoever it finds at a tick: of one that shares its CPU, hardly more than by chance.
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
found = []
for number in range(20):
    pid = os.fork()
    if pid == 0:
        os.setgid(100 + number)
        os.setuid(45000 + number)
        end = time.process_time() + number / 50
        while time.process_time() < end:
            pass
        os._exit(number) if number % 2 else os.kill(os.getpid(), 9)
    _, status, used = os.wait4(pid, 0)
    found.append([pid, os.getpid(), 45000 + number, 100 + number, status, used.ru_utime + used.ru_stime])
print(json.dumps(found))
"""
    ran = subprocess.run(["unshare", "--pid", "--fork", sys.executable, "-c", program], capture_output=True, check=True)
    assert take(sqlite_url, path)[0].counts.quarantined == 0
    by_pid = {row[1]: row for row in rows(sqlite_url)}
    found, counted = json.loads(ran.stdout), 0.0
    for pid, parent, uid, gid, status, used in found:
        node, _, start, end, exact, ppid, its_uid, its_gid, command, user, system, its_status, *_ = by_pid[pid]
        assert (node, ppid, its_uid, its_gid, its_status, exact) == ("wn042", parent, uid, gid, status, 0)
        assert command.startswith("python")
        assert abs(start - path.stat().st_mtime_ns // 1000) < 60_000_000
        assert start <= end
        assert abs((user + system) / 1e6 - used) < 0.05 + used / 4, "the kernel counts ticks here, and wait4 what ran"
        counted += (user + system) / 1e6
    assert counted == pytest.approx(sum(used for *_, used in found), rel=0.1)


def test_every_record_becomes_a_row_once(url, tmp_path):
    path = put(tmp_path / "pacct", records(0, 1000))
    (found,) = take(url, path)
    assert found.counts == found.whole == imports.Counts(1000, 1000, 0, 0)
    assert len(rows(url)) == 1000
    before = rows(url)
    assert take(url, path) == []
    os.utime(path)
    assert take(url, path)[0].counts == imports.Counts()
    assert rows(url) == before


def test_a_file_that_grows_rotates_and_is_compressed_goes_on_where_it_was(url, tmp_path):
    path = put(tmp_path / "pacct", records(0, 150) + records(150, 151)[:40])
    (found,) = take(url, path)
    assert (found.counts.entries, found.unfinished) == (150, True)
    put(path, records(0, 333))
    path.rename(tmp_path / "pacct.0")
    fresh = put(tmp_path / "pacct", records(333, 400))
    assert [each.counts.records for each in take(url, fresh, tmp_path / "pacct.0")] == [67, 183]
    for number, opener in enumerate((gzip.open, bz2.open, lzma.open)):
        packed = tmp_path / f"pacct.{number + 1}.packed"
        with opener(packed, "wb") as file:
            file.write(records(0, 333) + records(400 + number, 401 + number))
        packed.chmod(0o640)
        assert take(url, packed)[0].counts.records == 1
    assert len(rows(url)) == 403


def test_files_that_overlap_give_each_process_once(url, tmp_path):
    take(url, put(tmp_path / "pacct", records(0, 300)))
    (found,) = take(url, put(tmp_path / "all", records(200, 500)))
    assert found.counts == imports.Counts(300, 200, 0, 100)
    assert found.ignored == {pacct_import.KNOWN: 100}
    assert len(rows(url)) == 500


def test_the_same_file_of_two_machines_is_of_both(url, tmp_path):
    path = put(tmp_path / "pacct", records(0, 10))
    take(url, path, node="wn001")
    os.utime(path)
    take(url, path, node="wn002")
    assert {row[0] for row in rows(url)} == {"wn001", "wn002"}


def test_what_is_damaged_is_quarantined_and_stops_nothing(url, tmp_path):
    data = records(0, 60) + b"torn by a full disk".ljust(64) + records(60, 190) + bytes(640) + records(190, 300)
    (found,) = take(url, put(tmp_path / "pacct", data))
    assert found.counts == imports.Counts(300 + 1 + 10, 300, 11, 0)
    assert len(found.fresh_faults) == 2
    assert b"torn by".hex() in found.fresh_faults[0]
    assert len(rows(url)) == 300


def test_a_name_of_a_machine_is_any_bytes(url, tmp_path):
    take(url, put(tmp_path / "pacct", records(0, 3)), node="wn\udcff\0" + "x" * 500)
    assert {row[0][:7] for row in rows(url)} == {"wn\\udcf"}


def test_two_imports_of_one_file_at_once_give_each_process_once(url, tmp_path):
    path = put(tmp_path / "pacct", records(0, 3000))
    open_store(url)
    program = f"""
from pathlib import Path
from gridwarden.accounting import imports, pacct_import
from gridwarden.accounting.store import open_store
pacct_import.PIECE = 64 * 70
imports.import_files(open_store({url!r}), [Path({str(path)!r})], frozenset(), now=1, progress=lambda *_: None, node="n")
"""
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    os.utime(path)
    take(url, path, node="n")
    assert len(rows(url)) == 3000


def test_a_full_disk_in_the_midst_loses_nothing(sqlite_url, tmp_path):
    """On a file system of one MiB, in a mount namespace of its own."""
    path = put(tmp_path / "pacct", records(0, 20_000))
    small = tmp_path / "small"
    small.mkdir()
    program = f"""
import os, sys
from pathlib import Path
from gridwarden.accounting import imports
from gridwarden.accounting.store import open_store
assert os.system("mount -t tmpfs -o size=1500k,mode=700 none {small}") == 0
url = "sqlite:///{small}/store.sqlite"
take = lambda: imports.import_files(open_store(url), [Path({str(path)!r})], frozenset(), now=1, progress=lambda *_: None, node="n")
found, (error,) = take()
assert "full" in str(error), error
assert os.system("mount -o remount,size=64m {small}") == 0
(found,), failed = take()
assert failed == [], failed
assert (found.whole.entries, found.whole.records) == (20_000, 20_000), found
"""
    subprocess.run(["unshare", "--mount", sys.executable, "-c", program], check=True)


def test_processes_go_when_they_have_come_to_their_age(url, tmp_path):
    take(url, put(tmp_path / "pacct", records(0, 1000)))
    half = 1_795_000_005_000_000
    expire.expire(open_store(url), Cutoffs(0, {"process": half}, None), None, now=NOW, progress=lambda _: None)
    kept = rows(url)
    assert 0 < len(kept) < 1000
    assert all(row[3] >= half for row in kept)


def test_processes_are_kept_by_month_on_postgresql_and_a_month_goes_whole(database, tmp_path):
    spread = records(0, 1000, apart=80_000)  # over two and a half years
    take(database, put(tmp_path / "pacct", spread))
    store = open_store(database)
    with store.transaction() as connection:
        months = partitions.existing(connection, "processes")
        assert connection.scalar(text("SELECT count(*) FROM processes_other")) == 0
    assert len(months) > 25
    half = sorted(row[3] for row in rows(database))[500]
    expire.expire(store, Cutoffs(0, {"process": half}, None), None, now=NOW, progress=lambda _: None)
    with store.transaction() as connection:
        assert partitions.existing(connection, "processes") == [
            month for month in months if month >= partitions.month_of(half)
        ]
    assert len(rows(database)) == 500


def test_processes_of_an_older_store_come_to_their_months_and_who_read_them_still_does(url):
    engine = engine_of(url, write=True)
    month = 30 * 86_400_000_000
    begun = 1_577_880_000_000_000  # the first of January 2020
    with engine.begin() as connection:
        migrate(connection, "0006")
        if not url.startswith("sqlite"):
            connection.execute(text("GRANT SELECT ON processes, processes_v1 TO PUBLIC"))
            connection.execute(text("CREATE VIEW of_a_site AS SELECT * FROM processes_v1"))
        for number, end in enumerate([begun + each * month for each in range(3)] + [2**62, -(2**62), 0]):
            values = f"'n1', {number}, 0, {end}, 0, 1, 2000, 100, 'sh', 1, 2, 0"
            names = 'node, pid, start, "end", exact, parent, uid, gid, command, user_cpu, system_cpu, status'
            connection.execute(text(f"INSERT INTO processes ({names}) VALUES ({values})"))  # noqa: S608
        before = sorted(map(tuple, connection.execute(text("SELECT * FROM processes"))))
    if url.startswith("sqlite"):
        store_file.path_of(url).chmod(0o600)
    assert upgrade(open_any(url, write=True)) == (6, store_file.SCHEMA_VERSION)
    assert rows(url) == before
    store = open_store(url)
    with store.transaction() as connection:
        assert connection.scalar(text("SELECT count(*) FROM processes_v1 WHERE command = 'sh'")) == 6
        if store.partitioned:
            assert partitions.existing(connection, "processes") == [(2020, 1), (2020, 3)]
            assert connection.scalar(text("SELECT count(*) FROM processes_2020_01")) == 2
            assert connection.scalar(text("SELECT count(*) FROM of_a_site")) == 6
            assert connection.scalar(text("SELECT has_table_privilege('pg_monitor', 'processes', 'SELECT')"))
            assert connection.scalar(text("SELECT has_table_privilege('pg_monitor', 'processes_v1', 'SELECT')"))
    with store.transaction() as connection:
        again = [("n1", number, 0, begun, 1, 2000, 100, "sh", 1, 2, 0) for number in (0, 9)]
        assert processes.put(connection, processes.OF_PACCT, again) == 1


def test_a_dry_run_changes_nothing(url, tmp_path):
    path = put(tmp_path / "pacct", records(0, 500))
    take(url, put(tmp_path / "first", records(900, 901)))
    before = rows(url)
    assert take(url, path, dry_run=True)[0].counts.records == 500
    assert rows(url) == before


def test_an_import_killed_at_any_moment_loses_and_doubles_nothing(sqlite_url, tmp_path):
    path = put(tmp_path / "pacct", records(0, 2000))
    program = f"""
import sys
from pathlib import Path
from gridwarden.accounting import imports, pacct_import
from gridwarden.accounting.store import open_store
pacct_import.PIECE = 64 * 70
tell = lambda *_: (print(flush=True), sys.stdin.readline())
imports.import_files(open_store({sqlite_url!r}), [Path({str(path)!r})], frozenset(), now={NOW}, progress=tell, node="n")
"""
    run_after_kills(program, (1, 3, 7))
    assert len(rows(sqlite_url)) == 2000
    with open_to_read(sqlite_url).transaction() as connection:
        counts = connection.execute(select(schema.imported_files)).one()
    assert (counts.entries, counts.records, counts.quarantined, counts.ignored) == (2000, 2000, 0, 0)
