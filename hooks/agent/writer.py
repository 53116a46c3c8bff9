"""What the agent has to record, in batches of one fdatasync each; on a full disk in memory, up to a bound."""

from __future__ import annotations

from gridwarden import ledger, records, syslog_line
from gridwarden.errors import ConfigurationError, EvidenceError

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.records import Value

    Fields = dict[str, Value]
    Then = Callable[[str, int], None]

STORED, HELD, REFUSED = "stored", "held", "refused"
MOST_HELD = 4096
MOST_HELD_BYTES = 4 * 1024 * 1024
MOST_AT_ONCE = 512
LONGEST = ledger.LONGEST_LINE // 2 - 512  # the ledger's own limit, less what is common to all records
RETRY_SECONDS = 1.0


class Entry:
    """A record on its way.  ``then`` is told once what became of it: ``stored`` under a number, ``held`` or ``refused``."""

    __slots__ = ("fields", "kind", "size", "then")

    def __init__(self, kind: str, fields: Fields, then: Then | None) -> None:
        self.kind = kind
        self.fields = fields
        self.then = then
        self.size = len(records.encode({"kind": kind, **dict.fromkeys(records.COMMON[1:])}, fields))
        if self.size > LONGEST:
            raise EvidenceError(f"a {kind} record of {self.size} bytes is too long")


class Writer:
    """Writes to the ledger of ``site``; ``stored`` counts records on disk, ``why`` says why nothing can be written."""

    def __init__(self, site: dict[str, list[str]], node: str) -> None:
        self._directory = site["ledger"][0]
        self._cluster = site["cluster"][0]
        self._node = node
        self._waiting: list[Entry] = []
        self._held: list[Entry] = []
        self._held_bytes = 0
        self._retry = 0.0
        self._lost = 0
        self.stored = 0
        self.why = ""

    def add(self, kind: str, fields: Fields, then: Then | None = None) -> None:
        """Record this with the next ``flush``; raises EvidenceError for what no ledger takes: it would hold up the rest."""
        self._waiting.append(Entry(kind, fields, then))

    @property
    def held(self) -> int:
        """How many records wait in memory for room on the disk."""
        return len(self._held)

    def flush(self, now: float) -> None:
        """Write what waits; what cannot be written is held in memory, and tried again after a second."""
        if self._held and now >= self._retry:
            self._write_held(now)
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            if not self._held and (last := self._write(batch, now)):
                for place, entry in enumerate(batch):
                    if entry.then:
                        entry.then(STORED, last - len(batch) + 1 + place)
            else:
                for entry in batch:
                    self._hold(entry)

    def _write_held(self, now: float) -> None:
        while self._held:
            if not self._write(self._held[:MOST_AT_ONCE], now):
                return
            self._held_bytes -= sum(entry.size for entry in self._held[:MOST_AT_ONCE])
            del self._held[:MOST_AT_ONCE]
        syslog_line.decision("agent", "stored", detail="what was held in memory is on disk")
        if self._lost:
            lost, self._lost = self._lost, 0
            reason = f"{lost} records came while the disk was full and memory for them was used up"
            self.add("gap", {"what": "records of the agent", "reason": reason, "bytes": None, "sha256": None})

    def _hold(self, entry: Entry) -> None:
        if len(self._held) < MOST_HELD and self._held_bytes + entry.size <= MOST_HELD_BYTES:
            self._held.append(entry)
            self._held_bytes += entry.size
            outcome = HELD
        else:
            self._lost += 1
            outcome = REFUSED
        if entry.then:
            entry.then(outcome, 0)

    def _write(self, batch: list[Entry], now: float) -> int:
        """The number of the last record; 0 when nothing could be written."""
        try:
            entries = [(entry.kind, entry.fields) for entry in batch]
            last, _ = ledger.append_all(self._directory, entries, node=self._node, cluster=self._cluster)
        except (EvidenceError, ConfigurationError) as error:
            if not self.why:
                syslog_line.decision("agent", "held", detail=str(error))
            self.why = str(error)
            self._retry = now + RETRY_SECONDS
            return 0
        self.why = ""
        self.stored += len(batch)
        return last
