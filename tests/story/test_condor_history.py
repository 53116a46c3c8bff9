"""What the real HTCondor writes into its history is what collect brings, and whoran and report say."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.site.slurm import until

if TYPE_CHECKING:
    from types import ModuleType

HISTORY = "/var/spool/condor/history"


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_every_job_of_the_real_history_is_in_the_store_with_its_cpu_time(condor: ModuleType) -> None:
    begun = time.time()
    ended = condor.submit("alice", "exit 3", 2)
    removed = condor.submit("bob", "sleep 600")
    condor.wait_running(removed)
    run("condor_rm", str(removed))
    until("the jobs to leave the queue", lambda: not condor.queue(ended) and not condor.queue(removed))
    until("their history", lambda: Path(HISTORY).read_text(encoding="utf-8").count(f"\nClusterId = {removed}\n") == 1)
    ads = json.loads(run("condor_history", "-json"))
    said = run("gridwarden", "collect", HISTORY)
    assert f"{HISTORY}: {len(ads)} ads = {len(ads)} collected + 0 quarantined + 0 ignored\n" in said
    assert run("gridwarden", "collect", HISTORY) == ""
    until_now = run("gridwarden", "report", "--since", f"@{begun - 1:.6f}", "--by", "account", "--format", "json")
    total = next(row for row in json.loads(until_now) if row["row"] == "total")
    ours = [ad for ad in ads if ad["ClusterId"] in {ended, removed}]
    assert total["jobs"] == len(ours) == 3
    assert total["cpu_microseconds"] == 1e6 * sum(
        ad["CumulativeRemoteUserCpu"] + ad["CumulativeRemoteSysCpu"] for ad in ours
    )
    found = subprocess.run(
        ["whoran", "--job", f"{removed}.0", "--format", "json"], capture_output=True, text=True, check=False
    )
    assert [(answer["account"], answer["batch"]) for answer in json.loads(found.stdout)] == [("bob", "htcondor")]
