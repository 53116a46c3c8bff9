"""Speak with this machine's gridwarden-agent, from hooks that are not root's and from commands.

The agent listens on a Unix socket (SOCK_SEQPACKET); a message and its answer are tab files (``gridwarden.tab_file``) of
one packet each.  docs/agent.md has the protocol.  Where no agent answers nothing is raised: what it would have recorded
is evidence that is missing, and the caller carries on.
"""

from __future__ import annotations

import os
import sys
import time
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket  # socket loads enum

from gridwarden import tab_file
from gridwarden.values import NamedTuple

STORED, DECLARED, HELD, REFUSED, ABSENT = "stored", "declared", "held", "refused", "absent"
LOOKING = "looking"
LONGEST_ANSWER = 512 * 1024
PEER_CREDENTIALS_BYTES = 12  # struct ucred: pid, uid, gid
PAUSE_SECONDS = 0.02


class Told(NamedTuple):
    """What became of a message.

    ``outcome``: ``stored`` (on disk, as evidence of the sender's job), ``declared`` (on disk, but nobody can tell who is
    behind it), ``held`` (in the agent's memory, since the disk is full), ``refused``, or ``absent`` (no agent answered);
    ``detail`` says why it is not stored.  ``seq`` is the number of the ledger's line, 0 where there is none.
    """

    outcome: str
    seq: int
    detail: str


def tell(path: str, what: str, fields: dict[str, str], seconds: float = 2.0) -> Told:
    """Hand a record over: ``what`` it says (``job_start``, ``job_end``, or a word of the hook's own), and its fields."""
    answer = ask(path, [("kind", what), *fields.items()], seconds)
    if answer is None:
        return Told(ABSENT, 0, f"no agent answers at {path}: the evidence of this job is weaker")
    seq = answer.get("seq", "0")
    return Told(answer.get("outcome", REFUSED), int(seq) if seq.isdigit() else 0, answer.get("detail", ""))


def status(path: str, seconds: float = 1.0) -> dict[str, str] | None:
    """How the agent is; None when none answers.  docs/agent.md lists the keys."""
    answer = ask(path, [("kind", "status")], seconds)
    return answer if answer and answer.get("outcome") == STORED else None


def question(path: str, words: list[str], seconds: float = 60.0) -> dict[str, str] | None:
    """What whoran answers to ``words``: ``code``, ``text`` and ``notes``, or a ``detail`` why not; None: no agent answered.

    Only root and members of the site's group may ask.
    """
    return ask(path, [("kind", "question"), *(("word", word) for word in words)], seconds)


def look_for_holders(path: str, seconds: float) -> bool:
    """Have the agent look for leases now, and publish their holders here: whether it will.  Only root may ask."""
    answer = ask(path, [("kind", "holder")], seconds) if path else None
    return answer is not None and answer.get("outcome") == LOOKING


def ask(path: str, pairs: list[tuple[str, str]], seconds: float) -> dict[str, str] | None:
    """The answer to one message, None when none came in time; the last value of a key that is given twice.

    A message that a dying agent may have taken is sent again to the next one: it may be stored twice, never lost unsaid.
    """
    deadline = time.monotonic() + seconds
    message = tab_file.encode(pairs)
    while (left := deadline - time.monotonic()) > 0:
        try:
            answer = _exchange(path, message, left)
        except (FileNotFoundError, PermissionError, ValueError):
            return None
        except OSError:  # nobody listens at the moment, or no longer
            answer = b""
        if answer:
            try:
                return {key: values[-1] for key, values in tab_file.decode(answer).items()}
            except ValueError:
                return None
        time.sleep(min(PAUSE_SECONDS, max(left, 0)))
    return None


def _exchange(path: str, message: bytes, seconds: float) -> bytes:
    """Raises OSError; ValueError when somebody else than root, or we ourselves, listens there."""
    connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        connection.settimeout(seconds)
        connection.connect(path)
        peer = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, PEER_CREDENTIALS_BYTES)
        if int.from_bytes(peer[4:8], sys.byteorder) not in (0, os.geteuid()):
            raise ValueError(f"{path} is not root's")
        connection.send(message)
        return connection.recv(LONGEST_ANSWER)
    finally:
        connection.close()
