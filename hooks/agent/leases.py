"""What stands in the gridmapdir, looked at every while: leases made and ended elsewhere, and the holders of them here.

inotify does not see what other clients of a file server do, and a file server that is dead hangs whoever asks it: so a
child looks, and the daemon keeps what it found, as lease name -> (account, inode, lease id).
"""

from __future__ import annotations

from gridwarden import syslog_line, tab_file, trusted
from gridwarden.errors import ConfigurationError

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.hooks.agent.errand import Errand
    from gridwarden.hooks.agent.starters import Send
    from gridwarden.hooks.agent.writer import Writer

    Known = dict[str, tuple[str, int, str]]

LOOK_SECONDS = 20.0
BANS_SECONDS = 60.0  # a ban begins and ends by its time, too, with nothing changed in the gridmapdir
SEEN = "leases"  # in the directory of the agent's own state


class Leases:
    """Follows the gridmapdir of ``site``; what was seen is remembered in the file ``path``.

    ``config`` is the path of site.yaml; ``published`` is called when a holder file came or changed; ``why`` says why the
    gridmapdir cannot be read now.
    """

    def __init__(self, site: dict[str, list[str]], config: str, path: str, writer: Writer, send: Send) -> None:
        self._gridmapdir = site["gridmapdir"][0]
        self._holders = site["holders"][0]
        self._pools = tuple(site["pool"])
        self._config = config
        self._path = path
        self._every = float(site.get("agent_poll_seconds", ["30"])[0])
        self._writer = writer
        self._send = send
        self.published: Callable[[], None] = lambda: None
        self._next = self._bans_next = 0.0
        self._errand: Errand | None = None
        self._failed: frozenset[str] = frozenset()
        self._bans_looked = False
        self.known: Known = remembered(path)
        self.why = ""

    def look_soon(self) -> None:
        """Look at the next occasion: somebody waits for a holder."""
        if self._every:
            self._next = 0.0

    def on_tick(self, now: float) -> None:
        """Send a child to look, if it is time and none is on its way still."""
        if now < self._next or not self._every or (self._errand and not self._errand.ended):
            return
        self._next = now + self._every
        self._bans_looked = bans = now >= self._bans_next
        if bans:
            self._bans_next = now + BANS_SECONDS
        known, gridmapdir, pools, config = self.known, self._gridmapdir, self._pools, self._config
        holding = self._holders

        def work(writing: int) -> None:
            from gridwarden.hooks.agent import lease_errand  # noqa: PLC0415 - only the child needs it

            trusted.write_all(writing, lease_errand.look(gridmapdir, pools, known, config, holding, bans=bans))

        self._errand = self._send(work, self._back, LOOK_SECONDS)

    def _back(self, report: bytes | None) -> None:
        try:
            values = tab_file.decode(report) if report is not None else {"fault": ["it did not answer in time"]}
        except ValueError:
            values = {"fault": ["its answer was not whole"]}
        why = values.get("fault", [""])[0]
        if why != self.why:
            outcome = "unavailable" if why else "available"
            syslog_line.decision("agent", outcome, path=self._gridmapdir, detail=why)
            self.why = why
        for line in values.get("said", []):
            syslog_line.decision("agent", "published", detail=line)
            self.published()
        failed = frozenset(values.get("failed", []))
        for line in sorted(failed - self._failed):  # once, while look after look finds it so
            syslog_line.decision("agent", "failed", detail=line)
        self._failed = failed if self._bans_looked else self._failed | failed
        changed = {known[0] for name in values.get("gone", []) if (known := self.known.pop(name, None))}
        for line in values.get("seen", []):
            account, inode, lease, name = line.split(" ", 3)
            self.known[name] = (account, int(inode), "" if lease == "-" else lease)
            changed.add(account)
        if changed:
            self._observe(changed)
            remember(self._path, self.known)

    def _observe(self, accounts: set[str]) -> None:
        """Record all that these accounts are linked to now: with one time, where that is more than one name."""
        links: dict[str, list[tuple[str, int, str]]] = {account: [] for account in accounts}
        for name, (account, inode, lease) in self.known.items():
            if account in links:
                links[account].append((name, inode, lease))
        # Those with several come first, within one batch: what that takes has one time.
        for account, names in sorted(links.items(), key=lambda each: -len(each[1])):
            for name, inode, lease in names:
                self._writer.add("observation", {"account": account, "lease": lease, "name": name, "inode": inode})


def remembered(path: str) -> Known:
    """What an agent before this one had seen, since this machine started; nothing where that cannot be read."""
    try:
        values = tab_file.decode(trusted.read_file(path, 64 * 1024 * 1024))
        parts = [line.split(" ", 3) for line in values.get("seen", [])]
        return {name: (account, int(inode), "" if lease == "-" else lease) for account, inode, lease, name in parts}
    except (OSError, ConfigurationError, ValueError):
        return {}  # then all is observed again, which is true and costs only room


def remember(path: str, known: Known) -> None:
    """Keep what was seen for the next agent; where that cannot be written, that one observes it again."""
    pairs = [("seen", f"{account} {inode} {lease or '-'} {name}") for name, (account, inode, lease) in known.items()]
    try:
        trusted.replace_file(path, tab_file.encode(pairs), 0o600)
    except (OSError, ConfigurationError):
        pass
