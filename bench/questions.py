"""What it costs to ask who ran on a node at a time, of a store of many jobs, on SQLite or PostgreSQL.

The store is filled by its own database: 400 nodes on each of which 67 jobs run at a time, of 17 seconds to four days (lognormal,
4.2 hours in the mean), each with the run that its hooks recorded and the batch system's own record; and one process in a
hundred jobs was killed.  Questions are of random nodes at random times, each asked once, of a store just opened; the command is a
process of its own.  Give a URL of an empty database; sizes may follow each other, each is added to the last.  Of SQLite's, ten million
need 15 GB while they come, thirty million 45 GB and half an hour of two quiet cores::

    .venv/bin/python bench/questions.py --into bench/questions.json sqlite:////var/tmp/questions.sqlite 100000 1000000 10000000
    make docs
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from sqlalchemy import text

from gridwarden.accounting import store_file
from gridwarden.accounting.living import Node
from gridwarden.accounting.past import Past
from gridwarden.accounting.question import Question
from gridwarden.accounting.store import Store, open_store
from gridwarden.accounting.whoran import whoran
from gridwarden.times import Range

NODES, AT_ONCE, ACCOUNTS = 400, 67, 5000
MEAN = 4.2 * 3600e6
STEP = int(MEAN / (NODES * AT_ONCE))
BEGIN = 1_750_000_000_000_000
LENGTHS = 1000
QUESTIONS, COMMANDS = 200, 5

SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM series WHERE n < {last}) ",
    "postgresql": "WITH series AS (SELECT n FROM generate_series(CAST({first} AS bigint), {last}) AS n) ",
}
# Node, account and length look random and are not: the same numbers on both engines.
COMMON = f"""
    'wn' || (n * 7919 % {NODES}) AS node, 'cms' || (n * 104729 % {ACCOUNTS}) AS account,
    {BEGIN} + n * {STEP} AS begun, {BEGIN} + n * {STEP} + lasts AS ended
    FROM series JOIN lengths ON lengths.number = n * 31337 % {LENGTHS}
"""
RUNS = """INSERT INTO job_runs (ledger, seq, batch, cluster, node, job, restart, account, lease, scheme, subject, vo, stamp,
    evidence, boot, start, "end", ended_by, held)
    SELECT '0123456789abcdef0123456789a-' || node, n, 'slurm', 'site', node, '' || n, 0, account,
    'fedcba9876543210fedcba98' || account, 'x509', '/DC=org/DC=example/OU=People/CN=Holder of ' || account, 'cms', '',
    'holder+link', '0b2a8c4a-7c5d-4e0f-9b1f-2e3d4c5b6a79', begun, ended, 'job_end', '' FROM jobs"""
JOBS = """INSERT INTO batch_jobs (batch, cluster, job, submit, restart, account, uid, start, "end", state, exit_code, user_cpu,
    system_cpu, total_cpu, nodes, stamp, cores, wall)
    SELECT 'slurm', 'site', '' || n, begun - 60000000, 0, account, 2000, begun, ended, 'COMPLETED', '0:0', 1000, 100, 1100,
    node, '', 1, ended - begun FROM jobs"""
KILLS = """INSERT INTO records (ledger, seq, hash, digest, kind, time, node, cluster, account, lease, pid, body)
    SELECT '0123456789abcdef0123456789a-' || node, n, 'h', 'd', 'kill', ended, node, 'site', account, '', n % 4000000,
    '{"kind":"kill","node":"' || node || '","account":"' || account || '","pid":' || (n % 4000000) || ',"time":' || ended ||
    ',"process_start":' || begun || ',"command":"sleep","signal":"15"}' FROM jobs WHERE n % 100 = 0"""


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("sizes", type=int, nargs="+", metavar="JOBS")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="put the rows among those of earlier runs: questions.json"
    )
    arguments = parser.parse_args()
    store = open_store(arguments.url)
    rows = []
    filled = 0
    for size in arguments.sizes:
        begun = time.perf_counter()
        fill(store, filled, size)
        filled = size
        filling = round(time.perf_counter() - begun)
        load = round(os.getloadavg()[0], 1)
        rows.append({"jobs": size, "fill_s": filling, "load": load, **ask(arguments.url, size)})
        print(rows[-1], file=sys.stderr)
    with store.transaction() as connection:
        version = connection.scalar(text("SELECT sqlite_version()" if not store.partitioned else "SHOW server_version"))
    engine = "PostgreSQL" if store.partitioned else "SQLite"
    result = {"engine": f"{engine} {str(version).split()[0]}", "python": sys.version.split()[0], "rows": rows}
    if arguments.into:
        known = json.loads(arguments.into.read_text(encoding="utf-8"))
        arguments.into.write_text(json.dumps(among(known, result), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1) if arguments.json else rows)


def among(known: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The results of earlier runs, with these rows instead of those of the same engine and size."""
    engines = {each["engine"].split()[0]: each for each in known["engines"]}
    before = engines.get(result["engine"].split()[0], {"rows": []})
    rows = {row["jobs"]: row for row in (*before["rows"], *result["rows"])}
    engines[result["engine"].split()[0]] = {**result, "rows": [rows[jobs] for jobs in sorted(rows)]}
    return {**known, "engines": list(engines.values())}


def fill(store: Store, first: int, last: int) -> None:
    """Add jobs, without the indexes, which are made anew behind it."""
    engine = "postgresql" if store.partitioned else "sqlite"
    series = SERIES[engine].format(first=first, last=last - 1)
    with store.transaction() as connection:
        indexes = _indexes(connection, engine)
        for name, _ in indexes:
            connection.execute(text(f"DROP INDEX {name}"))
        connection.execute(text("CREATE TEMPORARY TABLE lengths (number bigint PRIMARY KEY, lasts bigint)"))
        connection.execute(text("INSERT INTO lengths VALUES (:number, :lasts)"), lengths())
        for statement in (RUNS, JOBS, KILLS):
            insert, select = statement.split("\n    SELECT", 1)
            query = f"{series}, jobs AS (SELECT n, {COMMON}) {insert} SELECT{select}"
            connection.exec_driver_sql(query.replace("%", "%%") if store.partitioned else query)
        for _, statement in indexes:
            connection.execute(text(statement.replace(":", "\\:")))
        connection.execute(text("DROP TABLE lengths"))
        connection.execute(text("ANALYZE"))


def lengths() -> list[dict[str, int]]:
    """How long jobs last, in microseconds."""
    normal = statistics.NormalDist(0, 1.5)
    scale = MEAN / math.exp(1.5**2 / 2)
    each = (math.exp(normal.inv_cdf((number + 0.5) / LENGTHS)) * scale for number in range(LENGTHS))
    return [{"number": number, "lasts": int(min(lasts, 96 * 3600e6))} for number, lasts in enumerate(each)]


def _indexes(connection, engine):  # noqa: ANN001, ANN202
    query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ('job_runs', 'batch_jobs')"
        if engine == "sqlite"
        else "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('job_runs', 'batch_jobs') AND indexname NOT LIKE '%\\_pkey'"
    )
    return [tuple(row) for row in connection.exec_driver_sql(query.replace("%", "%%") if engine != "sqlite" else query)]


def ask(url: str, size: int) -> dict[str, object]:
    """Milliseconds of the store's own queries, of the whole answer, and of the command: on the clock, and of our CPU time."""
    chance = random.Random(size)
    here = Node(Path("/nonexistent"), Path("/nonexistent/jobs"), "/nonexistent/%n", ("cms",))
    queries, answers, found = [], [], []
    for _ in range(QUESTIONS):
        at = BEGIN + chance.randrange(size // 10, size) * STEP
        question = Question(None, Range(at, at + 1_000_000), node=f"wn{chance.randrange(NODES)}")
        past = Past(url, Path("/nonexistent"))
        if said := [each for each in past.unread if each.startswith("the store")]:
            raise SystemExit(said[0])
        queries.append(taken(lambda past=past, question=question: past.runs(question)))
        answers.append(taken(lambda past=past, question=question: found.append(len(whoran(question, here, past)[0]))))
        past.close()
    commands = [command(url, f"@{at // 1_000_000}", question.node) for _ in range(COMMANDS)]
    measured = {"query": queries, "answer": answers, "command": commands}
    return {
        "answers": round(statistics.mean(found)),
        **{f"{name}_ms": spread([wall for wall, _ in values]) for name, values in measured.items()},
        **{f"{name}_cpu_ms": spread([cpu for _, cpu in values]) for name, values in measured.items()},
        "bytes": bytes_of(url),
    }


def taken(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds on the clock and of CPU time."""
    wall, cpu = time.perf_counter(), _cpu()
    work()
    return (time.perf_counter() - wall) * 1000, (_cpu() - cpu) * 1000


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def command(url: str, moment: str, node: str | None) -> tuple[float, float]:
    """The same of one ``whoran TIME --node N``."""
    config = Path(f"/tmp/questions-{os.getpid()}.yaml")  # noqa: S108  removed below
    site = {"site": "X", "pools": ["cms"], "policy": [{"fqan": "/cms", "pool": "cms"}], "slurm": {"cluster": "site"}}
    config.write_text(json.dumps(site | {"store": url, "directories": {"state": "/nonexistent"}}), encoding="utf-8")
    program = "from gridwarden.cli import whoran; whoran()"
    words = [sys.executable, "-c", program, "--config", str(config), moment, "--node", str(node), "--format", "json"]
    try:
        return taken(lambda: subprocess.run(words, capture_output=True, check=True))
    finally:
        config.unlink()


def spread(values: list[float]) -> list[float]:
    """Median and 95th percentile."""
    ordered = sorted(values)
    return [round(statistics.median(ordered), 2), round(ordered[int(len(ordered) * 0.95)], 2)]


def bytes_of(url: str) -> int:
    """How large the store is."""
    if store_file.is_file(url):
        return store_file.path_of(url).stat().st_size
    with open_store(url).transaction() as connection:
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


if __name__ == "__main__":
    main()
