"""Questions of people who are not root: whoran answers those whom the site lets ask, and records who asked what.

Who asks, and which groups they are in, the kernel says (SO_PEERCRED, SO_PEERGROUPS); whoran runs as root in a child.
"""

from __future__ import annotations

import grp
import os
import sys
from _socket import SO_PEERCRED, SOL_SOCKET

from gridwarden import syslog_line, tab_file, trusted
from gridwarden.agent_client import PEER_CREDENTIALS_BYTES

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.agent.intake import Connection
    from gridwarden.hooks.agent.starters import Send

SO_PEERGROUPS = 59  # <asm-generic/socket.h>; Python has no name for it
MOST_GROUPS_BYTES = 1024  # 256 groups: Python's getsockopt takes no more
WITH_VALUE = frozenset(["--node", "--account", "--identity", "--job", "--format"])
OPTIONS = WITH_VALUE | {"--children", "--report"}
MOST_WORDS, LONGEST_WORD = 16, 256
LONGEST_ANSWER = 128 * 1024  # less than a packet may have (net.core.wmem_default)
ANSWER_SECONDS = 60.0
WHORAN_SECONDS = 50.0  # who asks again and again must not have one after the other go on as root for ever
MOST_AT_ONCE = 2


class Questions:
    """Lets ``whoran``, a path, answer; root, and members of the group ``agent.readers`` of the node file, may ask."""

    def __init__(self, site: dict[str, list[str]], whoran: str, send: Send) -> None:
        self._readers = _gid(site.get("agent_readers", [""])[0])
        self._whoran = whoran
        self._send = send
        self._asking = 0

    def take(self, connection: Connection, words: list[str]) -> None:
        """Answer a question; the connection is told why not, otherwise."""
        why = self._why_not(connection) or refused(words)
        if not why and self._asking >= MOST_AT_ONCE:
            why = "others are asking; ask again"
        if why:
            syslog_line.decision("question", "refused", uid=connection.uid, text=" ".join(words), detail=why)
            connection.answer([("outcome", "refused"), ("detail", why)])
            return
        whoran, uid = self._whoran, connection.uid

        def back(report: bytes | None) -> None:
            self._asking -= 1
            values = (
                tab_file.decode(report)
                if report
                else {"outcome": ["refused"], "detail": ["whoran did not answer in time"]}
            )
            connection.answer([(key, value) for key, given in values.items() for value in given])

        if self._send(lambda writing: trusted.write_all(writing, ask(whoran, words, uid)), back, ANSWER_SECONDS):
            self._asking += 1
        else:
            connection.answer([("outcome", "refused"), ("detail", "too much is under way; ask again")])

    def _why_not(self, connection: Connection) -> str:
        if not os.path.isabs(self._whoran):
            return "this agent does not know where whoran is: gridwarden hooks install"
        if connection.uid == 0 or self._readers in groups_of(connection):
            return ""
        return "only root and members of the group agent.readers of site.yaml may ask"


def refused(words: list[str]) -> str:
    """Why these words are no question that whoran may be given; "" if they are one."""
    if not words or len(words) > MOST_WORDS:
        return f"a question has 1 to {MOST_WORDS} words"
    for word in words:
        if not word.isprintable() or len(word) > LONGEST_WORD:
            return "a word has at most 256 characters, all printable"
    value = False
    for word in words:
        if not value and word.startswith("--") and word not in OPTIONS:
            return f"{word} is none of {' '.join(sorted(OPTIONS))}"
        value = not value and word in WITH_VALUE
    return "the last option has no value" if value else ""


def groups_of(connection: Connection) -> set[int]:
    """The gids of who connected, as they were then; the first alone where the kernel does not say more."""
    data: bytes = connection.socket.getsockopt(SOL_SOCKET, SO_PEERCRED, PEER_CREDENTIALS_BYTES)[8:]
    try:
        data += connection.socket.getsockopt(SOL_SOCKET, SO_PEERGROUPS, MOST_GROUPS_BYTES)
    except OSError:
        pass
    return {int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4)}


def ask(whoran: str, words: list[str], uid: int) -> bytes:
    """Run whoran for ``uid``, which it records as who has asked: the answer, a tab file."""
    import pwd  # noqa: PLC0415 - only the child needs it
    import select  # noqa: PLC0415 - as above

    try:
        who = pwd.getpwuid(uid).pw_name
    except KeyError:
        who = f"uid {uid}"
    os.close(trusted.open_file(os.path.realpath(whoran)))
    text, notes = os.memfd_create("text"), os.memfd_create("notes")
    null = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    both = [(os.POSIX_SPAWN_DUP2, text, 1), (os.POSIX_SPAWN_DUP2, notes, 2)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "SUDO_USER": who}
    pid = os.posix_spawn(whoran, [whoran, *words], environment, file_actions=null + both)
    poll = select.poll()
    poll.register(os.pidfd_open(pid), select.POLLIN)
    if not poll.poll(WHORAN_SECONDS * 1000):
        os.kill(pid, 9)  # ours and not reaped yet, so the number is still its own
        return tab_file.encode(
            [("outcome", "refused"), ("detail", "whoran did not answer in time: ask for less at once")]
        )
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = [os.pread(file, LONGEST_ANSWER + 1, 0).decode("utf-8", "replace") for file in (text, notes)]
    answer = tab_file.encode([("outcome", "stored"), ("code", str(code)), ("text", said[0]), ("notes", said[1])])
    if len(answer) > LONGEST_ANSWER:
        return tab_file.encode([("outcome", "refused"), ("detail", "the answer is too long: ask for less at once")])
    return answer


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid if group else -1
    except KeyError:
        syslog_line.decision("agent", "failed", detail=f"agent.readers: there is no group {group} on this machine")
        return -1
