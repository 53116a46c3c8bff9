"""The site's jobs leave the store as APEL's messages, whole, once, and in a queue that SSM reads."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest
from click.testing import CliRunner

from gridwarden.accounting import schema
from gridwarden.accounting.batch_records import Job
from gridwarden.accounting.dirq import put
from gridwarden.accounting.rows import insert_new, upsert
from gridwarden.accounting.store import open_store
from gridwarden.cli import gridwarden
from gridwarden.errors import BadQuestion, Unavailable
from tests.apel_reader import read

SECOND = 1_000_000
BEGIN = 1_793_491_200 * SECOND  # 2026-11-01T00:00Z
ANNA = "/DC=org/DC=example/CN=Anna"
LEASE = "a" * 32
SITE = {"site": "HERE", "pools": ["cms"], "policy": [{"fqan": "/cms", "pool": "cms"}], "slurm": {"cluster": "site"}}


@pytest.fixture
def config(tmp_path, url):
    """A site whose account cms001 was Anna's, who ran two jobs a day, and whose local user ran one."""
    store = open_store(url)
    lease = {"kind": "lease", "account": "cms001", "lease": LEASE, "name": "n", "scheme": "x509", "subject": ANNA, "vo": "cms",
             "fqans": "/cms/Role=pilot /cms", "time": BEGIN - SECOND}  # fmt: skip
    record = {"ledger": "l", "seq": 1, "hash": "h", "digest": "d", "kind": "lease", "time": BEGIN - SECOND, "account": "cms001",
              "lease": LEASE, "body": json.dumps(lease)}  # fmt: skip
    jobs = [
        Job("slurm", "site", str(number), BEGIN, 0, account, 1, BEGIN + number * 43_200 * SECOND, BEGIN + (number + 1) * 43_200 * SECOND,
            "COMPLETED", "0:0", 0, 0, 10 * SECOND, "wn1", "", cores=1)
        for number, account in enumerate(["cms001"] * 6 + ["alice"])
    ]  # fmt: skip
    with store.transaction() as connection:
        insert_new(connection, schema.records, [record])
        upsert(connection, schema.batch_jobs, [job._asdict() for job in jobs])
    path = tmp_path / "site.yaml"
    path.write_text(json.dumps(SITE | {"store": url, "accounting": {"apel": {"site": "EXAMPLE"}}}))
    path.chmod(0o600)
    return str(path)


def export(config: str, *words: str):
    command = ["--config", config, "export", "--since", "2026-11-01T00:00Z", *words]
    return CliRunner().invoke(gridwarden, command, catch_exceptions=False)


def test_every_job_of_a_person_leaves_once_and_local_ones_when_asked_for(config):
    done = export(config)
    assert done.exit_code == 0, done.output
    records = read(done.stdout)
    assert sorted(record["LocalJobId"] for record in records) == list("012345")
    assert {record["GlobalUserName"] for record in records} == {ANNA}
    assert {record["Site"] for record in records} == {"EXAMPLE"}
    assert {record["FQAN"] for record in records} == {"/cms/Role=pilot"}
    assert "left out, since no grid identity is known to be behind them (--local): 1 jobs" in done.stderr
    assert len(read(export(config, "--local").stdout)) == 7


def test_summaries_go_into_the_queue_that_ssm_empties(config, tmp_path):
    queue = tmp_path / "outgoing"
    queue.mkdir()
    done = export(config, "--message", "summary-v0.2", "--queue", str(queue))
    assert (done.exit_code, done.stdout) == (0, "")
    (message,) = [path for path in queue.rglob("*") if path.is_file()]
    assert re.fullmatch(r"[0-9a-f]{8}/[0-9a-f]{14}", str(message.relative_to(queue)))
    (record,) = read(message.read_text())
    assert (record["NumberOfJobs"], record["CpuDuration"], record["GlobalUserName"]) == (6, 60, ANNA)


@pytest.mark.parametrize(
    "words", [["--since", "2026-11-02"], ["--since", "2026-09-01", "--until", "2026-10-31T23:00Z"]]
)
def test_no_part_of_a_month_takes_the_place_of_all_of_it_at_apels(config, words):
    with pytest.raises(BadQuestion, match="within a month"):
        export(config, "--message", "summary-v0.4", *words)


def test_months_of_summaries_are_apels_wherever_the_site_is(config, monkeypatch):
    """In Berlin, 1 November began in UTC's October."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    (record,) = read(export(config, "--message", "summary-v0.4", "--since", "2026-11-01").stdout)
    assert (record["Month"], record["NumberOfJobs"]) == (11, 6)


def test_messages_of_one_moment_do_not_replace_each_other(tmp_path):
    assert len({put(tmp_path, f"{number}") for number in range(300)}) == 300
    assert sorted(int(path.read_text()) for path in tmp_path.rglob("*") if path.is_file()) == list(range(300))


def test_a_queue_leads_nobody_out_of_it_and_its_owner_can_empty_it(tmp_path):
    queue, elsewhere = tmp_path / "queue", tmp_path / "elsewhere"
    queue.mkdir()
    elsewhere.mkdir()
    if os.geteuid() == 0:
        os.chown(queue, 4711, 4712)
    minute, _, _ = put(queue, "first").partition("/")
    for path in (queue / minute, *(queue / minute).iterdir()):
        status = path.stat()
        assert os.geteuid() != 0 or (status.st_uid, status.st_gid) == (4711, 4712)
    shutil.rmtree(queue / minute)
    for ahead in range(0, 120, 60):
        (queue / f"{int(minute, 16) + ahead:08x}").symlink_to(elsewhere)
    with pytest.raises(Unavailable):
        put(queue, "second")
    assert list(elsewhere.iterdir()) == []
