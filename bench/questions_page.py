"""The page of docs/ that shows what bench/questions.py and bench/ingest.py measured, and what follows for larger sites."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pages

INGEST = Path(__file__).with_name("ingest.json")
BUDGET = 50_000  # records a second
NODES = 400
JOBS_A_YEAR = 365 * 24 * 67 / 4.2  # of a node with 67 at a time that last 4.2 hours
SITES = ((100, 1), (400, 1), (1000, 1), (2000, 5), (10_000, 1), (10_000, 5))


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    return pages.page("questions", "Scaling", lines(result))


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Its lines."""
    ingest = json.loads(INGEST.read_text(encoding="utf-8"))
    loads = [row.get("load") for engine in result["engines"] for row in engine["rows"]]
    load = result["load"] if None in loads else f"{min(loads)} to {max(loads)}"
    yield (
        f"Measured on two cores that others used, too (a load of {load}): times are given on the clock, which that load "
        "lengthens to many times what it would be, and of CPU time; of SQLite the quietest of a few runs. How the stores were filled says bench/questions.py: 400 nodes, 67 jobs at a time on each, of "
        "seconds to four days; a job is a row of its hooks' run and a row of the batch system's record."
    )
    yield ""
    yield "## `whoran TIME --node N`"
    yield ""
    yield "Milliseconds, median and 95th percentile of 200 questions, each of a store just opened, and of 5 whole commands."
    yield ""
    yield (
        "| store | jobs | query | its CPU | answer | its CPU | command | its CPU | size |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for engine in result["engines"]:
        for row in engine["rows"]:
            cells = [
                _pair(row[f"{name}{unit}"]) for name in ("query", "answer", "command") for unit in ("_ms", "_cpu_ms")
            ]
            yield f"| {engine['engine']} | {row['jobs']} | {' | '.join(cells)} | {row['bytes'] / 1e9:.1f} GB |"
    yield ""
    yield (
        "The query is for the runs on the node, the answer all of whoran's. The CPU time of PostgreSQL's server is not in these. "
        "The budgets are 5 ms for the query and 0.4 s for the command, at ten million. Thirty million are more than the machine kept "
        "in memory beside their coming: those questions read the disk; asked again, each took as long as one of ten million."
    )
    yield ""
    yield from _curve(result)
    yield ""
    yield "## Collecting a ledger"
    yield ""
    yield (
        "Each line verified, its record, its run and its place stored; SQLite on a disk. One process verifies, another stores, each a "
        f"core where there are two; the best of {ingest['rounds']} runs, at a load of {ingest['load']}, each in a process of its own."
    )
    yield ""
    yield "| records | records a second | CPU time of verifying one | of storing one | memory |"
    yield "|---|---|---|---|---|"
    for row in ingest["rows"]:
        yield (
            f"| {row['records']} | {row['rate']} | {row['verifying_us']} us | {row['storing_us']} us | {row['memory_mib']} MiB |"
        )
    yield ""
    slowest = min(row["rate"] for row in ingest["rows"])
    busiest = max(max(row["verifying_us"], row["storing_us"]) for row in ingest["rows"])
    reached = "reached" if slowest >= BUDGET else "not reached at this load"
    yield (
        f"The budget is {BUDGET} a second, {reached}; two cores with nothing else to do, and a disk that keeps up, allow "
        f"{1e6 / busiest:.0f}. A node of 64 jobs at a time that last an hour writes 300 records an hour; 10 000 nodes write 800 a second."
    )
    yield ""
    yield from _beyond(result)


def _pair(values: list[float]) -> str:
    return " / ".join(f"{value:.0f}" if value >= 100 else f"{value:.1f}" for value in values)


def _fit(engine: dict[str, Any], name: str) -> tuple[float, float]:
    """Least squares of ``a + b log10(jobs)`` through the medians."""
    points = [(math.log10(row["jobs"]), row[name][0]) for row in engine["rows"]]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return mean_y - slope * mean_x, slope


def _curve(result: dict[str, Any]) -> Iterator[str]:
    yield "## To a thousand million"
    yield ""
    yield (
        "An index finds its place in a number of steps that grows with the logarithm of its size, and what is read then does not depend "
        "on it: the rows that lasted at that moment. So a line through the medians against the logarithm of the number of jobs (CPU "
        "time of the query; where it would fall, the largest that was measured), and the size in proportion. What it leaves out "
        "is the disk: an index that is larger than memory costs a read of the disk for each step that is not cached."
    )
    yield ""
    yield "| store | 10^8 jobs | 10^9 jobs | size at 10^9 |"
    yield "|---|---|---|---|"
    for engine in result["engines"]:
        first, slope = _fit(engine, "query_cpu_ms")
        last = engine["rows"][-1]
        most = max(row["query_cpu_ms"][0] for row in engine["rows"])
        at = [max(first + slope * power, most) for power in (8, 9)]
        size = last["bytes"] / last["jobs"] * 1e9 / 1e12
        yield f"| {engine['engine']} | {at[0]:.1f} ms | {at[1]:.1f} ms | {size:.2f} TB |"
    yield ""
    yield "| nodes | years kept | jobs | bytes, as SQLite has them | carried by |"
    yield "|---|---|---|---|---|"
    sqlite = result["engines"][0]["rows"][-1]
    for nodes, years in SITES:
        jobs = nodes * years * JOBS_A_YEAR
        size = jobs * sqlite["bytes"] / sqlite["jobs"]
        carried = "SQLite" if size < 5e10 else "one PostgreSQL" if size < 2e12 else "PostgreSQL, sharded"
        yield f"| {nodes} | {years} | {jobs / 1e6:.0f} million | {size / 1e9:.0f} GB | {carried} |"


def _beyond(_: dict[str, Any]) -> Iterator[str]:
    yield "## Beyond one server"
    yield ""
    yield (
        "Not tried here, and nothing of it is gridwarden's own: what exists carries it.\n\n"
        "- **PostgreSQL by month.** Records and processes are partitioned by month already; a month that came to its age is dropped whole. "
        "Jobs, their steps and runs are not: `gridwarden store expire` deletes these row by row and in one transaction, of 10^9 in 13 months "
        "some 2.5 million of each a day. Autovacuum makes that room usable again, for which it reads all their indexes, and gives none back "
        "to the disk; so run it daily, and never let years come together. Neither is `heads`: a row a minute of each node that works, "
        "14 million a day from 10 000 nodes, more than all the rest; with so many set `agent.heads_seconds` to 600 or more.\n"
        "- **Sharded by node** with [Citus](https://docs.citusdata.com), an extension of PostgreSQL: `records` and `job_runs` are "
        "distributed by `ledger`, which is of one node, `processes` and `heads` by `node`, `batch_jobs` and `batch_steps` by `job`: each has that column in "
        "its primary key, as Citus wants it, and those by month keep them. What is small (`positions`, `anchors`, `ledger_nodes`, `faults`, "
        "`imported_files`) stays a table of the coordinator, so that the transaction of rows and position is one of two servers, which Citus "
        "commits in two phases. A question of a node's processes then asks one server, one of a person or of a node's jobs asks all at once, "
        "and each node's collect writes to its own.\n"
        "- **Cold years as Parquet**, written from the [views](store.md) that are a contract (`COPY (SELECT ... FROM runs_v1) TO` by "
        "DuckDB or pg_parquet), sorted by node and start, where a question of a node and "
        "time reads little. `gridwarden store expire` then lets them go. An archive keeps names of people: its age is the "
        "site's own promise."
    )
