"""What bringing a file of process accounting into SQLite costs, beside the least that a program can do to have its records there.

::

    .venv/bin/python bench/pacct.py --json > bench/pacct.json
    make docs
"""

from __future__ import annotations

import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from interleaved import cpu_milliseconds, in_turn, parser
from pacct_page import page

from gridwarden.accounting import pacct
from gridwarden.accounting.imports import import_files
from gridwarden.accounting.store import open_store

ROUNDS = 3
RECORDS = 1_000_000
FILES = (1_000_000, 4_000_000)


def main() -> None:
    """Measure and print, or print the table of what was measured."""
    if sys.argv[1:2] == ["--import"]:
        print(json.dumps(imported(Path(sys.argv[2]))))
        return
    arguments = parser(__doc__, ROUNDS).parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = write(Path(directory) / "pacct", RECORDS)
        ways: dict[str, Callable[[], float]] = {
            "floor": cpu_milliseconds(lambda: floor(path)),
            "ours": cpu_milliseconds(lambda: take(path)),
        }
        taken = in_turn(ways, arguments.rounds)
        rates = {way: round(RECORDS * 60_000 / statistics.median(times)) for way, times in taken.items()}
        ratios = [a / b for a, b in zip(taken["floor"], taken["ours"], strict=True)]
        result = {
            "python": sys.version.split()[0],
            "sqlite": sqlite3.sqlite_version,
            "rounds": arguments.rounds,
            "records": RECORDS,
            **rates,
            "ratio": round(statistics.median(ratios), 2),
            "load": round(os.getloadavg()[0], 1),
            "files": [of_a_process_of_its_own(Path(directory) / str(size), size) for size in FILES],
        }
    print(json.dumps(result, indent=1) if arguments.json else page(result))


def floor(path: Path) -> None:
    """Unpack every record, and put what it holds into a table without a key, a transaction for all."""
    store = path.with_name("floor.sqlite")
    connection = sqlite3.connect(store)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE processes (a, b, c, d, e, f, g, h, i, j, k, l, m)")
    data = path.read_bytes()
    statement = "INSERT INTO processes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    connection.executemany(statement, pacct.RECORD.iter_unpack(data))
    connection.commit()
    connection.close()
    store.unlink()


def take(path: Path) -> None:
    """Import the file as gridwarden collect does, into a store that is not there yet."""
    store = path.with_name("ours.sqlite")
    (found,), _ = import_files(
        open_store(f"sqlite:///{store}"), [path], frozenset(), now=0, progress=lambda *_: None, node="wn042"
    )
    if found.counts.records != path.stat().st_size // pacct.RECORD.size:
        sys.exit(f"records were lost: {found}")
    store.unlink()


def imported(path: Path) -> dict[str, float]:
    """Import the file here; seconds by the clock, and the most memory that was in use, in MB."""
    begin = time.perf_counter()
    take(path)
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def of_a_process_of_its_own(path: Path, size: int) -> dict[str, float]:
    """The same of a new process."""
    write(path, size)
    ran = subprocess.run([sys.executable, __file__, "--import", str(path)], capture_output=True, check=True)
    path.unlink()
    return {"records": size, **json.loads(ran.stdout)}


def write(path: Path, count: int) -> Path:
    """A file of records, no two alike: 500 processes a second, of 500 accounts and 300 programs."""
    chance = random.Random(1)
    pid = 1000
    with path.open("wb") as file:
        for number in range(count):
            pid = pid + 1 if pid < pacct.LARGEST_PID else 300
            elapsed = chance.expovariate(1 / 50)
            begun = 1_795_000_000 + number // 500 - int(elapsed / 100)
            parent = max(1, pid - chance.randrange(50))
            used = chance.randrange(100), chance.randrange(50)
            words = (0, 3, 0, 0, 45000 + number % 500, 100, pid, parent, begun, elapsed, *used)
            file.write(pacct.RECORD.pack(*words, f"prog{number % 300}".encode()))
    path.chmod(0o600)
    return path


if __name__ == "__main__":
    main()
