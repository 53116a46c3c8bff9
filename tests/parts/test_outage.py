"""While the store cannot be reached, for however long: no hook waits for a collector, and nothing that was recorded goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg

from gridwarden import chain, ledger
from gridwarden.accounting.store import open_store, open_to_read
from tests.agent import until

SITE = """
site: EXAMPLE
pools: [cms]
policy: [{{fqan: /cms, pool: cms}}]
directories: {{state: {0}}}
slurm: {{cluster: site}}
store: {1}
retention: {{ledger_days: 1}}
"""
COLLECT = """
import sys
from gridwarden.accounting import ledger_batches
from gridwarden.cli import main
ledger_batches.BATCH_LINES = 50
sys.exit(main())
"""


class Node:
    """A node, which keeps its ledger's files for a day once the store has them."""

    def __init__(self, base: Path, url: str) -> None:
        self.base, self.ledger = base, base / "ledger"
        self.ledger.mkdir(mode=0o700)
        (base / "site.yaml").write_text(SITE.format(base, url))

    def record(self, job: str) -> None:
        fields = {"batch": "slurm", "job": job, "account": "cms001", "reason": "none"}
        ledger.append(self.ledger, "hold", fields, node="n1", cluster="site")

    def collect(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COLLECT, "--config", str(self.base / "site.yaml"), "collect", "--evidence"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def jobs(self) -> list[str]:
        return [str(line.body["job"]) for line in chain.read(self.ledger) if line.body.get("kind") == "hold"]


def test_a_hook_records_at_once_while_a_collector_waits_for_the_store(tmp_path, database, monkeypatch):
    open_store(database)
    node = Node(tmp_path, database)
    # More than the collector takes at once and a pipe holds: its reader waits in the midst of them.
    many = [("hold", {"batch": "slurm", "job": "1", "account": "cms001", "reason": "none"})] * 800
    ledger.append_all(node.ledger, many, node="n1", cluster="site")
    monkeypatch.setattr(ledger, "ROTATE_AT", 600)  # so that closing a file would meet the collector, too
    with psycopg.connect(database, autocommit=True) as watching, psycopg.connect(database) as holding:
        holding.execute("LOCK TABLE records IN EXCLUSIVE MODE")  # whoever reads goes on, whoever writes waits
        collector = node.collect()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        until(lambda: watching.execute(waiting).fetchone() or collector.poll() is not None)
        for _ in range(20):
            node.record("2")
        assert collector.poll() is None, "it still waits, and the hooks have not"
        holding.rollback()
        _, said = collector.communicate()
    assert collector.returncode == 0, said
    assert node.collect().wait() == 0
    assert node.jobs() == ["1"] * 800 + ["2"] * 20
    assert chain.acknowledged(node.ledger) == 820


def test_what_is_older_than_a_node_keeps_it_stays_through_an_outage_and_is_all_brought_after_it(
    server, database, tmp_path, monkeypatch
):
    monkeypatch.setattr(ledger, "ROTATE_AT", 600)
    node = Node(tmp_path, database)
    for number in range(20):
        node.record(str(number))
    months_ago = 1_600_000_000
    for path in node.ledger.iterdir():
        subprocess.run(["touch", "-d", f"@{months_ago}", path], check=True)
    before = sorted(path.name for path in node.ledger.iterdir())
    server.stop("immediate")
    try:
        for day in range(2):
            collector = node.collect()
            _, said = collector.communicate()
            assert (collector.returncode, len(said.splitlines())) == (75, 2), said
            node.record(f"day {day}")
            assert set(before) <= {path.name for path in node.ledger.iterdir()}
    finally:
        server.start()
    collector = node.collect()
    _, said = collector.communicate()
    assert collector.returncode == 0, said
    with open_to_read(database).transaction() as connection:
        stored = connection.exec_driver_sql("SELECT count(*), max(seq) FROM records").one()
    assert tuple(stored) == (22, 22)
    assert chain.acknowledged(node.ledger) == 22
