"""Has the ledger's last line sent to the store: where root of this machine may add to that alone, nobody rewrites the ledger.

The hash of a line seals all before it, so what a store that was down has missed comes with the next one.
"""

from __future__ import annotations

import os

from gridwarden import syslog_line, trusted
from gridwarden.batch import question
from gridwarden.errors import GridwardenError

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.agent.errand import Errand
    from gridwarden.hooks.agent.starters import Send

FILE = "sqlite:///"
SEND_SECONDS = 40.0
LOOK_SECONDS = 45.0
DONE, NONE = b"ok", b"none"


class StoredHeads:
    """Has ``program``, gridwarden's path, send it at most every ``agent.heads_seconds``; ``why`` says why it could not."""

    def __init__(self, site: dict[str, list[str]], program: str, config: str, send: Send) -> None:
        self._store = site.get("agent_heads_store", [""])[0]
        self._seconds = float(site.get("agent_heads_seconds", ["60"])[0])
        self._program = program
        self._config = config
        self._send = send
        self._next = 0.0
        self._errand: Errand | None = None
        self._sent: tuple[int, str] = (0, "")
        self.why = ""

    def on_tick(self, now: float, told: tuple[int, str]) -> None:
        """Send a child with it, if the store has not what syslog was ``told``, and none is on its way still."""
        if now < self._next or told == self._sent or not self._store or (self._errand and not self._errand.ended):
            return
        self._next = now + self._seconds
        program, config, store = self._program, self._config, self._store

        def work(writing: int) -> None:
            trusted.write_all(writing, send_head(program, config, store))

        def back(report: bytes | None) -> None:
            why = (
                ""
                if report in (DONE, NONE)
                else (report or b"it did not answer in time").decode("utf-8", "surrogateescape")
            )
            if why != self.why:
                syslog_line.decision("head", "unavailable" if why else "available", detail=why)
            self.why = why
            if report == DONE:
                self._sent = told

        self._errand = self._send(work, back, LOOK_SECONDS)


def send_head(program: str, config: str, store: str) -> bytes:
    """Run ``gridwarden store head``: ``DONE``, or what it says of why not; ``NONE`` where nothing is collected into a file."""
    if store.startswith(FILE) and not os.path.exists(store.removeprefix(FILE)):  # which may be on a dead file server
        return NONE
    try:
        os.close(trusted.open_file(os.path.realpath(program)))
        said, well = question.ask([program, "--config", config, "store", "head"], SEND_SECONDS)
    except GridwardenError as error:
        said, well = str(error), False
    return DONE if well else (said.strip() or "it said nothing").encode("utf-8", "surrogateescape")
