"""Batch systems' own files into a real store: every line once, whatever is done to the files and to the import."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from gridwarden import ledger
from gridwarden.accounting import imports, log_files, schema
from gridwarden.accounting.collect import collect_slurm
from gridwarden.accounting.report import BY, report
from gridwarden.accounting.store import open_store, open_to_read
from gridwarden.errors import ConfigurationError, GridwardenError, Unavailable
from gridwarden.times import Range
from tests.killing import run_after_kills

DATA = Path(__file__).parent.parent / "data"
LINES = (DATA / "openpbs-23.06.log").read_bytes().splitlines(keepends=True)
CONDOR = ("history", "epochs", "history.2.0")
SLURM = ("22.05", "24.11")
NOW = 1_795_400_000_000_000
NOBODY = frozenset[int]()
IN_FULL = imports.Counts(entries=172, records=44, quarantined=0, ignored=128)


def quiet(path: str, at: int) -> None:
    pass


def take(url: str, *paths: Path, dry_run: bool = False, owners: frozenset[int] = NOBODY) -> list[imports.Imported]:
    store = open_store(url, rehearse=dry_run)
    found, failed = imports.import_files(store, paths, owners, now=NOW, progress=quiet, dry_run=dry_run)
    assert failed == []
    return found


def refused(url: str, path: Path, owners: frozenset[int] = NOBODY) -> GridwardenError:
    found, (error,) = imports.import_files(open_store(url), [path], owners, now=NOW, progress=quiet)
    assert found == []
    assert "\n" not in f"{error}{error.hint}"
    return error


def content(url: str) -> dict[str, list[tuple]]:
    """Everything that an import writes."""
    tables = (schema.batch_jobs, schema.batch_steps, schema.faults, schema.imported_files, schema.positions)
    with open_to_read(url).transaction() as connection:
        return {table.name: sorted(map(tuple, connection.execute(select(table))), key=repr) for table in tables}


def jobs(url: str) -> list[tuple]:
    return content(url)["batch_jobs"]


def count_faults(url: str) -> int:
    with open_to_read(url).transaction() as connection:
        return connection.scalar(select(func.count()).select_from(schema.faults)) or 0


def put(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    path.chmod(0o644)  # whatever the checkout's umask
    return path


def put_recorded(name: str, directory: Path) -> Path:
    return put(directory / name.rpartition("/")[2], (DATA / name).read_bytes())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return put(tmp_path / "20261121", *LINES)


def test_every_line_of_a_real_log_is_accounted_for(url, log):
    (found,) = take(url, log)
    assert found.counts == found.whole == IN_FULL
    assert sum(found.ignored.values()) == found.counts.ignored
    assert len(jobs(url)) == 44
    total = next(row.cpu for row in report(open_to_read(url), Range(0, NOW), BY).rows if row.row == "total")
    assert total == sum(job[13] for job in jobs(url)) == 1_264_000_000


def test_importing_again_changes_nothing(url, log):
    take(url, log)
    before = content(url)
    assert take(url, log) == []
    os.utime(log)  # it is read again, and there is nothing new
    (found,) = take(url, log)
    assert (found.counts, found.whole) == (imports.Counts(), IN_FULL)
    after = content(url)
    assert {**after, "imported_files": []} == {**before, "imported_files": []}


def test_files_that_overlap_give_the_same_jobs_in_any_order(sqlite_url, tmp_path, log):
    parts = [put(tmp_path / str(number), *LINES[start : start + 80]) for number, start in enumerate((0, 40, 92, 100))]
    urls = [f"sqlite:///{tmp_path}/{name}.sqlite" for name in ("forwards", "backwards")]
    take(urls[0], *parts)
    take(urls[1], *reversed(parts), log)
    take(sqlite_url, log)
    assert jobs(urls[0]) == jobs(urls[1]) == jobs(sqlite_url)


@pytest.mark.parametrize("opener", [gzip.open, bz2.open, lzma.open])
def test_a_log_that_is_rotated_and_compressed_is_not_read_twice(sqlite_url, log, opener):
    put(log, *LINES[:100], b"odd\n")
    take(sqlite_url, log)
    compressed = log.with_name("20261121.old")
    with opener(compressed, "wb") as file:
        file.writelines([*LINES[:100], b"odd\n", *LINES[100:]])
    log.unlink()
    (found,) = take(sqlite_url, compressed)
    assert found.counts.entries == 72
    assert found.whole == imports.Counts(173, 44, 1, 128)
    assert count_faults(sqlite_url) == 1
    assert len(jobs(sqlite_url)) == 44


def test_a_growing_log_is_read_on_and_its_unfinished_line_waits(url, log):
    put(log, *LINES[:60], LINES[60][:30])
    (first,) = take(url, log)
    assert (first.counts.entries, first.unfinished) == (60, True)
    put(log, *LINES[:60], *LINES[60:])
    (second,) = take(url, log)
    assert (second.counts.entries, second.whole, second.unfinished) == (112, IN_FULL, False)
    assert count_faults(url) == 0


def test_a_log_that_was_rewritten_is_read_from_its_beginning(sqlite_url, log):
    put(log, *LINES[:100])
    take(sqlite_url, log)
    put(log, LINES[0], *LINES[50:])
    (found,) = take(sqlite_url, log)
    assert found.counts.entries == found.whole.entries == 123
    assert len(jobs(sqlite_url)) == 44


def test_an_odd_line_is_put_aside_with_its_file_its_number_and_why_and_stops_no_other(url, log):
    odd = [b"11/21/2026 21:00:00;E;7.pbshead;user=eve ctime=1\n", b"\xff\x1b[2J\x00\n", LINES[2][:80] + b"\n"]
    put(log, *LINES[:10], *odd, *LINES[10:])
    (found,) = take(url, log)
    assert found.counts == imports.Counts(175, 44, 3, 128)
    assert [fault.partition(":")[0] for fault in found.fresh_faults] == [
        f"{log}, line {number}" for number in (11, 12, 13)
    ]
    assert "start is missing" in found.fresh_faults[0]
    (again,) = take(url, put(log, *LINES[:10], *odd, *LINES[10:], b"odd\n"))
    assert (again.counts, len(again.fresh_faults)) == (imports.Counts(1, 0, 1, 0), 1)


def test_a_line_without_end_costs_no_memory_and_no_other_line(sqlite_url, log, monkeypatch):
    monkeypatch.setattr(log_files, "LONGEST_LINE", 4096)
    monkeypatch.setattr("gridwarden.accounting.file_formats.LONGEST_LINE", 4096)
    put(log, *LINES[:5], b"11/21/2026 21:00:00;E;7.a;user=" + b"x" * 5000 + LINES[2], *LINES[5:])
    (found,) = take(sqlite_url, log)
    assert found.counts == imports.Counts(173, 44, 1, 128)
    assert "longer than 4096 bytes" in found.fresh_faults[0]


def test_two_records_of_a_run_that_differ_are_not_two_runs_and_the_first_stays(url, log):
    again = next(line for line in LINES if b";E;2001." in line).replace(b"end=1795295979", b"end=1795299999")
    (found,) = take(url, put(log, *LINES, again))
    assert found.counts == imports.Counts(173, 44, 1, 128)
    assert "another record of that run" in found.fresh_faults[0]


def test_no_run_is_lost_when_an_operator_sets_the_count_of_runs_back_whichever_is_read_first(url, tmp_path):
    """As they do to let a job go that was held for too many runs: most of its CPU time is in a run after that."""
    first = next(line for line in LINES if b";E;2001." in line)
    begins = int(re.search(rb"start=(\d+)", first)[1])
    runs = []
    for later, minutes in ((0, 1), (3600, 50), (7200, 0)):
        fields = {
            b"start": b"%d" % (begins + later),
            b"end": b"%d" % (begins + later + 60),
            b"cput": b"00:%02d:00" % minutes,
        }
        runs.append(
            re.sub(rb"\b(start|end|cput)=[\d:]+", lambda found, of=fields: found[1] + b"=" + of[found[1]], first)
        )
    stores = []
    for number, order in enumerate((runs[::-1], runs, [runs[1], runs[0], runs[2]])):
        other = f"sqlite:///{tmp_path}/{number}.sqlite" if number else url
        for name, run in enumerate(order):
            take(other, put(tmp_path / f"{number}-{name}", run))
        (again,) = take(other, put(tmp_path / f"{number}-again", *order))
        assert again.counts == imports.Counts(3, 3, 0, 0)
        stores.append(jobs(other))
    assert all(store == stores[0] for store in stores)
    assert min(job[4] for job in stores[0]) == 0
    assert len({job[4] for job in stores[0]}) == 3
    assert sorted(job[13] for job in stores[0]) == [0, 60_000_000, 3000_000_000]


def test_a_compressed_log_that_was_cut_short_gives_what_it_has(sqlite_url, tmp_path):
    cut = gzip.compress(b"".join(random.Random(1).choices(LINES, k=20000)))
    path = put(tmp_path / "20261121.gz", cut[: len(cut) // 2])
    error = refused(sqlite_url, path)
    assert isinstance(error, Unavailable)
    assert str(path) in str(error)
    assert len(jobs(sqlite_url)) == 44
    whole = put(tmp_path / "20261122.gz", gzip.compress(b"".join(LINES)[:-7]))
    (found,) = take(sqlite_url, whole)
    assert found.counts == imports.Counts(172, 43, 1, 128)
    assert "cut short" in found.fresh_faults[0]


def test_an_import_killed_at_any_moment_goes_on_where_it_was(sqlite_url, tmp_path, log):
    put(log, *LINES, b"odd\n")
    program = f"""
import sys
from pathlib import Path
from gridwarden.accounting import imports
from gridwarden.accounting.store import open_store
imports.BATCH_ENTRIES = 5
tell = lambda *_: (print(flush=True), sys.stdin.readline())
imports.import_files(open_store({sqlite_url!r}), [Path({str(log)!r})], frozenset(), now={NOW}, progress=tell)
"""
    run_after_kills(program, (1, 2, 5, 9))
    undisturbed = f"sqlite:///{tmp_path}/other.sqlite"
    take(undisturbed, log)
    assert content(sqlite_url) == content(undisturbed)


def test_two_imports_of_one_file_at_once_give_one_store(url, tmp_path, log):
    open_store(url)
    program = f"""
from pathlib import Path
from gridwarden.accounting import imports
from gridwarden.accounting.store import open_store
imports.BATCH_ENTRIES = 5
store = open_store({url!r})
_, failed = imports.import_files(store, [Path({str(log)!r})], frozenset(), now={NOW}, progress=lambda *_: None)
assert all("another gridwarden collect" in str(error) for error in failed), failed
"""
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    take(url, log)
    undisturbed = f"sqlite:///{tmp_path}/other.sqlite"
    take(undisturbed, log)
    assert jobs(url) == jobs(undisturbed)
    assert content(url)["imported_files"] == content(undisturbed)["imported_files"]


def test_a_dry_run_counts_everything_and_writes_nothing(sqlite_url, log, monkeypatch):
    monkeypatch.setattr(imports, "BATCH_ENTRIES", 50)
    (found,) = take(sqlite_url, log, dry_run=True)
    assert found.counts == IN_FULL
    open_store(sqlite_url)
    before = content(sqlite_url)
    (found,) = take(sqlite_url, log, dry_run=True)
    assert found.counts == IN_FULL
    assert content(sqlite_url) == before


def test_the_history_of_htcondor_is_its_jobs_and_the_epochs_are_their_runs(url, tmp_path):
    for name in ("history", "epochs", "history.2.0"):
        put_recorded(f"htcondor-23.9/{name}", tmp_path)
    found = take(url, tmp_path / "history", tmp_path / "epochs", tmp_path / "history.2.0")
    assert [(each.entry, each.counts) for each in found] == [
        ("ad", imports.Counts(6, 6, 0, 0)),
        ("ad", imports.Counts(6, 6, 0, 0)),
        ("ad", imports.Counts(1, 1, 0, 0)),
    ]
    assert len(jobs(url)) == 6
    assert len(content(url)["batch_steps"]) == 6
    parts = {row.row: row.cpu for row in report(open_to_read(url), Range(0, NOW), BY).rows}
    assert parts == {"unattributed": 6_000000, "batch_discrepancy": 0, "total": 6_000000}


def test_a_history_that_is_being_written_is_not_taken_for_that_of_one_job(sqlite_url, tmp_path):
    whole = (DATA / "htcondor-23.9/history").read_bytes()
    path = put(tmp_path / "history", whole[:2000])
    (found,) = take(sqlite_url, path)
    assert (found.counts, found.unfinished) == (imports.Counts(), True)
    (found,) = take(sqlite_url, put(path, whole))
    assert (found.counts, found.unfinished) == (imports.Counts(6, 6, 0, 0), False)


def test_an_ad_too_large_is_put_aside_and_the_next_is_read(sqlite_url, tmp_path, monkeypatch):
    monkeypatch.setattr("gridwarden.accounting.file_formats.LARGEST_AD", 8192)
    whole = (DATA / "htcondor-23.9/history").read_bytes()
    (found,) = take(sqlite_url, put(tmp_path / "history", b'Note = "' + b"x" * 9000 + b'"\n', whole))
    assert found.counts == imports.Counts(6, 5, 1, 0)


@pytest.mark.parametrize(("most", "commits"), [(5000, 3), (1 << 20, 1)])
def test_entries_of_megabytes_are_taken_a_few_at_a_time(sqlite_url, tmp_path, monkeypatch, most, commits):
    path = put_recorded("htcondor-23.9/history", tmp_path)  # ads of 3 kB
    monkeypatch.setattr(imports, "BATCH_BYTES", most)
    reached: list[int] = []
    imports.import_files(open_store(sqlite_url), [path], NOBODY, now=NOW, progress=lambda _, at: reached.append(at))
    assert len(reached) == commits


@pytest.mark.parametrize(("name", "entries", "steps"), [("sacct-22.05.json", 7, 9), ("sacct-24.11.json", 6, 8)])
def test_what_sacct_wrote_as_json_is_jobs_and_steps(url, tmp_path, name, entries, steps):
    path = put_recorded(name, tmp_path)
    (found,) = take(url, path)
    assert (found.entry, found.counts) == ("job", imports.Counts(entries, entries, 0, 0))
    assert (len(jobs(url)), len(content(url)["batch_steps"])) == (entries, steps)
    assert take(url, path) == []
    rows = {row.row: row.cpu for row in report(open_to_read(url), Range(0, NOW), BY).rows}
    assert rows["batch_discrepancy"] == 0
    assert rows["total"] > 500_000


def test_whatever_order_all_the_batch_systems_sources_come_in_rows_and_sums_are_the_same(tmp_path):
    kinds = ("openpbs-23.06.log", "sacct-22.05.json", "sacct-24.11.json", *(f"htcondor-23.9/{name}" for name in CONDOR))
    sources = [put_recorded(name, tmp_path) for name in kinds] + [DATA / f"sacct-{version}.txt" for version in SLURM]
    found = []
    for number in range(3):
        order = random.Random(number).sample(sources, len(sources))
        url = f"sqlite:///{tmp_path}/{number}.sqlite"
        for source in order:
            if source.suffix == ".txt":
                lines = source.read_text(encoding="utf-8").splitlines()
                collect_slurm(open_store(url), lambda _, lines=lines: lines, "", since=None, now=NOW, progress=quiet)
            else:
                take(url, source)
        rows = content(url)
        sums = [report(open_to_read(url), Range(0, NOW), by) for by in (BY, ("node", "queue", "month"))]
        found.append((rows["batch_jobs"], rows["batch_steps"], sums))
    assert len(found[0][0]) > 60
    assert all(each == found[0] for each in found)


def test_json_with_an_odd_job_and_no_end_gives_the_others(sqlite_url, tmp_path):
    document = json.loads((DATA / "sacct-24.11.json").read_text(encoding="utf-8"))
    document["jobs"].insert(1, {"job_id": 1})
    text = json.dumps(document)
    (found,) = take(sqlite_url, put(tmp_path / "jobs.json", text[: text.index('"meta"')].rstrip("], ").encode()))
    assert found.counts == imports.Counts(8, 6, 2, 0)
    assert "cut short" in found.fresh_faults[1]


def test_a_file_that_somebody_else_could_have_written_is_refused(sqlite_url, log, tmp_path):
    log.chmod(0o664)
    assert "0664" in str(refused(sqlite_url, log))
    log.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(log)
    assert "symbolic link" in str(refused(sqlite_url, link))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "not a regular file" in str(refused(sqlite_url, pipe))
    assert refused(sqlite_url, tmp_path).hint == f"name the files in it: {tmp_path}/*"
    assert "no such file" in str(refused(sqlite_url, tmp_path / "missing"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_the_batch_systems_own_files_are_believed_and_those_of_others_not(sqlite_url, log):
    os.chown(log, 4711, 4711)
    assert "uid 4711" in str(refused(sqlite_url, log))
    (found,) = take(sqlite_url, log, owners=frozenset({4711}))
    assert found.counts == IN_FULL


def test_a_file_that_is_no_accounting_is_refused_whole(sqlite_url, tmp_path):
    for text in (b"\x7fELF\x02\x01\x01", b"# a comment\n", b"\n\n", b"root:x:0:0:root:/root:/bin/bash\n"):
        assert isinstance(refused(sqlite_url, put(tmp_path / "file", text)), ConfigurationError)
    assert take(sqlite_url, put(tmp_path / "empty")) == []


SITE = """\
site: EXAMPLE
pools: [cms]
policy: [{{fqan: /cms, pool: cms}}]
directories: {{state: {0}/state}}
slurm: {{cluster: site, programs: {0}}}
store: sqlite:///{0}/store.sqlite
accounting: {{files: ["{0}/logs/*", "{0}/history*"]}}
"""


def collect(
    tmp_path: Path, *words: str, stderr: int = subprocess.PIPE, sacct: str = "#!/bin/sh\n"
) -> tuple[int, str, str]:
    (tmp_path / "site.yaml").write_text(SITE.format(tmp_path))
    (tmp_path / "sacct").write_text(sacct)
    (tmp_path / "sacct").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from gridwarden.cli import main; sys.exit(main())",
         "--config", str(tmp_path / "site.yaml"), "collect", *words],
        stdout=subprocess.PIPE, stderr=stderr, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_collect_reads_the_places_that_the_site_names_and_shows_what_became_of_every_line(tmp_path):
    (tmp_path / "logs").mkdir()
    put(tmp_path / "logs/20261121", *LINES, b"odd\x1b\n")
    put_recorded("htcondor-23.9/history", tmp_path)
    code, out, err = collect(tmp_path)
    assert code == 0, err
    assert (
        "20261121: 173 lines = 44 collected + 1 quarantined + 128 ignored "
        "(90 started, 28 queued, 5 asked to be deleted, 4 altered, 1 array as a whole)\n"
    ) in out
    assert "history: 6 ads = 6 collected + 0 quarantined + 0 ignored\n" in out
    assert err == f"gridwarden: {tmp_path}/logs/20261121, line 173: is not TIME;TYPE;ID;FIELDS: odd\\x1b\n"
    assert "20261121" not in collect(tmp_path)[1]


def test_a_node_brings_what_it_has_itself_and_asks_no_batch_system_of_everybodys_jobs(tmp_path):
    """Thousands of nodes would each have slurmdbd say the same."""
    (tmp_path / "logs").mkdir()
    log = put_recorded("openpbs-23.06.log", tmp_path / "logs")
    put_recorded("htcondor-23.9/history", tmp_path)
    of_node = tmp_path / "state/ledger"
    of_node.mkdir(parents=True, mode=0o700)
    hold = {"batch": "slurm", "job": "7", "account": "cms001", "reason": "none"}
    ledger.append(of_node, "hold", hold, node="n1", cluster="site")
    code, out, err = collect(tmp_path, "--evidence", sacct="#!/bin/sh\ntouch ${0}-was-asked\nexit 1\n")
    assert (code, err) == (0, "")
    assert not (tmp_path / "sacct-was-asked").exists()
    assert sorted(line.partition(":")[0] for line in out.splitlines()) == sorted(
        ["ledger", str(log), f"{tmp_path}/history"]
    )
    code, _, err = collect(tmp_path, sacct="#!/bin/sh\ntouch ${0}-was-asked\nexit 1\n")
    assert (code, "sacct" in err) == (75, True)
    assert (tmp_path / "sacct-was-asked").exists()


SLOWLY = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
CREATE TRIGGER slowly BEFORE INSERT ON batch_jobs FOR EACH ROW EXECUTE FUNCTION slowly()
"""


def test_two_who_import_the_same_jobs_in_opposite_order_at_once_do_not_lock_each_other_out(database, tmp_path):
    """PostgreSQL ends one of two that wait for each other; with a pause at each row both are in their midst."""
    ended = [line for line in LINES if b";E;" in line]
    files = [put(tmp_path / "onwards", *ended), put(tmp_path / "backwards", *reversed(ended))]
    with open_store(database).transaction() as connection:
        connection.exec_driver_sql(SLOWLY)
    program = f"""
import sys
from pathlib import Path
from gridwarden.accounting import imports
from gridwarden.accounting.store import open_store
store = open_store({database!r})
print("ready", flush=True)
sys.stdin.readline()
_, failed = imports.import_files(store, [Path(sys.argv[1])], frozenset(), now={NOW}, progress=lambda *_: None)
sys.exit(str(*failed) if failed else 0)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen([sys.executable, "-c", program, file], **pipes) for file in files]
    assert [process.stdout.readline() for process in both] == [b"ready\n"] * 2
    for process in both:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    assert [process.communicate()[1].decode() for process in both] == ["", ""]
    undisturbed = f"sqlite:///{tmp_path}/other.sqlite"
    take(undisturbed, files[0])
    assert jobs(database) == jobs(undisturbed)


def test_a_place_without_files_is_said_and_keeps_no_other_back(tmp_path):
    history = put_recorded("htcondor-23.9/history", tmp_path)
    for options, collected in (((), True), (("--evidence",), False)):
        code, out, err = collect(tmp_path, *options)
        assert (code, err.count("logs/*: there is no such file")) == (0, 1)
        assert ("history: 6 ads = 6 collected" in out) == collected
    history.unlink()
    code, out, err = collect(tmp_path, "--evidence")
    assert (code, out, err.count("there is no such file")) == (75, "", 2)


def test_a_ledger_that_does_not_verify_is_what_the_exit_code_says_whatever_else_failed(tmp_path):
    """It is said once; whoever looks at exit codes would take it for a batch system that was away."""
    put_recorded("htcondor-23.9/history", tmp_path)
    directory = tmp_path / "state/ledger"
    directory.mkdir(parents=True, mode=0o700)
    hold = {"batch": "slurm", "job": "7", "account": "cms001", "reason": "none"}
    ledger.append(directory, "hold", hold, node="n1", cluster="site")
    current = directory / "current.jsonl"
    current.write_bytes(current.read_bytes().replace(b"cms001", b"cms002"))
    code, _, err = collect(tmp_path, sacct="#!/bin/sh\nexit 1\n")
    assert (code, "sacct" in err, "does not verify" in err) == (74, True, True)


def test_a_long_import_shows_a_bar_on_a_terminal(tmp_path):
    log = put_recorded("openpbs-23.06.log", tmp_path)
    ours, theirs = os.openpty()
    code, _, _ = collect(tmp_path, str(log), stderr=theirs)
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        shown = terminal.read(65536)
    assert code == 0
    assert b"importing" in shown and b"100%" in shown


def test_files_on_the_command_line_are_imported_alone(tmp_path):
    log = put_recorded("openpbs-23.06.log", tmp_path)
    code, out, err = collect(tmp_path, str(log))
    assert (code, err) == (0, "")
    assert out == (
        f"{log}: 172 lines = 44 collected + 0 quarantined + 128 ignored "
        "(90 started, 28 queued, 5 asked to be deleted, 4 altered, 1 array as a whole)\n"
    )
    code, _, err = collect(tmp_path, "--since", "2026-01-01", str(log))
    assert code == 2
    assert "--since" in err
    for words in (["--evidence", str(log)], ["--evidence", "--since", "2026-01-01"]):
        code, _, err = collect(tmp_path, *words)
        assert (code, "--evidence" in err) == (2, True)
