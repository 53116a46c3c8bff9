"""On the running site: a pilot's CPU time is divided among whose payloads it ran, and the sums are sacct's own."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gridwarden import register
from tests.site import pilot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

REGISTER = "/run/gridwarden/jobs"
BEGIN = "cd $(mktemp -d); chmod 711 .; export X509_USER_PROXY=$HOME/bela.pem\n"
PAYLOAD = "GLEXEC_CLIENT_CERT=$HOME/{}.pem gridwarden-exec /bin/sh -c '{}'\n"
BURN = 'python3 -c "import time\nwhile time.process_time() < {}: pass"'
# Sixty processes of a few milliseconds each, which a sampling batch system overlooks, waited for by their parent.
FORKS = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do ls / /usr /etc >/dev/null; /bin/true; done"


@pytest.fixture(autouse=True)
def _people_and_pilot(slurm: ModuleType) -> Iterator[None]:
    for person in ("anna", "chen", "dora", pilot.OWNER):
        pilot.proxy(person)
    yield
    subprocess.run(["scancel", "--user", pilot.ACCOUNT], check=False)
    slurm.until("the epilogs", lambda: not register.everything(REGISTER))


def report(*words: str) -> list[dict[str, Any]]:
    command = ["gridwarden", "report", *words, "--format", "json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def sacct_total(job: int) -> int:
    """The CPU time of a job as sacct itself prints it, in microseconds."""
    command = ["sacct", "-Pn", "-j", str(job), "--format=JobIDRaw,TotalCPU"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (text,) = [cpu for name, cpu in (line.split("|") for line in lines) if name == str(job)]
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return round(seconds * 1e6)


def run(slurm: ModuleType, script: str, *options: str) -> int:
    job = slurm.submit(pilot.ACCOUNT, BEGIN + script, *options)
    slurm.wait(job)
    slurm.accounted(job)
    return job


def collect() -> None:
    subprocess.run(["gridwarden", "collect"], check=True, capture_output=True)


def measured(job: int) -> dict[str, int]:
    """CPU microseconds of each owner in a job, by the launcher's own records."""
    found: dict[str, int] = {}
    for start in pilot.records("payload_start", job=str(job)):
        (end,) = pilot.records("payload_end", payload=start["payload"])
        used = max(end["user"] + end["system"], end["group_cpu"] or 0)
        found[start["subject"]] = found.get(start["subject"], 0) + used
    return found


def test_the_report_names_the_owners_of_payloads_and_the_pilot_and_adds_up_to_sacct(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    since = int(time.time()) + 1
    time.sleep(1)  # jobs of others have ended before
    own = f"{BURN.format(1)}\ntimes\n"
    side_by_side = (
        (PAYLOAD.format("anna", BURN.format(3))[:-1] + " &\n") + PAYLOAD.format("chen", BURN.format(2)) + "wait\n"
    )
    job = run(slurm, own + side_by_side + PAYLOAD.format("dora", FORKS) + PAYLOAD.format("anna", BURN.format(1)))
    collect()
    by_identity = {row["identity"] or row["row"]: row for row in report("--since", f"@{since}", "--by", "identity")}
    total = sacct_total(job)
    assert by_identity["total"]["cpu_microseconds"] == total
    shares = {name: row["cpu_microseconds"] for name, row in by_identity.items()}
    assert sum(shares.values()) == 2 * total
    owners = measured(job)
    assert set(owners) == {people.anna.subject, people.chen.subject, people.dora.subject}
    assert {name: shares[name] for name in owners} == owners
    assert shares[people.anna.subject] == pytest.approx(4e6, rel=0.05)
    assert shares[people.chen.subject] == pytest.approx(2e6, rel=0.05)
    assert shares[people.dora.subject] > 0
    assert (shares["unattributed"], by_identity[people.anna.subject]["payloads"]) == (0, 2)
    said = (pilot.home() / f"slurm-{job}.out").read_text()
    mine = sum(int(minutes) * 60 + float(rest) for minutes, rest in re.findall(r"(\d+)m([\d.]+)s", said))
    # Starting payloads is the pilot's own work, too: some tenths of a second each.
    assert mine * 1e6 - 0.1e6 <= shares[people.bela.subject] <= mine * 1e6 + 4e6
    by_batch = {
        name: row["batch_cpu_microseconds"] for name, row in by_identity.items() if row["batch_cpu_microseconds"]
    }
    assert {people.bela.subject, "total"} <= set(by_batch) <= {people.bela.subject, "total", "batch_discrepancy"}
    assert sum(by_batch.values()) == 2 * total

    lines = report("--explain", str(job))
    assert [line["identity"] for line in lines if line["what"] == "payload"] == [
        start["subject"] for start in pilot.records("payload_start", job=str(job))
    ]
    assert lines[0]["cpu_microseconds"] == lines[-1]["cpu_microseconds"] == total
    (row,) = [row for row in report("--since", f"@{since}", "--pilots") if row["job"] == str(job)]
    assert (row["payloads"], row["at_once"], row["without_end"], row["identity"]) == (4, 2, 0, people.bela.subject)
    assert row["payload_cpu_microseconds"] == sum(owners.values())
    assert row["covered"] > 50


def test_a_cancelled_pilots_payload_keeps_what_it_used_though_slurm_lost_it(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    since = int(time.time()) + 1
    time.sleep(1)  # jobs of others have ended before
    Path("/tmp/burnt").unlink(missing_ok=True)
    work = f"{BURN.format(1)}; touch /tmp/burnt; sleep 300"
    job = slurm.submit(pilot.ACCOUNT, BEGIN + PAYLOAD.format("chen", work))
    slurm.until("the payload to have burnt", Path("/tmp/burnt").exists)
    slurm.cancel(job)
    slurm.wait(job)
    slurm.accounted(job)
    (start,) = pilot.records("payload_start", job=str(job))
    slurm.until("the end's record", lambda: pilot.records("payload_end", payload=start["payload"]))
    collect()
    shares = {
        row["identity"] or row["row"]: row["cpu_microseconds"]
        for row in report("--since", f"@{since}", "--by", "identity")
    }
    total = sacct_total(job)
    assert shares["total"] == total
    assert sum(shares.values()) == 2 * total
    assert shares[people.chen.subject] == measured(job)[people.chen.subject] > 1e6
    lines = {line["what"]: line for line in report("--explain", str(job))}
    assert lines["batch_discrepancy"]["cpu_microseconds"] == shares["batch_discrepancy"]
    assert lines["sum"]["cpu_microseconds"] == total
