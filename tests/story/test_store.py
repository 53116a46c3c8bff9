"""On the running site: jobs into PostgreSQL and out again, and the site's own syslog as proof of its ledger."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from gridwarden import chain

if TYPE_CHECKING:
    from types import ModuleType, SimpleNamespace

LEDGER = "/var/lib/gridwarden/ledger"
SITE = Path("/etc/gridwarden/site.yaml")
SYSLOG = Path("/var/log/syslog")


def test_a_job_goes_through_postgresql_to_reports_and_answers_and_its_ledger_is_proven(
    people: SimpleNamespace, slurm: ModuleType, database: str, tmp_path: Path
) -> None:
    config = tmp_path / "site.yaml"
    settings = {"store": database, "retention": {"pseudonym_days": 30}}
    config.write_text(yaml.safe_dump(yaml.safe_load(SITE.read_text()) | settings))

    def run(*words: str) -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    # Other stories have ledgers of their own, which the same syslog speaks of.
    before = SYSLOG.stat().st_size
    command = ["gridwarden", "submit", "slurm", "--proxy", str(people.anna.proxy)]
    job = int(subprocess.run(command, input="#!/bin/sh\n", capture_output=True, text=True, check=True).stdout)
    slurm.accounted(job)
    slurm.until(
        "the end in syslog", lambda: f"outcome=ended batch=slurm job={job} " in SYSLOG.read_text(errors="replace")
    )
    heads = tmp_path / "heads"
    heads.write_bytes(SYSLOG.read_bytes()[before:])

    run("gridwarden", "--config", str(config), "collect")
    facts = {
        row["key"]: row["value"]
        for row in json.loads(run("gridwarden", "--config", str(config), "store", "status", "--format", "json"))
    }
    assert facts["engine"].startswith("PostgreSQL")
    assert "slurm:site" in facts
    proven = run("gridwarden", "--config", str(config), "store", "verify", "--heads", str(heads), "--format", "json")
    (proof,) = json.loads(proven)
    assert proof["lines"] == len([line for line in chain.read(LEDGER) if line.seq])
    assert proof["heads"] >= 2  # the job's start, its end; and the lease, unless another story had it made
    (answer,) = json.loads(run("whoran", "--config", str(config), "--job", str(job), "--format", "json"))
    assert (answer["identity"], answer["evidence"]) == (people.anna.subject, "batch")
    report = run("gridwarden", "--config", str(config), "report", "--since", "-1h", "--by", "identity")
    assert people.anna.subject in report

    assert "nothing to do" in run("gridwarden", "--config", str(config), "store", "upgrade")
    nothing = "0 records, 0 jobs and 0 runs"
    key = Path("/var/lib/gridwarden/pseudonym-key")
    key.unlink(missing_ok=True)  # of a try before this
    assert nothing in run("gridwarden", "--config", str(config), "store", "expire", "--dry-run")
    assert not key.exists()
    assert nothing in run("gridwarden", "--config", str(config), "store", "expire")
    assert key.stat().st_mode & 0o777 == 0o600

    heads.write_text(re.sub(r" head=.{8}", " head=00000000", heads.read_text(), count=1))
    command = ["gridwarden", "--config", str(config), "store", "verify", "--heads", str(heads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 74
    assert "is not the one whose head left site" in done.stderr
