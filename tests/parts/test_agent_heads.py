"""The agent sends the ledger's last line to the store, whatever state that is in."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gridwarden import agent_client, ledger_head
from gridwarden.accounting.store import open_store, open_to_read
from gridwarden.hooks.doctor import examine
from tests.agent import Node, client, fresh_node, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

UID = 61001
SITE = """
site: EXAMPLE
pools: [cms]
policy: [{{fqan: "*", pool: cms}}]
directories: {{state: {base}, runtime: {base}/run}}
slurm: {{cluster: site}}
store: "{url}"
"""


@pytest.fixture
def node() -> Iterator[Node]:
    with fresh_node() as node:
        yield node


def start(node: Node, url: str, program: str, before: str = "") -> None:
    (node.base / "site.yaml").write_text(SITE.format(base=node.base, url=url))
    node.configure(agent_heads_store=url, agent_heads_seconds="0.5")
    node.start(f"sys.argv[0] = {program!r}\n{before}")


def heads(url: str) -> list[tuple[object, ...]]:
    with open_to_read(url).transaction() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT node, seq, hash FROM heads ORDER BY seq"))]


def said(node: Node, word: str) -> None:
    process = client(node, UID, word)
    assert process.communicate(timeout=60)[0].startswith("declared")


def newest(node: Node) -> tuple[object, ...]:
    return os.uname().nodename.partition(".")[0], *ledger_head.head(node.base / "ledger")


def test_the_store_gets_the_ledgers_heads_and_catches_up_once_it_is_there(node, url):
    start(node, url, sys.executable)
    said(node, "note,n=before")
    if not url.startswith("sqlite"):
        until(lambda: "is empty" in agent_client.status(node.socket)["store"])
        assert agent_client.status(node.socket)["store_up"] == "0"
        (found,) = examine.agent_serves({"agent_socket": [node.socket], "gridmapdir": ["/"]})
        assert (found.kind, found.remedy) == ("agent-store", "gridwarden store head")
    open_store(url)
    until(lambda: heads(url) == [newest(node)])
    until(lambda: agent_client.status(node.socket)["store"] == "ok")
    said(node, "note,n=after")
    until(lambda: heads(url)[-1] == newest(node))


def test_a_node_without_a_store_does_nothing_for_it(node, sqlite_url):
    start(node, sqlite_url, sys.executable)
    said(node, "note,n=1")
    time.sleep(1.5)  # two turns
    assert agent_client.status(node.socket)["store"] == "ok"
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_a_store_that_does_not_answer_holds_up_no_message_and_leaves_nothing_behind(node, sqlite_url):
    Path(sqlite_url.removeprefix("sqlite:///")).touch(0o600)
    program = node.base / "gridwarden"
    program.write_text(f"#!/bin/sh\necho $$ >> {node.base}/pids\nexec sleep 600\n")
    program.chmod(0o755)
    start(
        node, sqlite_url, str(program), "from gridwarden.hooks.agent import stored_heads\nstored_heads.SEND_SECONDS = 1"
    )
    said(node, "note,n=1")
    until((node.base / "pids").exists)
    said(node, "note,n=2")
    until(lambda: "did not answer in time" in agent_client.status(node.socket)["store"])
    first = (node.base / "pids").read_text().split()[0]
    until(lambda: not Path(f"/proc/{first}").exists())
