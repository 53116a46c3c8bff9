"""A schedd's answers, by a module in the place of its bindings, out of files that 23.9.6 wrote: the story asks the real one."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gridwarden.accounting import imports, schedd_history, schema
from gridwarden.accounting.store import Store, open_store
from gridwarden.accounting_settings import Accounting
from gridwarden.errors import Unavailable

RECORDED = Path(__file__).parent.parent / "data/htcondor-23.9"
NOW = 1_795_400_000_000_000


class Ad(dict[str, object]):
    """An ad as it stands in a file, without its banner."""

    def __init__(self, text: str) -> None:
        self.text, _, banner = text.rpartition("*** ")
        super().__init__({name: int(value) for name, value in re.findall(r"(?m)^(\w+) = (\d+)$", self.text)})
        if written := re.search(r"CurrentTime=(\d+)", banner):
            self["EpochWriteDate"] = int(written[1])

    def printOld(self) -> str:  # noqa: N802  its own name
        return self.text

    def projected(self, names: list[str]) -> Ad:
        """The ad with the attributes that were asked for alone."""
        kept = [line for line in self.text.splitlines(keepends=True) if line.partition(" ")[0] in names]
        ad = Ad("".join(kept) + "*** ")
        ad.update((name, value) for name, value in self.items() if name in names)
        return ad


def ads(name: str) -> list[Ad]:
    """The ads of a file, the last one first, as a schedd gives them."""
    text = (RECORDED / name).read_text(encoding="utf-8")
    return [Ad(each) for each in re.findall(r"(?ms)(.*?^\*\*\* .*?\n)", text)][::-1]


class Schedd:
    """What is asked of it, and what it says."""

    def __init__(self) -> None:
        self.jobs = ads("history")
        self.epochs: list[Ad] | OSError = [
            ad for ad in ads("epochs") if "NumShadowStarts" in ad and ad["EpochWriteDate"]
        ]
        self.asked: list[object] = []

    def history(self, _: str, names: list[str], since: object) -> list[Ad]:
        self.asked.append(since)
        return [ad.projected(names) for ad in self.jobs]

    def jobEpochHistory(self, _: str, names: list[str], since: object) -> list[Ad]:  # noqa: N802
        self.asked.append(since)
        if isinstance(self.epochs, OSError):
            raise self.epochs
        return [ad.projected(names) for ad in self.epochs]


@pytest.fixture
def schedd(monkeypatch: pytest.MonkeyPatch) -> Schedd:
    schedd = Schedd()
    pool = SimpleNamespace(locate=lambda _, name: {"Name": name} if name == "ce.example.org" else None)
    for name, content in (
        (
            "htcondor2",
            {
                "param": {},
                "Schedd": lambda _: schedd,
                "Collector": lambda: pool,
                "DaemonType": SimpleNamespace(Schedd=3),
            },
        ),
        ("classad2", {"ExprTree": str}),
    ):
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return schedd


def collect(store: Store, name: str = "local") -> schedd_history.Collected:
    return schedd_history.collect_schedd(store, name, now=NOW, progress=lambda *_: None)


def rows(store: Store) -> list[tuple[object, ...]]:
    with store.transaction() as connection:
        return sorted(
            (tuple(row) for table in (schema.batch_jobs, schema.batch_steps) for row in connection.execute(table.select())),
            key=repr,
        )  # fmt: skip


def test_what_the_schedd_says_is_what_its_files_say(url, tmp_path, schedd):
    asked = open_store(url)
    found = collect(asked)
    files = open_store(f"sqlite:///{tmp_path}/files.sqlite")
    for name in ("history", "epochs"):
        (tmp_path / name).write_bytes((RECORDED / name).read_bytes())
        (tmp_path / name).chmod(0o644)
    imports.import_files(
        files, [tmp_path / "history", tmp_path / "epochs"], frozenset(), now=NOW, progress=lambda *_: None
    )
    assert found.fresh_faults == []
    assert rows(asked) == rows(files) != []
    collect(asked)
    assert rows(asked) == rows(files)


def test_the_next_collect_asks_from_the_last_job_on_and_for_the_runs_of_a_day(sqlite_url, schedd):
    store = open_store(sqlite_url)
    collect(store)
    newest = schedd.jobs[0]
    collect(store)
    first, _, then, epochs = schedd.asked
    assert first is None
    assert then == f"ClusterId == {newest['ClusterId']} && ProcId == {newest['ProcId']}"
    assert epochs == f"EpochWriteDate < {NOW // 1_000_000 - 86_400}"


def test_an_odd_ad_is_kept_and_stops_no_other(sqlite_url, schedd):
    schedd.jobs.insert(1, Ad("JobStatus = 99\n*** \n"))
    found = collect(open_store(sqlite_url))
    assert len(found.fresh_faults) == found.known_faults == 1
    assert found.rows == len(schedd.jobs) - 1 + len(schedd.epochs)


def test_figures_that_no_database_holds_and_counts_that_are_none_stop_no_other(url, schedd):
    """Their owners can set any of them (condor_qedit)."""
    schedd.jobs[1].text = re.sub("(?m)^RemoteWallClockTime = .*", "RemoteWallClockTime = 1e90", schedd.jobs[1].text)
    schedd.epochs[0] |= {"NumShadowStarts": "many", "EpochWriteDate": None}
    found = collect(open_store(url))
    cannot_be, anothers = found.fresh_faults
    assert "which cannot be" in cannot_be
    assert "the store has another record of that run" in anothers  # without a count it passes for the first
    assert found.rows == len(schedd.jobs) - 1 + len(schedd.epochs) - 1


def test_an_ad_that_bears_the_name_of_another_schedds_job_replaces_nothing(url, schedd):
    store = open_store(url)
    collect(store)
    honest = rows(store)
    for ad in (*schedd.jobs, *schedd.epochs):
        ad.text = re.sub("(?m)^Owner = .*", 'Owner = "mallory"', ad.text)
    found = collect(store, "ce.example.org")
    assert (found.rows, len(found.fresh_faults)) == (0, len(schedd.jobs) + len(schedd.epochs))
    assert all("of account " in fault for fault in found.fresh_faults)
    assert rows(store) == honest


def test_ads_of_megabytes_are_read_a_few_at_a_time_and_one_beyond_all_measure_is_put_aside(
    sqlite_url, schedd, monkeypatch
):
    sizes: list[int] = []
    monkeypatch.setattr(schedd_history, "LARGEST_AD", 20_000)
    monkeypatch.setattr(imports, "BATCH_BYTES", 30_000)
    monkeypatch.setattr(
        schedd_history,
        "_read",
        lambda texts, read=schedd_history._read: sizes.append(sum(map(len, texts))) or read(texts),
    )
    for ad, length in zip(schedd.jobs, (25_000, 15_000, 15_000, 15_000, 15_000), strict=False):
        ad.text += f'JobBatchName = "{"x" * length}"\n'
    found = collect(open_store(sqlite_url))
    assert max(sizes) < 30_000 + 25_000 + 2_000
    (fault,) = found.fresh_faults
    assert "it is larger than 20000 bytes" in fault
    assert found.rows == len(schedd.jobs) - 1 + len(schedd.epochs)


def test_a_schedd_that_gives_its_last_ads_alone_is_said_to_have_more(sqlite_url, schedd):
    del schedd.epochs[1:]
    sys.modules["htcondor2"].param["HISTORY_HELPER_MAX_HISTORY"] = len(schedd.jobs)
    (fault,) = collect(open_store(sqlite_url)).fresh_faults
    assert f"the last {len(schedd.jobs)} ads of its history" in fault
    schedd.jobs.pop()
    assert collect(open_store(sqlite_url)).fresh_faults == []


def test_a_schedd_that_keeps_no_epochs_is_no_fault_and_one_that_is_away_is(sqlite_url, schedd):
    schedd.epochs = OSError("JOB_EPOCH_HISTORY undefined in remote configuration. No history")
    assert collect(open_store(sqlite_url)).rows == len(schedd.jobs)
    schedd.epochs = OSError("Failed to connect\nto schedd")
    with pytest.raises(Unavailable, match="the schedd local: Failed to connect to schedd"):
        collect(open_store(sqlite_url))


def test_one_schedd_that_nobody_knows_keeps_no_other_back(sqlite_url, schedd):
    settings = Accounting(schedds=("nobody", "ce.example.org"))
    found, (error,) = schedd_history.collect_schedds(
        open_store(sqlite_url), settings, now=NOW, progress=lambda *_: None
    )
    assert [each.source for each in found] == ["htcondor:ce.example.org"]
    assert "nobody: the pool knows no schedd of that name" in str(error)


def test_missing_bindings_are_said_with_the_way_to_get_them(sqlite_url, monkeypatch):
    monkeypatch.setitem(sys.modules, "htcondor2", None)
    with pytest.raises(Unavailable) as caught:
        collect(open_store(sqlite_url))
    assert "gridwarden[htcondor]" in caught.value.hint
