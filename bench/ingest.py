"""How fast a node's ledger comes into the store, every line verified, and how much memory that takes.

One process reads and verifies, another stores: CPU time is that of both, and memory that of the larger.

The ledger is as hooks write it on a node of 64 jobs at a time: a start, an observation, and an end with another observation for
each; one lending for every ten jobs, and one question.  Each run is a process of its own that makes a store in an empty directory of the disk::

    .venv/bin/python bench/ingest.py --json > bench/ingest.json
    make docs
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from gridwarden import ledger, records
from gridwarden.accounting import collect
from gridwarden.accounting.store import open_store

SIZES, ROUNDS = (100_000, 400_000), 3
BEGIN = 1_795_000_000_000_000


def main() -> None:
    """Measure each size in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=Path, metavar="DIRECTORY", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one)))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        for size in SIZES:
            directory = Path(scratch) / str(size)
            make(directory / "ledger", size)
            taken = [measured(directory) for _ in range(ROUNDS)]
            rows.append(
                {
                    "records": size,
                    "rate": round(size / min(each["wall"] for each in taken)),
                    "storing_us": round(min(each["storing"] for each in taken) / size * 1e6, 1),
                    "verifying_us": round(min(each["verifying"] for each in taken) / size * 1e6, 1),
                    "memory_mib": round(statistics.median(each["memory"] for each in taken) / 1024),
                }
            )
    load = round(os.getloadavg()[0], 1)
    result = {"python": sys.version.split()[0], "rounds": ROUNDS, "load": load, "rows": rows}
    print(json.dumps(result, indent=1) if arguments.json else rows)


def measured(directory: Path) -> dict[str, float]:
    """One run, in a process of its own."""
    words = [sys.executable, __file__, "--one", str(directory)]
    found: dict[str, float] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return found


def one(directory: Path) -> dict[str, float]:
    """Seconds on the clock and of CPU time of both processes, and the most memory in KiB."""
    (directory / "ledger/acknowledged").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as empty:
        store = open_store(f"sqlite:///{empty}/store.sqlite")
        wall, (storing, verifying) = time.perf_counter(), cpu()
        now = BEGIN + 10**15
        found = collect.collect_ledger(store, directory / "ledger", now=now, progress=lambda *_: None)
        taken = {"wall": time.perf_counter() - wall}
        taken |= {"storing": cpu()[0] - storing, "verifying": cpu()[1] - verifying}
    if found.known_faults:
        sys.exit(f"the ledger did not verify: {found.fresh_faults[:3]}")
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {**taken, "memory": most}


def cpu() -> list[float]:
    """Seconds of CPU time of this process, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return [each.ru_utime + each.ru_stime for each in used]


def make(directory: Path, size: int) -> None:
    """A ledger of so many lines, rotated as the writer does."""
    directory.mkdir(mode=0o700, parents=True)
    for name in ("lock", ledger.CURRENT):
        (directory / name).touch(mode=0o600)
    seq, head, number = 0, ledger.FIRST, 1
    file = (directory / ledger.CURRENT).open("ab")
    for kind, time_of, fields in bodies(size):
        common: dict[str, records.Value] = {
            "kind": kind, "time": time_of, "boot": "0b2a8c4a-7c5d-4e0f-9b1f-2e3d4c5b6a79", "clock": time_of - BEGIN,
            "node": "wn042.example.org", "cluster": "site",
        }  # fmt: skip
        line, seq, head = ledger._line(head, seq + 1, records.encode(common, fields))  # noqa: SLF001  as the writer does
        file.write(line)
        if file.tell() >= ledger.ROTATE_AT:
            file.close()
            os.rename(directory / ledger.CURRENT, directory / f"{number:08d}.jsonl")
            number += 1
            file = (directory / ledger.CURRENT).open("ab")
            os.chmod(directory / ledger.CURRENT, 0o600)
    file.close()


def bodies(size: int):  # noqa: ANN201
    """Kind, time and fields of each record."""
    chance = random.Random(1)
    running: list[tuple[str, str, str]] = []
    at, made, job = BEGIN, 0, 0
    while made < size:
        at += chance.randrange(1, 400_000_000)
        if len(running) == 64:
            account, lease, name = running.pop(chance.randrange(64))
            about = {"batch": "slurm", "job": name, "restart": 0, "account": account, "uid": 2000, "lease": lease}
            found = [("observation", seen(account, lease)), ("job_end", {**about, "exit_code": "0:0"})]
        else:
            job += 1
            number = chance.randrange(500)
            account, lease = f"cms{number:03}", f"{number * 2654435761 % 2**64:032x}"
            subject = f"/DC=org/DC=example/OU=People/CN=Person Number {number}"
            running.append((account, lease, str(job)))
            who = {"scheme": "x509", "subject": subject, "vo": "cms"}
            about = {"batch": "slurm", "job": str(job), "restart": 0, "account": account, "uid": 2000, "lease": lease}
            start = {**about, **who, "stamp": lease, "evidence": "holder+link", "batch_start": at // 1_000_000}
            found = [("job_start", start), ("observation", seen(account, lease))]
            if job % 10 == 0:
                lent = {"account": account, "uid": 2000, "lease": lease, "name": f"%2fcn%3d{number}", **who}
                found.insert(0, ("lease", {**lent, "fqans": "/cms", "credential": "1f/CN=CA", "adopted": 0}))
                found.append(("question", {"who": "root", "text": "14:02", "answered": 1}))
        for kind, fields in found[: size - made]:
            yield kind, at, fields
            made += 1


def seen(account: str, lease: str) -> dict[str, records.Value]:
    """An observation."""
    return {"account": account, "lease": lease, "name": "%2fdc%3dorg%2fdc%3dexample%2fcn%3dperson", "inode": 1_234_567}


if __name__ == "__main__":
    main()
