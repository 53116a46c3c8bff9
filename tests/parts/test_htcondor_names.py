"""An HTCondor job's owner can have its ad name another's job: nobody's row in a real store is replaced, and nothing added to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import select

from gridwarden.accounting import imports, schema
from gridwarden.accounting.attributed import of_number
from gridwarden.accounting.store import open_store, open_to_read

RECORDED = Path(__file__).parent.parent / "data/htcondor-23.9"
NOW = 1_795_400_000_000_000
SECOND = 1_000_000


def of_bob(name: str) -> str:
    """His ads, of job 2.0, which ran twice."""
    ads = re.findall(r"(?ms)(.*?^\*\*\* .*?\n)", (RECORDED / name).read_text(encoding="utf-8"))
    return "".join(ad for ad in ads if re.search("(?m)^ClusterId = 2$", ad))


def of_another_schedd(ads: str, owner: str = "mallory", cpu: str = "7.0") -> str:
    """The ads of a job with the same number at another schedd, whose owner has them say the name of bob's."""
    changed = re.sub(r"(?m)^Owner = .*", f'Owner = "{owner}"', ads)
    return re.sub(r"(?m)^((Cumulative)?RemoteUserCpu) = .*", rf"\1 = {cpu}", changed)


class Site:
    def __init__(self, directory: Path, url: str) -> None:
        self.directory, self.url, self.taken = directory, url, 0

    def take(self, ads: str) -> imports.Imported:
        self.taken += 1
        path = self.directory / f"history{self.taken}"
        path.write_text(ads, encoding="utf-8")
        path.chmod(0o644)
        (found,), _ = imports.import_files(open_store(self.url), [path], frozenset(), now=NOW, progress=lambda *_: None)
        return found

    def rows(self) -> list[tuple[object, ...]]:
        with open_to_read(self.url).transaction() as connection:
            tables = (schema.batch_jobs, schema.batch_steps)
            return sorted((tuple(row) for table in tables for row in connection.execute(select(table))), key=repr)

    def counted(self) -> tuple[str, int]:
        """Whose the job is, and what its runs used."""
        with open_to_read(self.url).transaction() as connection:
            (job,) = of_number(connection, "2.0")
        return job.job.account, sum(step.total_cpu for step in job.steps) // SECOND


@pytest.fixture
def site(tmp_path: Path, url: str) -> Site:
    return Site(tmp_path, url)


@pytest.mark.parametrize("changes", [{}, {"owner": "bob"}], ids=["another's", "the account's next holder's"])
def test_no_ad_replaces_the_job_of_another_schedd_whose_name_it_bears(site, changes):
    site.take(of_bob("history"))
    before = site.rows()
    found = site.take(of_another_schedd(of_bob("history"), **changes))
    assert found.counts == imports.Counts(1, 0, 1, 0)
    (fault,) = found.fresh_faults
    assert "the store has another record of that job, of account bob" in fault
    assert "condor_qedit" in fault
    assert site.rows() == before
    assert site.take(of_bob("history") + of_bob("history")).counts == imports.Counts(2, 2, 0, 0)
    assert site.rows() == before


def test_two_ads_of_one_name_in_one_file_are_one_job_and_a_fault(site):
    found = site.take(of_bob("history") + of_another_schedd(of_bob("history")))
    assert found.counts == imports.Counts(2, 1, 1, 0)
    assert site.counted() == ("bob", 0)


def test_no_run_is_added_to_the_job_of_another_or_replaces_one_of_its_runs(site):
    site.take(of_bob("history"))
    forged = of_another_schedd(of_bob("epochs")) + of_another_schedd(of_bob("epochs")).replace(
        "RunInstanceId=", "RunInstanceId=1"
    )
    found = site.take(forged)
    assert found.counts == imports.Counts(4, 0, 4, 0)
    assert all("the store has that job, of account bob" in fault for fault in found.fresh_faults)
    site.take(of_bob("epochs"))
    honest = site.rows()
    site.take(forged)
    assert site.take(of_another_schedd(of_bob("epochs"), owner="bob")).counts == imports.Counts(2, 0, 2, 0)
    assert site.rows() == honest


def test_runs_that_came_before_the_job_whose_name_they_bear_are_none_of_its_and_it_counts_as_a_whole(site):
    site.take(of_another_schedd(of_bob("epochs")).replace("RunInstanceId=", "RunInstanceId=1"))
    site.take(of_bob("epochs"))
    site.take(of_bob("history"))
    assert site.counted() == ("bob", 0)


def test_runs_that_were_collected_before_their_accounts_were_known_stay_their_jobs(site):
    site.take(of_bob("epochs"))
    with open_store(site.url).transaction() as connection:
        connection.execute(schema.batch_steps.update().values(account=""))
    assert site.take(of_bob("epochs")).counts.quarantined == 0
    site.take(of_bob("history"))
    assert site.counted()[0] == "bob"
    with open_to_read(site.url).transaction() as connection:
        (job,) = of_number(connection, "2.0")
    assert len(job.steps) == 2
