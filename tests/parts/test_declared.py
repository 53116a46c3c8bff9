"""What somebody has only declared is in the store, and is nobody's work in any report or answer."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from gridwarden import ledger
from gridwarden.accounting import collect
from gridwarden.accounting.report import report
from gridwarden.accounting.store import open_store, open_to_read
from gridwarden.times import Range

RECORDED = Path(__file__).parent.parent / "data/sacct-24.11.txt"
NOW = 1_795_301_600_000_000
ALWAYS = Range(0, NOW * 2)
CLAIM = (
    f"kind\tjob_start\nbatch\tslurm\njob\t4\naccount\tcms001\nuid\t2101\nlease\t{'a' * 32}\nscheme\tx509\n"
    "subject\t/DC=org/CN=Mallory\n"
)


def quiet(source: str, rows: int) -> None:
    pass


def test_a_declaration_changes_no_report_and_no_answer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    directory = tmp_path / "ledger"
    directory.mkdir(mode=0o700)
    store = open_store(url)
    with RECORDED.open(encoding="utf-8", newline="") as lines:
        collect.collect_slurm(store, lambda _: lines, "site", since=0, now=NOW, progress=quiet)
    before = report(open_to_read(url), ALWAYS, ("identity", "account"))
    seen = {"uid": 2101, "pid": 7, "process_start": 1, "cgroup": "/", "what": "job_start", "text": CLAIM}
    declared = {**seen, "command": "bash", "because": "no batch daemon of root's started it"}
    ledger.append(directory, "declared", declared, node="n1", cluster="site")
    collect.collect_ledger(store, directory, now=NOW, progress=quiet)
    after = report(open_to_read(url), ALWAYS, ("identity", "account"))
    assert before.rows
    assert after == before
    with open_to_read(url).transaction() as connection:
        (row,) = connection.execute(text("SELECT kind, account, lease FROM records")).all()
        assert tuple(row) == ("declared", None, None)
        assert connection.execute(text("SELECT count(*) FROM job_runs")).scalar_one() == 0
