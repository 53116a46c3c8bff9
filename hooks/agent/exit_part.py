"""The part of the agent that hears from the kernel of every process of ordinary users that ends, and keeps what it used.

All ordinary uids (1000 and more), not only those of pools: an account that joins a pool later is on record from its first
process on.  Whoever they are is looked up when they are collected, since a directory service could keep the agent waiting.
"""

from __future__ import annotations

import errno
import os
import time

from gridwarden import exit_lines, ledger, syslog_line
from gridwarden.errors import Unavailable
from gridwarden.hooks.agent import exit_statistics, subordinate
from gridwarden.hooks.agent.exit_jobs import Jobs
from gridwarden.hooks.agent.exit_netlink import Listener
from gridwarden.hooks.agent.exit_spool import Spool
from gridwarden.hooks.agent.exit_statistics import Groups, Process
from gridwarden.pools import is_ordinary

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.agent.exit_spool import Record

READING_SECONDS = 0.01
PROBE_SECONDS, PROBE_CODE = 2.0, 42
GAP_SECONDS = 10.0
MOST_OF_USER = 100  # processes a tick, once room is scarce: one who forks without end must not hide everybody else's
WATCHED, WATCHED_SECONDS = "watched", 10.0
WHAT = "exit statistics"


def start(site: dict[str, list[str]], record: Record) -> Exits | None:
    """Listen, or say in syslog why that cannot be done here; raises OSError, ConfigurationError."""
    directory = os.path.join(os.path.dirname(site["ledger"][0]), exit_lines.DIRECTORY)
    try:
        listener = Listener()
        try:
            probe(listener)
        except BaseException:
            listener.socket.close()
            raise
    except Unavailable as error:
        syslog_line.decision("agent", "off", part="exits", detail=str(error))
        return None
    heading = exit_lines.heading(os.uname().nodename.partition(".")[0], site["cluster"][0], ledger.boot_id())
    reserve = int(site.get("agent_reserve_megabytes", ["64"])[0]) << 20
    return Exits(listener, Spool(directory, heading, record, reserve), Jobs(site["register"][0]), directory, record)


class Exits:
    """What hears of processes that end; a part of the agent."""

    def __init__(self, listener: Listener, spool: Spool, jobs: Jobs, directory: str, record: Record) -> None:
        self._listener = listener
        self._spool = spool
        self._jobs = jobs
        self._record = record
        self._groups = Groups()
        self._of_user: dict[int | str, int] = {}  # processes since the last tick, by whose they are
        self._owners = subordinate.Owners(subordinate.PATH)
        self._watched = os.path.join(directory, WATCHED)
        self._drops = self._lost = 0
        self._gap_next = self._watched_next = 0.0
        self._say_what_nobody_watched()

    def fileno(self) -> int:
        """What is watched."""
        return self._listener.socket.fileno()

    def on_readable(self) -> None:
        """Read what has come."""
        until = time.monotonic() + READING_SECONDS
        while time.monotonic() < until:
            try:
                message = self._listener.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue  # how many were dropped is asked on the next tick
            if message is None:
                return
            self._take(message)

    def on_tick(self, now: float) -> None:
        """Write, and say what was missed."""
        self._spool.on_tick(now)
        self._jobs.forget()
        self._of_user.clear()
        if self._spool.scarce:
            self._owners.refresh()
        if now >= self._watched_next:
            self._watched_next = now + WATCHED_SECONDS
            self._touch()
        if now >= self._gap_next:
            self._tell_of_gaps(now)

    def figures(self) -> dict[str, float]:
        """How many processes were kept, and how many messages were not."""
        return {"exits_total": self._spool.kept, "exits_lost_total": self._drops + self._spool.lost}

    def close(self) -> None:
        """Read what has come so far, and complete the file."""
        self.on_readable()
        self._listener.socket.close()
        self._tell_of_gaps(0)
        self._touch()
        self._spool.close()

    def _take(self, message: bytes) -> None:
        thread, group = self._listener.statistics(message)
        if thread == -1:
            return
        (uid,) = exit_statistics.UID.unpack_from(message, thread)
        if not is_ordinary(uid):
            return
        process = self._groups.add(message, thread, group, time.time_ns() // 1000)
        if process is not None:
            self._keep(process)

    def _keep(self, process: Process) -> None:
        owner = self._owners.of(process.uid)
        count = self._of_user[owner] = self._of_user.get(owner, 0) + 1
        if count > MOST_OF_USER and self._spool.scarce:
            self._spool.refuse(f"more than {MOST_OF_USER} a second of one user, and half of the room is taken")
            return
        batch, job, known_by = self._jobs.of(process.pid, process.parent, process.uid, process.start)
        numbers = (
            process.end, process.start, process.pid, process.parent, process.uid, process.gid, (process.cpu + 500) // 1000,
            process.user, process.system, process.status, process.threads,
        )  # fmt: skip
        self._spool.add(lambda seq: exit_lines.line((seq, *numbers), batch, job, known_by, process.command))

    def _tell_of_gaps(self, now: float) -> None:
        drops = self._listener.drops() if self._listener.socket.fileno() != -1 else self._drops
        if drops > self._drops:
            self._gap(f"{drops - self._drops} threads ended unseen: the kernel's buffer for them was full")
            self._drops = drops
        if self._spool.lost > self._lost:
            self._gap(f"{self._spool.lost - self._lost} processes could not be kept: {self._spool.why}")
            self._lost = self._spool.lost
        self._gap_next = now + GAP_SECONDS

    def _gap(self, reason: str) -> None:
        self._record("gap", {"what": WHAT, "reason": reason, "bytes": None, "sha256": None})

    def _say_what_nobody_watched(self) -> None:
        """Tell for how long nobody listened, if an agent did before, since this machine was started."""
        try:
            with open(self._watched, encoding="ascii") as file:
                boot, _, until = file.read(128).partition("\t")
            seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - float(until)
        except (OSError, ValueError):
            return
        if boot == ledger.boot_id():
            self._gap(f"nobody listened for the {seconds:.1f} seconds before this")
        else:
            self._gap(
                "this machine was started again: what ended shortly before it stopped, or when it did, may be missing"
            )

    def _touch(self) -> None:
        said = f"{ledger.boot_id()}\t{time.clock_gettime(time.CLOCK_BOOTTIME):.3f}"
        temporary = f"{self._watched}.new"
        try:
            with open(temporary, "w", encoding="ascii") as file:
                file.write(said)
            os.rename(temporary, self._watched)
        except OSError:
            pass  # a full disk: the gap that it tells of will be too long


def probe(listener: Listener) -> None:
    """Let a child end, and see it: raises Unavailable where the kernel says nothing of it, or something else."""
    child = os.fork()
    if child == 0:
        os._exit(PROBE_CODE)
    os.waitpid(child, 0)
    groups, until = Groups(), time.monotonic() + PROBE_SECONDS
    while time.monotonic() < until:
        try:
            message = listener.receive()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            continue
        if message is None:
            time.sleep(0.001)
            continue
        thread, group = listener.statistics(message)
        if thread == -1:
            continue
        if why := exit_statistics.why_not(message, thread):
            raise Unavailable(why)
        process = groups.add(message, thread, group, 0)
        if process is not None and process.pid == child:
            if (process.parent, process.uid, process.status) == (os.getpid(), os.getuid(), PROBE_CODE << 8):
                return
            break
    raise Unavailable(
        "the kernel says nothing of an ended child here: not the host's own network namespace, or an unknown layout"
    )
