"""The part of ``gridwarden exec-test`` that runs inside the batch job, as the pilot.

It proves what can be proved from there: that the payload has another uid, that nothing of it is left when it has ended though
a process in the middle of its tree was killed, and that its CPU time comes to the pilot.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GONE_SECONDS = 6.0  # after the payload's end, for what it left
SLACK = 0.02  # of the CPU time that a payload burns
# A process in the middle starts one in a session of its own, is killed, and the payload ends; the survivor holds the pipe.
ORPHANS = """\
sh -c 'setsid sleep 600 & kill -KILL $$' 2>/dev/null
id -u
"""
# The kernel ends the inner shell by its own clock, which is coarse; times has what it really used.
BURN = "sh -c 'ulimit -S -t {seconds}; while :; do :; done' 2>/dev/null; times"
TIME = re.compile(r"(\d+)m(\d+(?:\.\d+)?)s")
TICK = 'while :; do echo "$1" || exit; sleep 0.1; done'
TICKS = f"setsid sh -c '{TICK}' sh apart & sh -c '{TICK}' sh within"


class Proof(NamedTuple):
    """What was to be proved, whether it was, and the figures."""

    name: str
    holds: bool
    detail: str


def prove(face: Sequence[str], seconds: int) -> list[Proof]:
    """Run two payloads by ``face`` (a command), one of which burns ``seconds`` of CPU time."""
    return [*switch_and_orphans(face), burnt(face, seconds)]


def switch_and_orphans(face: Sequence[str]) -> list[Proof]:
    """A payload with another uid, whose orphans end with it: the pipe that they hold then reaches its end."""
    process = subprocess.Popen([*face, "/bin/sh", "-c", ORPHANS], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None  # noqa: S101 - it is a pipe, as asked for
    reading = select.poll()
    reading.register(process.stdout)
    uid, ended = b"", False
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        if reading.poll(100):
            data = os.read(process.stdout.fileno(), 4096)
            uid += data
            if not data:
                ended = True
                break
        if deadline is None and process.poll() is not None:
            deadline = time.monotonic() + GONE_SECONDS
    code = process.wait()
    text = uid.decode("ascii", "backslashreplace").strip()
    switched = text.isdigit() and int(text) not in (0, os.getuid())
    return [
        Proof("submit", code == 0, f"the payload ended with {code}"),
        Proof("switch", switched, f"pilot uid {os.getuid()}, payload uid {text or 'unknown'}"),
        Proof("orphans", ended and code == 0, "gone with the payload" if ended else "outlived the payload"),
    ]


def burnt(face: Sequence[str], seconds: int) -> Proof:
    """The CPU time that a payload says it burnt, about ``seconds``, and what of it is in its pilot's rusage."""
    before = children()
    command = [*face, "/bin/sh", "-c", BURN.format(seconds=seconds)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    came = children() - before
    used = sum(int(minutes) * 60 + float(rest) for minutes, rest in TIME.findall(done.stdout))
    holds = used > seconds / 2 and came >= used * (1 - SLACK)
    return Proof("cpu-to-pilot", holds, f"the payload used {used:.2f} s, the pilot has {came:.2f} s")


def children() -> float:
    """CPU seconds of all children waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def everything() -> float:
    """CPU seconds of this process and all children waited for."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime + children()


def write(directory: Path, proofs: list[Proof]) -> None:
    """Put the proofs where the one who submitted the job reads them, as one step."""
    temporary = directory / ".proofs"
    temporary.write_text(json.dumps({"proofs": proofs, "cpu": everything()}), encoding="utf-8")
    temporary.rename(directory / "proofs")


def tick(face: Sequence[str], directory: Path) -> None:
    """Run a payload that writes a line ten times a second from two sessions, until it is ended."""
    with (directory / "ticks").open("ab") as ticks:
        subprocess.run([*face, "/bin/sh", "-c", TICKS], stdin=subprocess.DEVNULL, stdout=ticks, check=False)
