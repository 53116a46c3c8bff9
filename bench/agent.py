"""What the node agent costs, idle and busy, and what one user's flood costs the others.

Run as root on a machine of its own, or a private pid namespace::

    python3 -m tests.site apart -- .venv/bin/python bench/agent.py

Prints a table, or JSON with ``--json``.  ``--seconds`` is how long each of the three lasts.  ``--realtime`` gives the agent
and the 100 others real-time priority, not the flooder: for a machine that other work is done on meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gridwarden import agent_client, chain, tab_file
from tests.agent import Node

if TYPE_CHECKING:
    from collections.abc import Callable

FLOODER, FIRST = 61002, 62000
OTHERS = 100
CONNECTIONS = 64  # of the flooder's, of which the agent keeps 16
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure all three."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=60)
    words.add_argument("--json", action="store_true")
    words.add_argument("--realtime", action="store_true")
    given = words.parse_args()
    rows = measure(given.seconds, realtime=given.realtime)
    result = {"realtime": given.realtime, "seconds": given.seconds, "python": sys.version.split()[0], "rows": rows}
    if given.json:
        print(json.dumps(result, indent=1))
        return
    for row in result["rows"]:
        print(*(f"{name}={value}" for name, value in row.items()))


def measure(seconds: float, *, realtime: bool) -> list[dict[str, object]]:
    """A row each: idle, 1 000 messages a second, and the flood."""
    rows = []
    for what, rate, flooded in (("idle", 0.0, False), ("busy", 10.0, False), ("flood", 1.0, True)):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            node = Node(Path(directory))
            node.start()
            if realtime and node.process:
                hurry(node.process.pid)
            rows.append({"what": what, **row(node, seconds, rate, flooded=flooded, realtime=realtime)})
    return rows


def row(node: Node, seconds: float, rate: float, *, flooded: bool, realtime: bool) -> dict[str, object]:
    """Memory and processor time of an agent, and how long those waited who sent ``rate`` messages a second each."""
    pid = node.process.pid if node.process else 0
    before, began = cpu(pid), time.monotonic()
    flooding = [child(FLOODER, lambda: flood(node.socket, seconds))] if flooded else []
    syncing = child(0, lambda: sync(node.base, seconds), realtime=realtime)
    senders = [
        child(FIRST + number, lambda number=number: send(node.socket, seconds, rate, number), realtime=realtime)
        for number in range(OTHERS if rate else 0)
    ]
    told = [one for sender in senders for one in answer(sender)]
    times, late = [one for one in told if one >= 0], [-one for one in told if one < 0]
    if not rate:
        time.sleep(seconds)
    disk = answer(syncing)
    tried, taken = (int(each) for each in answer(flooding[0])) if flooding else (0, 0)
    spent, lasted = cpu(pid) - before, time.monotonic() - began
    memory = resident(pid)
    node.end()
    mine = [body for body in node.records("declared") if body["uid"] != FLOODER]
    gaps = [str(body["reason"]) for body in node.records("gap")]
    faults = chain.faults(node.base / "ledger")
    return {
        "rss_mib": round(memory / 1024, 1),
        "cpu_percent": round(100 * spent / lasted, 2),
        "sent": len(times),
        "lost": len(times) - len(mine),
        "median_ms": round(statistics.median(times) * 1000, 2) if times else None,
        "p99_ms": round(sorted(times)[int(len(times) * 0.99)] * 1000, 2) if times else None,
        "most_ms": round(max(times) * 1000, 2) if times else None,
        "late_p99_ms": round(sorted(late)[int(len(late) * 0.99)] * 1000, 2) if late else None,
        "disk_p99_ms": round(sorted(disk)[int(len(disk) * 0.99)] * 1000, 2),
        "load": os.getloadavg()[0],
        "flood_tries": tried,
        "flood_taken": taken,
        "flood_stored": sum(body["uid"] == FLOODER for body in node.records("declared")),
        "gap": "; ".join([*gaps, *faults]),
    }


def hurry(pid: int) -> None:
    """Give a process real-time priority."""
    os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


def child(uid: int, work: Callable[[], list[float]], *, realtime: bool = False) -> tuple[int, int]:
    """Do work as ``uid`` in a child: its pid, and what its answer is read from."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    if realtime:
        hurry(0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    with os.fdopen(writing, "w") as file:
        json.dump(work(), file)
    os._exit(0)


def answer(sender: tuple[int, int]) -> list[float]:
    """What a child has answered."""
    with os.fdopen(sender[1]) as file:
        told: list[float] = json.load(file)
    os.waitpid(sender[0], 0)
    return told


def send(path: str, seconds: float, rate: float, number: int) -> list[float]:
    """Send at a rate, each over a connection of its own as hooks do, and take the times of the answers.

    How much too late the sender itself woke stands between them, below zero: what the machine does to anybody.
    """
    times = []
    end, due = time.monotonic() + seconds, time.monotonic() + number / OTHERS / rate
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic()
        times.append(-max(began - due, 1e-9))
        told = agent_client.tell(path, "note", {"n": "x" * 200}, 20)
        if told.outcome != agent_client.DECLARED:
            sys.exit(f"not stored: {told}")
        times.append(time.monotonic() - began)
        due += 1 / rate
    return times


def sync(directory: Path, seconds: float) -> list[float]:
    """How long the disk takes for a line alone, twenty times a second: below that no answer can be."""
    times = []
    end = time.monotonic() + seconds
    with (directory / "floor").open("ab", buffering=0) as file:
        while time.monotonic() < end:
            began = time.monotonic()
            file.write(bytes(500))
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - began)
            time.sleep(0.05)
    return times


def flood(path: str, seconds: float) -> list[float]:
    """Send as fast as the machine can, over as many connections as are to be had.

    How often it was tried, and how many messages the kernel took: who waits for room in a connection sends no more than
    the agent reads, so this one is told each time that there is none (EAGAIN), and tries the next.
    """
    message = tab_file.encode([("kind", "flood"), ("n", "x" * 200)])
    sends: list[Callable[[bytes], int]] = []
    taken = refused = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for send in sends:
            try:
                for _ in range(1000):
                    send(message)
                    taken += 1
            except OSError:
                refused += 1
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one.setblocking(False)  # noqa: FBT003 - has no other way
        try:
            one.connect(path)
        except OSError:
            one.close()
            continue
        sends = [*sends[1 - CONNECTIONS :], one.send]
    return [taken + refused, taken]


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / TICKS


def resident(pid: int) -> int:
    """The memory that a process has, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


if __name__ == "__main__":
    main()
