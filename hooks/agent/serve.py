"""The agent itself: one loop that waits for senders, children, parts and the clock, and writes what came of them.

The order in a turn is the promise of the socket: read what fair turns allow, write it all with one fdatasync, and only
then answer.  Whoever was not answered sends again.
"""

from __future__ import annotations

import os
import select

from gridwarden import syslog_line
from gridwarden.hooks.agent import figures, intake, sender, systemd
from gridwarden.hooks.agent.errand import Errand, left_behind
from gridwarden.hooks.agent.heads import Heads
from gridwarden.hooks.agent.held import Held
from gridwarden.hooks.agent.intake import Intake
from gridwarden.hooks.agent.leases import Leases
from gridwarden.hooks.agent.limits import Turns
from gridwarden.hooks.agent.messages import Messages
from gridwarden.hooks.agent.parts import Parts
from gridwarden.hooks.agent.questions import Questions
from gridwarden.hooks.agent.sender import now as boot_time
from gridwarden.hooks.agent.starters import Starters
from gridwarden.hooks.agent.stored_heads import StoredHeads
from gridwarden.hooks.agent.writer import Writer

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from gridwarden.hooks.agent.intake import Connection
    from gridwarden.hooks.agent.main import Wishes
    from gridwarden.hooks.agent.paths import Paths
    from gridwarden.hooks.agent.writer import Fields

    Site = dict[str, list[str]]

AT_ONCE = 128  # messages before they are written, and others are let in
TICK_SECONDS = 1.0
FLOOD_QUIET_SECONDS = 10.0  # a uid's flood is over, and told of in one record
FLOOD_LONGEST_SECONDS = 600.0
DRAIN_SECONDS = 5.0
FIGURES_SECONDS = 15.0


class Agent:
    """All that runs, for the ``site`` of a node file."""

    def __init__(self, site: Site, paths: Paths, listening: socket, started: float) -> None:
        runtime = os.path.dirname(site["agent_socket"][0])
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._errands: list[Errand] = []
        self._left = left_behind()
        self._started = started
        self._dropped = 0
        self._figures = site.get("agent_prometheus", [""])[0]
        self._figures_next = 0.0
        self._turns: Turns = Turns(
            float(site.get("agent_messages_at_once", ["200"])[0]),
            float(site.get("agent_messages_per_second", ["10"])[0]),
        )
        each = int(site.get("agent_connections", ["16"])[0])
        self.intake = Intake(listening, self._poll, self._turns, each)
        self.writer = Writer(site, os.uname().nodename)
        self.starters = Starters(site, f"{runtime}/starters", self.send, self.watch)
        questions = Questions(site, paths.whoran, self.send)
        self.leases = Leases(site, paths.config, f"{runtime}/agent.leases", self.writer, self.send)
        self.messages = Messages(site, self.writer, self.starters, questions, self.status, self.leases.look_soon)
        self.held = Held(site, self.send, self.leases.look_soon)
        self.leases.published = self.held.look_soon
        self.heads = Heads(site["ledger"][0], float(site.get("agent_heads_seconds", ["60"])[0]))
        self.stored_heads = StoredHeads(site, paths.beside_whoran("gridwarden"), paths.config, self.send)
        self.parts = Parts(site, self.writer, self.watch, self.send)

    def run(self, wishes: Wishes) -> None:
        """Serve until a signal asks to stop; raises OSError."""
        self.watch(wishes.descriptor, lambda: _empty(wishes.descriptor))
        self.starters.remember()
        self.parts.start()
        watchdog = systemd.watchdog_seconds()
        tick = watched = 0.0
        while not wishes.stop or (wishes.reload and self.writer.held):  # what waits for room on the disk must not go
            now = boot_time()
            self._wait(max(0.0, tick - now), now)
            now = boot_time()
            self._serve(now)
            if now >= tick:
                tick = now + TICK_SECONDS
                self._on_tick(now)
            if watchdog and now >= watched:
                watched = now + watchdog
                systemd.notify("WATCHDOG=1")
        self._stop(reload=wishes.reload)

    def send(self, work: Callable[[int], None], done: Callable[[bytes | None], None], seconds: float) -> Errand | None:
        """Send a child on an errand; None when none can be made."""
        try:
            errand = Errand(work, done, boot_time() + seconds)
        except OSError:
            return None
        self._errands.append(errand)

        def heard() -> None:
            if not errand.read():
                self.watch(errand.reading, None)

        self.watch(errand.reading, heard)
        self.watch(errand.ending, lambda: self._look_after(errand))
        return errand

    def watch(self, descriptor: int, handler: Callable[[], None] | None) -> None:
        """Call ``handler`` whenever ``descriptor`` can be read; None: no longer."""
        known = self._handlers.pop(descriptor, None)
        if known is not None:
            self._poll.unregister(descriptor)
        if handler is not None:
            self._handlers[descriptor] = handler
            self._poll.register(descriptor, select.EPOLLIN)

    def status(self) -> list[tuple[str, str]]:
        """What the agent says of itself to whoever asks: nothing of anybody's identity."""
        said = {name: str(int(value)) for name, value in self.values().items()}
        return [
            ("pid", str(os.getpid())),
            ("ledger", self.writer.why or "ok"),
            ("gridmapdir", self.leases.why or "ok"),
            ("store", self.stored_heads.why or "ok"),
            ("parts", self.parts.said()),
            *((name, said[name]) for name in figures.MEANINGS),
        ]

    def values(self) -> dict[str, float]:
        """The agent's figures, by the names of ``figures.MEANINGS`` and those of its parts."""
        dropped = self._dropped + sum(own.dropped for own in self._turns.everyone())
        return {
            "stored_total": self.writer.stored,
            "declared_total": self.messages.declared,
            "dropped_total": dropped,
            "held": self.writer.held,
            "connections": len(self.intake),
            "jobs": len(self.starters),
            "leases": len(self.leases.known),
            "gridmapdir_up": int(not self.leases.why),
            "ledger_up": int(not self.writer.why),
            "store_up": int(not self.stored_heads.why),
            "start_timestamp_seconds": self._started,
            **self.parts.figures(),
        }

    def _wait(self, seconds: float, now: float) -> None:
        """Wait for something to read, or for a turn of somebody who waits."""
        turn = self._turns.seconds(now)
        timeout = seconds if turn is None else min(seconds, turn)
        events = self._poll.poll(timeout + 0.001 if timeout else 0)
        now = boot_time()
        for descriptor, _ in events:
            if handler := self._handlers.get(descriptor):
                handler()
            elif descriptor == self.intake.listening.fileno():
                self.intake.accept(now)
            else:
                self.intake.note(descriptor, now)

    def _serve(self, now: float) -> None:
        """Take messages in turn, write, and answer."""
        for _ in range(AT_ONCE):
            connection = self._turns.take(now)
            if connection is None:
                break
            if (data := self.intake.read(connection, now)) is not None:
                self._take(connection, data)
        self.writer.flush(now)

    def _take(self, connection: Connection, data: bytes) -> None:
        try:
            self.messages.take(connection, data)
        except Exception as error:  # noqa: BLE001 - its sender would send it to the next agent, and end that, too
            detail = str(error) or type(error).__name__
            syslog_line.decision("agent", "failed", uid=connection.uid, detail=detail)
            intake.refuse(connection, f"a fault of the agent's own: {detail}")

    def _on_tick(self, now: float) -> None:
        self._left = [child for child in self._left if not os.waitpid(child, os.WNOHANG)[0]]
        for errand in list(self._errands):
            self._look_after(errand, now)
        self.starters.on_tick(now)
        self.leases.on_tick(now)
        self.held.on_tick(now)
        self.parts.on_tick(now)
        self._tell_of_floods(now, FLOOD_QUIET_SECONDS)
        self.intake.close_idle(now)
        self._turns.forget_idle(now)
        self.writer.flush(now)
        self.heads.on_tick(now)
        self.stored_heads.on_tick(now, self.heads.told)
        if self._figures and now >= self._figures_next:
            self._figures_next = now + FIGURES_SECONDS
            figures.write(self._figures, self.values())

    def _look_after(self, errand: Errand, now: float | None = None) -> None:
        if errand.look(boot_time() if now is None else now):
            self._errands.remove(errand)
            self.watch(errand.reading, None)
            self.watch(errand.ending, None)
            errand.close()

    def _tell_of_floods(self, now: float, quiet: float) -> None:
        """One record a flood: how much of whose messages was dropped."""
        for own in self._turns.everyone():
            if own.dropped and (now - own.last >= quiet or now - own.first >= FLOOD_LONGEST_SECONDS):
                dropped, own.dropped = own.dropped, 0
                self._dropped += dropped
                reason = f"beyond its limits: {dropped} messages or connections were dropped"
                whose = "all user namespaces" if own.uid == sender.FOREIGN else f"uid {own.uid}"
                fields: Fields = {"what": f"messages of {whose}", "reason": reason, "bytes": None, "sha256": None}
                self.writer.add("gap", fields)
                syslog_line.decision("agent", "dropped", uid=own.uid, count=dropped)

    def _stop(self, *, reload: bool) -> None:
        """Let nobody in any more, serve who has sent something, and say the ledger's last line."""
        if not reload:  # systemd kills who says so and stays
            systemd.notify("STOPPING=1")
        deadline = boot_time() + DRAIN_SECONDS
        while self.intake.accept(boot_time()) and boot_time() < deadline:
            pass  # who has connected may have sent something
        self.intake.let_nobody_in()
        while (now := boot_time()) < deadline:
            self._wait(0.05, now)
            before = self.writer.stored
            self._serve(now)
            if self.writer.stored == before and not self._errands:
                break
        now = boot_time()
        self.intake.close_all(now)
        self.parts.close()
        self._tell_of_floods(now, 0)
        self.writer.flush(now + 2)  # what is held in memory, too, once more
        self.heads.tell()
        if self.writer.held:
            syslog_line.decision("agent", "lost", count=self.writer.held, detail=self.writer.why)


def _empty(descriptor: int) -> None:
    try:
        os.read(descriptor, 64)
    except BlockingIOError:
        pass
