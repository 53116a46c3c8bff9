"""What the real HTCondor writes into its history is what collect brings, and whoran and report say."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.site.slurm import until

if TYPE_CHECKING:
    from types import ModuleType

HISTORY = "/var/spool/condor/history"


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_every_job_of_the_real_history_is_in_the_store_with_its_cpu_time(condor: ModuleType) -> None:
    if Path(HISTORY).exists():
        run("gridwarden", "collect", HISTORY)  # of other stories
    before = len(json.loads(run("condor_history", "-json")))
    begun = time.time()
    ended = condor.submit("alice", "exit 3", 2)
    removed = condor.submit("bob", "sleep 600")
    condor.wait_running(removed)
    run("condor_rm", str(removed))
    until("the jobs to leave the queue", lambda: not condor.queue(ended) and not condor.queue(removed))
    until("their history", lambda: Path(HISTORY).read_text(encoding="utf-8").count(f"\nClusterId = {removed}\n") == 1)
    ads = json.loads(run("condor_history", "-json"))
    said = run("gridwarden", "collect", HISTORY)
    new = len(ads) - before
    assert f"{HISTORY}: {new} ads = {new} collected + 0 quarantined + 0 ignored\n" in said
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


def test_a_schedd_that_is_asked_gives_what_its_files_do(condor: ModuleType, tmp_path: Path) -> None:
    bindings = tmp_path / "bindings"  # Debian's, which only its own Python has
    bindings.mkdir()
    for name in ("htcondor2", "classad2"):
        (bindings / name).symlink_to(f"/usr/lib/python3/dist-packages/{name}")
    tmp_path.chmod(0o755)
    site = re.sub(
        "(?ms)^(store|accounting):.*?(?=^\\S|\\Z)", "", Path("/etc/gridwarden/site.yaml").read_text(encoding="utf-8")
    )

    def collect(name: str, schedds: str, *files: str) -> str:
        config = tmp_path / f"{name}.yaml"
        config.write_text(f"{site}\nstore: sqlite:///{tmp_path}/{name}.sqlite\naccounting: {{schedds: [{schedds}]}}\n")
        words = ["gridwarden", "--config", str(config), "collect", *files]
        environment = {**os.environ, "PYTHONPATH": str(bindings)}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(name: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(tmp_path / f"{name}.sqlite")) as connection:
            return sorted(connection.execute("SELECT * FROM batch_jobs WHERE batch = 'htcondor'"), key=repr)

    words = "a\x0bOwner = 1\x0bCumulativeRemoteUserCpu = 0.0\u2028JobStatus = 1"
    first = condor.submit("alice", "exit 3", 2, **{"+Note": f'"{words}"'})
    until("the jobs to leave the queue", lambda: not condor.queue(first))
    until("their history", lambda: Path(HISTORY).read_text(encoding="utf-8").count(f"\nClusterId = {first}\n") == 2)
    collect("files", "", HISTORY)
    assert "htcondor:local: " in collect("asked", "local")
    asked = rows("asked")
    assert asked == rows("files")
    assert {row[5] for row in asked if str(row[2]).startswith(f"{first}.")} == {"alice"}
    assert "htcondor:local: 0 rows" in collect("asked", "local")
    second = condor.submit("bob", "exit 0")
    until("the job to leave the queue", lambda: not condor.queue(second))
    until("its history", lambda: f"\nClusterId = {second}\n" in Path(HISTORY).read_text(encoding="utf-8"))
    assert "htcondor:local: 1 rows" in collect("asked", "local")
    assert len(rows("asked")) == len(asked) + 1
