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
DONE = b"ok"


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
        if now < self._next or told == self._sent or (self._errand and not self._errand.ended) or not self._has_store():
            return
        self._next = now + self._seconds
        program, config = self._program, self._config

        def work(writing: int) -> None:
            trusted.write_all(writing, send_head(program, config))

        def back(report: bytes | None) -> None:
            why = "" if report == DONE else (report or b"it did not answer in time").decode("utf-8", "surrogateescape")
            if why != self.why:
                syslog_line.decision("head", "unavailable" if why else "available", detail=why)
            self.why = why
            if not why:
                self._sent = told

        self._errand = self._send(work, back, LOOK_SECONDS)

    def _has_store(self) -> bool:
        """Whether there is one: a file only where something is collected into it."""
        return bool(self._store) and (
            not self._store.startswith(FILE) or os.path.exists(self._store.removeprefix(FILE))
        )


def send_head(program: str, config: str) -> bytes:
    """Run ``gridwarden store head``: ``DONE``, or what it says of why not."""
    try:
        os.close(trusted.open_file(os.path.realpath(program)))
        said, well = question.ask([program, "--config", config, "store", "head"], SEND_SECONDS)
    except GridwardenError as error:
        said, well = str(error), False
    return DONE if well else (said.strip() or "it said nothing").encode("utf-8", "surrogateescape")
