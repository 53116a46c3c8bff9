"""A payload in the register, its state file and the ledger, from before anything is lent to it until all is back."""

from __future__ import annotations

from gridwarden import payloads, syslog_line
from gridwarden.errors import GridwardenError
from gridwarden.hooks.pilot import begin_end
from gridwarden.prune import payload_end

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from gridwarden.hooks.job import Site
    from gridwarden.hooks.pilot.session import Ended
    from gridwarden.payload_state import State

NEVER_RAN = "it could not be started"


class Payload:
    """A payload on the books (``with`` statement): whatever stops it before it runs takes it off them again.

    ``held`` is the descriptor that holds the lock of its state file, ``directory`` that of the directory which it is in,
    and is lent if ``state`` says so.
    """

    __slots__ = ("_directory", "_doubtful", "_ended", "_held", "_site", "_started", "state")

    def __init__(self, site: Site, state: State, held: int, directory: int) -> None:
        self._site = site
        self._held = held
        self._directory = directory
        self._started = bool(state.process)
        self._ended = False
        self._doubtful = False  # whether its end may be on record although ``state`` does not say so
        self.state = state

    def __enter__(self) -> Payload:  # noqa: PYI034  typing.Self costs a launch time
        return self

    def started(self, process: int, group: str) -> None:
        """Put on record what is about to run; whatever this raises, it must not run.  Called by ``session.run``."""
        self.state, self._held = begin_end.started(self._site, self.state, self._held, process, group)
        self._started = True

    def load_ending(self) -> None:
        """Load what clears up at the end, at a time when there is nothing else to do."""
        from gridwarden.batch import slurm  # noqa: F401, PLC0415 - see above
        from gridwarden.hooks import clean_up  # noqa: F401, PLC0415

    def over(self, ended: Ended) -> None:
        """Put the end and what it cost on record; what stands in the way of that is for ``ended`` to meet, and to raise.

        Called by ``session.run`` while PAM closes the session.
        """
        self._take(ended)
        try:
            self._held = payloads.write(self._site["payloads"][0], self.state, self._held)
            self.state, self._held = payload_end.record(self._site, self.state, self._held)
        except Exception:  # noqa: BLE001 - whatever it is: the session is closed first
            self._doubtful = True

    def ended(self, ended: Ended) -> None:
        """Put the end on record if it is not, take back what was lent, and clear up; raises as ``begin_end.ended``."""
        self._take(ended)
        self._ended = True
        self._close()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._ended:
            return
        if not self._started:
            begin_end.abandon(self._site, self.state, self._held, self._directory)
            return
        if self.state.status < 0:
            self.state = self.state.but(because=f"{NEVER_RAN}: {error}")
        self._close()

    def look(self) -> None:
        """See in the ledger whether its end is on record: who was to put it there may have failed behind that, or been killed.

        Raises OSError, ConfigurationError.
        """
        if not self.state.recorded:
            self.state = payload_end.if_recorded(self._site, self.state)
        self._doubtful = False

    def _take(self, ended: Ended) -> None:
        figures = {name: getattr(ended, name) for name in ("status", "user", "system", "memory", "measured", "because")}
        self.state = self.state.but(**figures, group_cpu=-1 if ended.group_cpu is None else ended.group_cpu)

    def _close(self) -> None:
        if self._doubtful:
            self.look()
        begin_end.ended(self._site, self.state, self._held, self._directory)


def begin(site: Site, state: State, most: int, directory: int) -> Payload:
    """Put a payload on the books; ``most`` is how many its owner may run here at once.  Raises as ``begin_end.begin``."""
    return Payload(site, *begin_end.begin(site, state, most), directory)


def inherit(site: Site, payload: str, directory: int) -> Payload | None:
    """The books of a payload whose launcher was killed, for its guard to keep; None where that cannot be had.

    Somebody else may have come first, or there is no room: it can be asked for again, and whoever sees to the payload in
    the end says what stands in the way.
    """
    try:
        inherited = payloads.inherit(site["payloads"][0], payload)
    except (GridwardenError, OSError):
        return None
    return Payload(site, *inherited, directory) if inherited else None


def close_inherited(books: Payload, ended: Ended) -> None:
    """``Payload.ended`` for who has inherited; never raises: what is missing is for epilog, pruner and next launch to do."""
    try:
        books.look()  # its launcher may have been killed right behind the record
        with books:
            if books.state.process:
                books.ended(ended)
    except Exception as error:  # noqa: BLE001 - nobody is left to tell
        about = {"job": books.state.payload, "account": books.state.account}
        syslog_line.decision("payload-end", "left", batch=payloads.BATCH, **about, detail=str(error) or repr(error))
