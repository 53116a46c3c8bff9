"""Slurm's accounting through pyslurm, of which there is only a stand-in here: tests/pyslurm_stand_in.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gridwarden.accounting import collect, pyslurm_jobs, schema
from gridwarden.accounting.batch_records import Job, OddRow, Step
from gridwarden.accounting.sacct_rows import SEPARATOR, parse
from gridwarden.accounting.store import open_store
from gridwarden.errors import Unavailable
from gridwarden.times import MICROSECONDS
from tests import pyslurm_stand_in
from tests.pyslurm_stand_in import PyslurmError

RECORDED = (Path(__file__).parent.parent / "data/sacct-24.11.txt").read_text(encoding="utf-8").splitlines()
NOW = 1_795_400_000_000_000


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with scontrol of 25.11, and without sacct."""
    directory = tmp_path / "bin"
    directory.mkdir()
    scontrol = directory / "scontrol"
    scontrol.write_text("#!/bin/sh\necho slurm-wlm 25.11.7\n")
    scontrol.chmod(0o755)
    return directory


def whole_seconds(row: Job | Step) -> Job | Step:
    """A row of sacct's as pyslurm can know it."""
    cpu = {name: getattr(row, name) // MICROSECONDS * MICROSECONDS for name in ("user_cpu", "system_cpu", "total_cpu")}
    return row._replace(**cpu, state=row.state.partition(" by ")[0])


def test_the_rows_are_those_of_sacct_but_for_what_pyslurm_does_not_know(programs, monkeypatch):
    asked = pyslurm_stand_in.install(monkeypatch, RECORDED)
    found = list(parse(pyslurm_jobs.run(programs, 1_795_301_000_000_000)))
    assert [each.start_time for each in asked] == [1_795_301_000]
    of_sacct = [whole_seconds(row) for row in parse(RECORDED) if not isinstance(row, OddRow)]
    last = {row.job: row.restart for row in of_sacct if isinstance(row, Job)}
    expected = [row for row in of_sacct if row.restart == last[row.job]]
    assert len(expected) < len(of_sacct)  # a requeued job is among them
    assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_what_it_says_is_in_the_store_once_however_often_it_is_asked(url, programs, monkeypatch):
    pyslurm_stand_in.install(monkeypatch, RECORDED)
    store = open_store(url)

    def jobs() -> list[tuple]:
        collect.collect_slurm(
            store, lambda since: pyslurm_jobs.run(programs, since), "site", since=0, now=NOW, progress=lambda *_: None
        )
        with store.transaction() as connection:
            return sorted(map(tuple, connection.execute(schema.batch_jobs.select())), key=repr)

    assert jobs() == jobs() != []


def test_a_comment_with_the_separator_and_a_name_with_it_forge_nothing(programs, monkeypatch):
    pyslurm_stand_in.install(monkeypatch, RECORDED[:1])
    job = next(iter(sys.modules["pyslurm"].db.Jobs.load(pyslurm_stand_in.JobFilter()).values()))
    job.account, job.admin_comment = f"a{SEPARATOR}b", f"c{SEPARATOR}d\ne"
    (found,) = parse(pyslurm_jobs.run(programs, 0))
    assert isinstance(found, Job)
    assert (found.project, found.stamp) == ("a?b", f"c{SEPARATOR}d\ne")


def test_days_of_cpu_time_are_whole(programs, monkeypatch):
    pyslurm_stand_in.install(monkeypatch, RECORDED[:1])
    job = next(iter(sys.modules["pyslurm"].db.Jobs.load(pyslurm_stand_in.JobFilter()).values()))
    job.stats.total_cpu_time = 3 * 86_400 + 4 * 3600 + 5 * 60 + 6
    (found,) = parse(pyslurm_jobs.run(programs, 0))
    assert isinstance(found, Job)
    assert found.total_cpu == job.stats.total_cpu_time * MICROSECONDS


def test_sacct_is_asked_where_it_is_and_pyslurm_where_it_alone_is(programs, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyslurm", None)  # as if it were not installed
    assert not pyslurm_jobs.is_chosen(programs)
    pyslurm_stand_in.install(monkeypatch, RECORDED)
    assert pyslurm_jobs.is_chosen(programs)
    (programs / "sacct").touch()
    assert not pyslurm_jobs.is_chosen(programs)


@pytest.mark.parametrize(
    ("version", "counts", "said"),
    [
        ("24.11.0", True, "pyslurm is 24.11.0, and Slurm is 25.11.7"),
        ("25.11.1", False, "does not say how often"),
        ("26.5.0", True, "and Slurm is"),
    ],
)
def test_a_pyslurm_of_another_version_is_refused(programs, monkeypatch, version, counts, said):
    asked = pyslurm_stand_in.install(monkeypatch, RECORDED, version, counts=counts)
    with pytest.raises(Unavailable, match=said):
        next(pyslurm_jobs.run(programs, 0))
    assert asked == []


def test_a_database_that_does_not_answer_is_said_and_nothing_else_stops(programs, monkeypatch):
    pyslurm_stand_in.install(monkeypatch, RECORDED)

    def load(db_filter: object) -> None:
        raise PyslurmError("Failed to get Jobs\nfrom slurmdbd")

    monkeypatch.setattr(sys.modules["pyslurm"].db.Jobs, "load", load)
    with pytest.raises(Unavailable, match="pyslurm: Failed to get Jobs from slurmdbd"):
        next(pyslurm_jobs.run(programs, 0))
