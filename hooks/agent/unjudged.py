"""The part of the agent that looks for Slurm jobs which run here though no prolog has judged them.

A child looks, and stops what must not run; the daemon keeps what it said of each job.
"""

from __future__ import annotations

from gridwarden import syslog_line, tab_file, trusted

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.agent.errand import Errand
    from gridwarden.hooks.agent.starters import Send

EVERY_SECONDS = 10.0
SEARCH_SECONDS = 60.0  # between two looks where no slurmd keeps its steps
LOOK_SECONDS = 60.0
OTHERS = "-"  # said of a job that is of no pool account: it is not looked at again


class Watch:
    """Sends a child every few seconds; a part of the agent."""

    def __init__(self, site: dict[str, list[str]], send: Send) -> None:
        self._site = site
        self._send = send
        self._next = 0.0
        self._pause = EVERY_SECONDS
        self._errand: Errand | None = None
        self._told: dict[str, str] = {}
        self._fault = ""

    def fileno(self) -> int:
        """Nothing is watched."""
        return -1

    def on_readable(self) -> None:
        """Nothing comes."""

    def on_tick(self, now: float) -> None:
        """Send a child to look, if it is time and none is on its way still."""
        if now < self._next or (self._errand and not self._errand.ended):
            return
        self._next = now + self._pause
        site, told = self._site, self._told

        def work(writing: int) -> None:
            from gridwarden.hooks.agent import unjudged_errand  # noqa: PLC0415 - only the child needs it

            trusted.write_all(writing, unjudged_errand.look(site, told))

        self._errand = self._send(work, self._back, LOOK_SECONDS)

    def figures(self) -> dict[str, float]:
        """How many such jobs there are."""
        return {"unjudged_jobs": sum(said != OTHERS for said in self._told.values())}

    def close(self) -> None:
        """Nothing is open."""

    def _back(self, report: bytes | None) -> None:
        try:
            values = tab_file.decode(report if report is not None else b"")
        except ValueError:
            return  # nothing is known anew: what was said stands
        fault = values.get("fault", [""])[0]
        if fault not in ("", self._fault):
            syslog_line.decision("agent", "failed", part="unjudged", detail=fault)
        self._fault = fault
        self._pause = SEARCH_SECONDS if "absent" in values else EVERY_SECONDS
        if not fault:
            parts = [line.split(" ", 2) for line in values.get("job", [])]
            self._told = {f"{node} {job}": said for node, job, said in parts}
