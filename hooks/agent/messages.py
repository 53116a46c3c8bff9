"""What is done with a message: recorded as evidence of its sender's job, or as no more than somebody's declaration."""

from __future__ import annotations

import os

from gridwarden import executables, off, tab_file
from gridwarden.agent_client import LOOKING
from gridwarden.errors import EvidenceError
from gridwarden.hooks.agent import intake, sender
from gridwarden.hooks.agent.writer import REFUSED, STORED

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.hooks.agent.intake import Connection
    from gridwarden.hooks.agent.questions import Questions
    from gridwarden.hooks.agent.sender import Sender
    from gridwarden.hooks.agent.starters import Starters
    from gridwarden.hooks.agent.writer import Then, Writer
    from gridwarden.records import Value

DECLARED = "declared"
STATUS, QUESTION, HOLDER, START, END = "status", "question", "holder", "job_start", "job_end"
TASK = "task"  # of Slurm's TaskProlog, a child of the process that is about to execute the task
LONGEST_WHAT = 32
WHAT = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
MEBIBYTE = 1024 * 1024


class Messages:
    """Takes messages; ``declared`` counts what nobody vouches for.

    ``status`` gives what the agent says of itself; ``look_soon`` has it look for leases at the next occasion.
    """

    def __init__(
        self,
        site: dict[str, list[str]],
        writer: Writer,
        starters: Starters,
        questions: Questions,
        status: Callable[[], list[tuple[str, str]]],
        look_soon: Callable[[], None],
    ) -> None:
        named = site.get("prune_daemon", [])  # Debian's are links: /proc shows where they lead
        self._daemons = [*named, *(real for real, _ in executables.resolve(named).values())]
        self._ledger = site["ledger"][0]
        self._reserve = int(site.get("agent_reserve_megabytes", ["64"])[0]) * MEBIBYTE
        self._writer = writer
        self._starters = starters
        self._questions = questions
        self._status = status
        self._look_soon = look_soon
        self.declared = 0

    def take(self, connection: Connection, data: bytes) -> None:
        """Do with one message what it and its sender call for; the answer follows once that is on disk."""
        try:
            values = tab_file.decode(data)
            (what,) = values.pop("kind")
        except (ValueError, KeyError):
            intake.refuse(connection, "a message is version<TAB>1, kind<TAB>WHAT and further key<TAB>value lines")
            return
        if not (what and len(what) <= LONGEST_WHAT and WHAT.issuperset(what)):
            intake.refuse(connection, "a kind is a word of at most 32 of a-z 0-9 _ -")
        elif what == STATUS:
            connection.answer([("outcome", STORED), *self._status()])
        elif what == QUESTION:
            self._questions.take(connection, values.get("word", []))
        elif what == HOLDER:
            self._look(connection)
        else:
            # Anew for each message: who has connected in a job may leave the connection to others, and the job may be over.
            who = sender.look(connection.socket, connection.pid, connection.uid, connection.connected, self._daemons)
            fields = {key: given[-1] for key, given in values.items()}
            text = data.decode("ascii").partition("\n")[2]
            self._record(connection, who, (what, text), fields)

    def _look(self, connection: Connection) -> None:
        """Have the gridmapdir looked at now, for a prolog of a job of whom nobody here knows who is behind it."""
        if (connection.uid, connection.limited) != (0, 0):
            intake.refuse(connection, "only root may ask for that")
            return
        self._look_soon()
        connection.answer([("outcome", LOOKING)])

    def _record(self, connection: Connection, who: Sender, said: tuple[str, str], fields: dict[str, str]) -> None:
        what, text = said
        if who.starter is None:
            self._declare(connection, who, said, who.why)
        elif what == START:
            if off.switch("hooks"):
                self._declare(connection, who, said, "hooks are switched off on this machine")
                return
            self._starters.begin(
                who,
                fields,
                done=lambda job: connection.answer([("outcome", STORED), ("job", job)]),
                refused=lambda why: connection.answer([("outcome", REFUSED), ("detail", why)]),
                doubted=lambda why: self._declare(connection, who, said, why),
            )
        else:
            about = self._starters.known(who)
            if about is None:
                self._declare(connection, who, said, "no job_start of its job is on record here")
                return
            if what == END:
                self._starters.note_end(who, fields.get("exit_code", ""))
            elif not self._has_room(connection):
                return
            seen = _seen_above(who) if what == TASK else _seen(who)
            self._add(connection, "noted", {**about, **seen, "what": what, "text": text}, STORED)

    def _declare(self, connection: Connection, who: Sender, said: tuple[str, str], because: str) -> None:
        """Record what somebody says of whom nobody knows which job they are in: nothing is ever attributed by that."""
        if not self._has_room(connection):
            return
        self.declared += 1
        fields: dict[str, Value] = {
            "uid": who.uid,
            "command": who.command,
            **_seen(who),
            "what": said[0],
            "text": said[1],
            "because": because,
        }
        self._add(connection, "declared", fields, DECLARED, because)

    def _has_room(self, connection: Connection) -> bool:
        """Whether a record may be taken that a job's start or end can do without; its sender is told if not."""
        room = os.statvfs(self._ledger)
        if room.f_bavail * room.f_frsize >= self._reserve:
            return True
        intake.refuse(connection, "there is hardly room left on the disk, and that is for evidence")
        return False

    def _add(self, connection: Connection, kind: str, fields: dict[str, Value], outcome: str, detail: str = "") -> None:
        def told(became: str, seq: int) -> None:
            said = [("outcome", outcome if became == STORED else became)]
            said += [("seq", str(seq))] if seq else []
            said += [("detail", detail)] if detail else []
            connection.answer(said)

        then: Then = told
        try:
            self._writer.add(kind, fields, then)
        except EvidenceError as error:
            intake.refuse(connection, str(error))


def _seen(who: Sender) -> dict[str, Value]:
    return {"pid": who.pid, "process_start": who.start, "cgroup": who.cgroup}


def _seen_above(who: Sender) -> dict[str, Value]:
    """The sender's parent in its place, unless that started the job itself: no more than a process of the same job."""
    if who.parent is None or who.parent is who.starter:
        return _seen(who)
    return {**_seen(who), "pid": who.parent.pid, "process_start": who.parent.start}
