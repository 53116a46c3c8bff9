"""Ledger and sacct into a real store: nothing lost, nothing twice, whatever happens meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from gridwarden import chain, ledger
from gridwarden.accounting import collect, job_rows, ledger_batches, sacct, sacct_rows, schema, store_file
from gridwarden.accounting.batch_records import Job, Step
from gridwarden.accounting.report import BY, report
from gridwarden.accounting.sacct_rows import FIELDS, SEPARATOR
from gridwarden.accounting.store import open_store, open_to_read
from gridwarden.errors import ConfigurationError, Unavailable
from gridwarden.times import Range

RECORDED = Path(__file__).parent.parent / "data/sacct-24.11.txt"
OLD = RECORDED.with_name("sacct-22.05.txt")  # recorded without Restarts, which that version does not have
ANNA = "/DC=org/DC=example/CN=Anna"
NOW = 1_795_301_600_000_000


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "ledger"
    directory.mkdir(mode=0o700)
    return directory


def quiet(source: str, rows: int) -> None:
    pass


def from_ledger(url, directory, **options):
    return collect.collect_ledger(open_store(url), directory, now=NOW, progress=quiet, **options)


def from_sacct(url, lines, since=None):
    return collect.collect_slurm(open_store(url), lines, "site", since=since, now=NOW, progress=quiet)


def start(directory, job: str, account: str = "cms001", subject: str = ANNA, lease: str = "a" * 32) -> None:
    fields = {
        "batch": "slurm", "job": job, "restart": 0, "account": account, "uid": 2101, "lease": lease, "scheme": "x509",
        "subject": subject, "vo": "cms", "stamp": lease, "evidence": "holder+link", "batch_start": None,
    }  # fmt: skip
    ledger.append(directory, "job_start", fields, node="n1", cluster="site")


def end(directory, job: str) -> None:
    fields = {"batch": "slurm", "job": job, "restart": 0, "account": "cms001", "uid": 2101, "lease": "a" * 32,
              "exit_code": "0:0"}  # fmt: skip
    ledger.append(directory, "job_end", fields, node="n1", cluster="site")


def rows(url: str, query: str) -> list[tuple]:
    with open_to_read(url).transaction() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def dump(url: str) -> list[str]:
    """Every row of every table."""
    with open_to_read(url).transaction() as connection:
        tables = schema.metadata.sorted_tables
        return sorted(f"{table.name}: {row!r}" for table in tables for row in connection.execute(table.select()))


def test_every_record_is_in_the_store_before_the_ledger_is_told_so(url, directory):
    for number in range(5):
        start(directory, str(number))
    end(directory, "3")
    found = from_ledger(url, directory)
    assert (found.rows, found.fresh_faults, found.known_faults) == (6, [], 0)
    assert chain.acknowledged(directory) == 6
    stored = [json.loads(body) for (body,) in rows(url, "SELECT body FROM records ORDER BY seq")]
    assert stored == [line.body for line in chain.read(directory)]
    assert rows(url, 'SELECT job FROM job_runs WHERE "end" IS NOT NULL') == [("3",)]


def test_collecting_again_changes_nothing(url, directory):
    start(directory, "1")
    from_ledger(url, directory)
    from_sacct(url, lambda _: RECORDED.read_text().splitlines())
    first = dump(url)
    assert from_ledger(url, directory).rows == 0
    from_sacct(url, lambda _: RECORDED.read_text().splitlines(), since=0)
    assert dump(url) == first


def test_what_is_appended_later_is_collected_later(url, directory):
    start(directory, "1")
    from_ledger(url, directory)
    end(directory, "1")
    assert from_ledger(url, directory).rows == 1
    assert rows(url, "SELECT job, ended_by FROM job_runs") == [("1", "job_end")]


def test_a_collect_killed_at_any_moment_loses_and_repeats_nothing(url, directory, tmp_path, monkeypatch):
    for number in range(300):
        start(directory, str(number))
    program = f"""
from gridwarden.accounting import collect, ledger_batches
from gridwarden.accounting.store import open_store
from pathlib import Path
ledger_batches.BATCH_LINES = 7
collect.collect_ledger(open_store({url!r}), Path({str(directory)!r}), now={NOW}, progress=lambda *_: print(flush=True))
"""
    for killed_after in (1, 3, 10):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        for _ in range(killed_after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        stored = rows(url, "SELECT count(*), max(seq) FROM records")[0]
        assert stored[0] == stored[1]
        assert chain.acknowledged(directory) <= stored[0]
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    undisturbed = f"sqlite:///{tmp_path}/other.sqlite"
    from_ledger(undisturbed, directory)
    assert dump(url) == dump(undisturbed)


def test_two_collectors_at_once_give_one_store(url, directory, tmp_path):
    for number in range(200):
        start(directory, str(number))
    open_store(url)
    program = f"""
from gridwarden.accounting import collect, ledger_batches
from gridwarden.accounting.store import open_store
from pathlib import Path
ledger_batches.BATCH_LINES = 5
collect.collect_ledger(open_store({url!r}), Path({str(directory)!r}), now={NOW}, progress=lambda *_: None)
"""
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    undisturbed = f"sqlite:///{tmp_path}/other.sqlite"
    from_ledger(undisturbed, directory)
    assert dump(url) == dump(undisturbed)


def test_records_of_any_length_come_in_pieces_that_memory_holds(url, directory, monkeypatch):
    monkeypatch.setattr(ledger_batches, "BATCH_BYTES", 2000)
    for number in range(10):
        start(directory, str(number), subject=f"{ANNA}{'a' * 500}")
    progress = []
    collect.collect_ledger(open_store(url), directory, now=NOW, progress=lambda _, taken: progress.append(taken))
    assert progress == [3, 6, 9, 10]
    assert rows(url, "SELECT count(*) FROM job_runs") == [(10,)]


def test_a_ledger_ten_times_as_long_takes_no_more_memory(tmp_path):
    program = """
import resource, sys
from pathlib import Path
from gridwarden.accounting import collect, engines, ledger_batches
from gridwarden.accounting.store import open_store
ledger_batches.BATCH_LINES = 500
engines.CACHE_KIB = 1000
directory = Path(sys.argv[1])
found = collect.collect_ledger(
    open_store(f"sqlite:///{directory}/store.sqlite"), directory, now=0, progress=lambda *_: None
)
# Not ru_maxrss for this process: it would begin with the memory of the process that started it.
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(found.rows, peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    used = []
    for lines in (1_500, 15_000):
        directory = tmp_path / str(lines)
        directory.mkdir(mode=0o700)
        (directory / "lock").touch(mode=0o600)
        (directory / "current.jsonl").touch(mode=0o600)
        seq, head, written = 0, ledger.FIRST, []
        while seq < lines:
            body = b'{"kind":"observation","time":1,"boot":"","clock":1,"node":"n","name":"%s"}' % (b"x" * 500)
            line, seq, head = ledger._line(head, seq + 1, body)
            written.append(line)
        (directory / "current.jsonl").write_bytes(b"".join(written))
        said = subprocess.run([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE, check=True)
        stored, *most = map(int, said.stdout.split())
        assert stored == lines
        used.append(most)
    assert all(long < short + 4096 for short, long in zip(*used, strict=True)), used  # KiB; the records are 8 MB more


def test_an_altered_line_is_reported_and_its_ledger_kept(url, directory):
    for number in range(4):
        start(directory, str(number))
    current = directory / "current.jsonl"
    lines = current.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"Anna", b"Bela")
    current.write_bytes(b"".join(lines))
    found = from_ledger(url, directory)
    assert len(found.fresh_faults) == 1
    assert "current.jsonl:2" in found.fresh_faults[0]
    assert found.rows == 4
    assert chain.acknowledged(directory) == 0
    start(directory, "9")
    again = from_ledger(url, directory)
    assert (again.rows, again.fresh_faults, again.known_faults) == (1, [], 1)
    assert chain.acknowledged(directory) == 0
    assert rows(url, "SELECT count(*) FROM job_runs WHERE subject LIKE '%Bela%'") == [(0,)]


def test_a_ledger_rewritten_after_it_was_collected_is_noticed(url, directory):
    start(directory, "1")
    start(directory, "2")
    from_ledger(url, directory)
    (directory / "current.jsonl").unlink()
    for job in ("1", "3", "4"):
        start(directory, job)
    found = from_ledger(url, directory)
    assert "rewritten" in found.fresh_faults[0]
    assert found.rows == 1
    assert rows(url, "SELECT job FROM job_runs ORDER BY seq") == [("1",), ("2",), ("4",)]


def test_a_ledger_cut_short_after_it_was_collected_is_noticed(url, directory):
    for job in ("1", "2", "3"):
        start(directory, job)
    from_ledger(url, directory)
    current = directory / "current.jsonl"
    current.write_bytes(b"".join(current.read_bytes().splitlines(keepends=True)[:2]))
    assert "rewritten" in from_ledger(url, directory).fresh_faults[0]


def test_a_line_that_a_crash_left_torn_is_a_gap_and_no_fault(url, directory):
    start(directory, "1")
    with (directory / "current.jsonl").open("ab") as file:
        file.write(b'{"seq":2,"ha')
    found = from_ledger(url, directory)
    assert (found.rows, found.fresh_faults) == (1, [])
    start(directory, "2")
    found = from_ledger(url, directory)
    assert (found.rows, found.fresh_faults) == (2, [])
    assert rows(url, "SELECT kind FROM records ORDER BY seq") == [("job_start",), ("gap",), ("job_start",)]
    assert chain.acknowledged(directory) == 3


def test_a_dry_run_writes_nothing(url, directory):
    start(directory, "1")
    store = open_store(url, rehearse=True)
    found = collect.collect_ledger(store, directory, now=NOW, progress=quiet, dry_run=True)
    assert found.rows == 1
    with pytest.raises(Unavailable, match=r"no store|is empty"):
        open_to_read(url)
    from_ledger(url, directory)
    before = dump(url)
    start(directory, "2")
    store = open_store(url, rehearse=True)
    assert collect.collect_ledger(store, directory, now=NOW, progress=quiet, dry_run=True).rows == 1
    assert dump(url) == before
    assert chain.acknowledged(directory) == 1


def test_odd_rows_of_sacct_are_counted_and_shown_once(url):
    found = from_sacct(url, lambda _: [*RECORDED.read_text().splitlines(), "\udcff\x1b[2J"])
    assert len(found.fresh_faults) == 2
    assert found.rows == len(RECORDED.read_text().splitlines()) + 1
    again = from_sacct(url, lambda _: RECORDED.read_text().splitlines())
    assert (again.fresh_faults, again.known_faults) == ([], 2)


def test_a_job_that_was_running_is_brought_up_to_date(url):
    lines = RECORDED.read_text().splitlines()
    from_sacct(url, lambda _: lines)
    asked = []

    def later(begin):
        asked.append(begin)
        values = dict(zip(FIELDS, lines[-2].split(SEPARATOR), strict=True))
        ended = {**values, "State": "COMPLETED", "End": "1795301590", "TotalCPU": "00:42.000"}
        return [SEPARATOR.join(ended.values())]

    from_sacct(url, later)
    assert asked[0] <= 1795301542_000000
    assert rows(url, "SELECT state, total_cpu FROM batch_jobs WHERE job = '14'") == [("COMPLETED", 42_000_000)]


def test_a_copy_of_the_accounting_that_says_less_takes_nothing_back_whenever_it_is_imported(url):
    """Made while the job ran; by sacct --json of 22.05, which names no user; by another source, in whole seconds."""
    begin = NOW - 100_000_000
    ended = Job("slurm", "site", "7", begin, 0, "cms001", 1, begin, NOW, "COMPLETED", "0:0", 0, 0, 9_123_000, "n1", "s")
    batch = Step(*ended[:5], "batch", begin, NOW, "COMPLETED", 0, 0, 9_123_000, "n1")
    running = {"end": None, "state": "RUNNING", "total_cpu": 0}
    said = [
        (ended, batch),
        (ended._replace(**running), batch._replace(**running)),
        (ended._replace(account="", total_cpu=9_123_456), batch),
        (ended._replace(total_cpu=9_000_000), batch._replace(total_cpu=9_000_000)),
    ]
    for order in itertools.permutations(said):
        with open_store(url).transaction() as connection:
            for table in (schema.batch_jobs, schema.batch_steps):
                connection.execute(table.delete())
            for job, step in order:
                job_rows.put(connection, [job], [step])
            assert [Job(*row) for row in connection.execute(schema.batch_jobs.select())] == [ended]
            assert [Step(*row) for row in connection.execute(schema.batch_steps.select())] == [batch]


def test_sacct_failing_half_way_does_not_move_the_position(url):
    def failing(_):
        yield from RECORDED.read_text().splitlines()
        raise Unavailable("sacct: it broke")

    with pytest.raises(Unavailable):
        from_sacct(url, failing)
    asked = []
    from_sacct(url, lambda begin: asked.append(begin) or [])
    assert asked == [sacct.EARLIEST]


def test_a_first_collect_of_recent_jobs_does_not_hide_the_older_ones(url):
    asked = []
    from_sacct(url, lambda _: [], since=NOW - 3600_000_000)
    from_sacct(url, lambda begin: asked.append(begin) or [])
    from_sacct(url, lambda begin: asked.append(begin) or [])
    assert asked == [sacct.EARLIEST, NOW - collect.OVERLAP]


def test_a_clock_that_was_ahead_does_not_hide_the_jobs_after_it(url):
    begins = []

    def lines(begin):
        begins.append(begin)
        return []

    store = open_store(url)
    for moment in (NOW + 4 * 365 * 86_400_000_000, NOW, NOW + 1):
        collect.collect_slurm(store, lines, "site", since=None, now=moment, progress=quiet)
    assert begins == [collect.sacct.EARLIEST, collect.sacct.EARLIEST, NOW - collect.OVERLAP]


def test_bytes_that_no_database_takes_stop_no_collect(url, directory):
    start(directory, "7", subject="/CN=\udcff")
    from_ledger(url, directory)
    assert rows(url, "SELECT subject FROM job_runs") == [("/CN=\\udcff",)]
    odd = RECORDED.read_text().splitlines()[0] + "\udcff"
    from_sacct(url, lambda _: [odd])
    assert rows(url, "SELECT count(*) FROM batch_jobs") == [(1,)]


def test_the_report_adds_up_to_sacct(url):
    from_sacct(url, lambda _: RECORDED.read_text().splitlines())
    found = report(open_to_read(url), Range(0, NOW), BY)
    ended = rows(url, 'SELECT sum(total_cpu) FROM batch_jobs WHERE "end" IS NOT NULL')[0][0]
    sums = {row.row: row.cpu for row in found.rows}
    assert sums["total"] == ended == 1_312_000 + 2_000 + 1_004_000 + 1_000 * 5 + 11_000 + 104_000 + 17_000
    assert sums["unattributed"] + sums["batch_discrepancy"] == ended
    assert found.unfinished == 2


def test_nobody_else_can_read_the_store(sqlite_url, directory):
    url = sqlite_url
    start(directory, "1")
    from_ledger(url, directory)
    path = store_file.path_of(url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="0640"):
        open_store(url)
    path.unlink()
    path.symlink_to("/dev/null")
    with pytest.raises(ConfigurationError, match="regular"):
        open_store(url)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_is_one_clear_line_and_nothing_is_lost(directory, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(small)], check=True)
    try:
        for number in range(400):
            start(directory, str(number))
        url = f"sqlite:///{small}/store.sqlite"
        with pytest.raises(Unavailable, match=r"full|disk I/O") as caught:
            from_ledger(url, directory)
        assert "\n" not in f"{caught.value}{caught.value.hint}"
        assert "free space" in caught.value.hint
        assert chain.acknowledged(directory) == 0
        subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
        from_ledger(url, directory)
        assert rows(url, "SELECT count(*) FROM records") == [(400,)]
        assert chain.acknowledged(directory) == 400
    finally:
        subprocess.run(["umount", str(small)], check=True)


def programs(tmp_path, script: str, fields: str = "true") -> Path:
    program = tmp_path / "sacct"
    program.write_text(f'#!/bin/sh\n[ "$1" = --helpformat ] && exec {fields}\n{script}\n')
    program.chmod(0o755)
    return tmp_path


def test_sacct_is_asked_in_plain_words_and_a_clean_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SACCT_FORMAT", "all")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    where = programs(tmp_path, 'for word in "$@"; do echo "$word"; done; env | sort')
    lines = list(sacct.run(where, 1_795_301_542_000_000))
    assert "--starttime=uts1795301542" in lines
    assert "--duplicates" in lines
    assert "SLURM_TIME_FORMAT=%s" in lines
    assert "TZ=UTC" in lines
    assert not any(line.startswith("SACCT_FORMAT") for line in lines)


def test_the_sacct_of_slurm_22_which_counts_no_restarts_is_not_asked_for_them(tmp_path):
    known = [field for field in FIELDS if field != "Restarts"]
    (tmp_path / "help").write_text(f"Account      AllocCPUS\n{' '.join(known)}\n")
    where = programs(tmp_path, f'for last in "$@"; do :; done; echo "$last"; cat {OLD}', f"cat {tmp_path}/help")
    asked, *rows = sacct.run(where, 0)
    assert asked == f"--format={','.join(known)}"
    jobs = [row for row in sacct_rows.parse(rows) if isinstance(row, Job)]
    assert {job.job: (job.account, job.state, job.exit_code, job.total_cpu) for job in jobs} == {
        "2": ("bob", "REQUEUED", "0:0", 1_000),
        "3": ("bob", "FAILED", "7:0", 1_000),
        "4": ("alice", "COMPLETED", "0:0", 23_000),
        "5": ("alice", "COMPLETED", "0:0", 0),
        "7": ("alice", "COMPLETED", "0:0", 299_000),
        "1": ("alice", "COMPLETED", "0:0", 298_000),
        "8": ("alice", "FAILED", "0:9", 1_000),
    }


def test_sacct_that_fails_or_is_missing_or_hangs_is_said_in_one_line(tmp_path):
    run = sacct.run
    with pytest.raises(Unavailable, match="no such file"):
        list(run(tmp_path, 0))
    with pytest.raises(Unavailable, match="slurmdbd is down"):
        list(run(programs(tmp_path, "echo row; echo 'sacct: error: slurmdbd is down' >&2; exit 1"), 0))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="did not finish"):
        list(run(programs(tmp_path, "exec sleep 600"), 0, seconds=1))
    assert time.monotonic() - began < 300


def test_leaving_sacct_half_read_leaves_no_process(tmp_path):
    lines = sacct.run(programs(tmp_path, "echo $$; exec sleep 600"), 0)
    pid = int(next(lines))
    lines.close()
    assert not Path(f"/proc/{pid}").exists()
