"""Parts of the agent that watch something of their own, each switched off by its own fault and by nobody else's."""

from __future__ import annotations

from gridwarden import syslog_line
from gridwarden.hooks.agent import exit_part, pacct_watch, unjudged

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from gridwarden.hooks.agent.starters import Send, Watch
    from gridwarden.hooks.agent.writer import Writer
    from gridwarden.records import Value

    class Part(Protocol):
        """What runs inside the agent; nothing in it may wait."""

        def fileno(self) -> int:
            """What is watched; -1 for nothing."""

        def on_readable(self) -> None:
            """Read what has come, for some milliseconds at most."""

        def on_tick(self, now: float) -> None:
            """Do what time asks for; about once a second, by the boot-time clock."""

        def figures(self) -> dict[str, float]:
            """Metrics by their names after gridwarden_agent_."""

        def close(self) -> None:
            """End."""

    Start = Callable[[dict[str, list[str]], Callable[[str, dict[str, Value]], None]], Part | None]

STARTS: dict[str, Start] = {"exits": exit_part.start, "pacct": pacct_watch.start}
"""Of each part what starts it, given the node file's values and what queues a record; None: not on this machine."""


class Parts:
    """Every part that this machine can have."""

    def __init__(self, site: dict[str, list[str]], writer: Writer, watch: Watch, send: Send) -> None:
        self._site = site
        self._writer = writer
        self._watch = watch
        self._starts = STARTS | {"unjudged": lambda site, _: unjudged.Watch(site, send)}
        self._running: dict[str, tuple[Part, int]] = {}

    def start(self) -> None:
        """Start them."""
        for name, start in self._starts.items():
            try:
                part = start(self._site, self._record)
            except Exception as error:  # noqa: BLE001 - whatever it is, the agent goes on without this part
                self._fail(name, error)
                continue
            if part is not None:
                descriptor = part.fileno()
                self._running[name] = part, descriptor
                if descriptor != -1:
                    self._watch(descriptor, self._reader(name, part))

    def on_tick(self, now: float) -> None:
        """Let each do what time asks for."""
        for name, (part, _) in list(self._running.items()):
            self._guarded(name, part.on_tick, now)

    def figures(self) -> dict[str, float]:
        """Everybody's."""
        return {name: value for part, _ in self._running.values() for name, value in part.figures().items()}

    def said(self) -> str:
        """Which run, with blanks between them."""
        return " ".join(self._running)

    def close(self) -> None:
        """End them all."""
        for name, (part, _) in list(self._running.items()):
            self._guarded(name, part.close)

    def _record(self, kind: str, fields: dict[str, Value]) -> None:
        self._writer.add(kind, fields)

    def _reader(self, name: str, part: Part) -> Callable[[], None]:
        return lambda: self._guarded(name, part.on_readable)

    def _guarded(self, name: str, act: Callable[..., None], *given: float) -> None:
        try:
            act(*given)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> None:
        _, descriptor = self._running.pop(name, (None, -1))
        if descriptor != -1:
            self._watch(descriptor, None)
        detail = str(error) or type(error).__name__
        syslog_line.decision("agent", "failed", part=name, detail=detail)
        self._record("gap", {"what": f"part {name} of the agent", "reason": detail, "bytes": None, "sha256": None})
