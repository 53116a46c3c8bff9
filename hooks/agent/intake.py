"""The agent's socket: who connects, what they send, and the answers; nobody's silence or flood holds up anybody else.

Each connection is read only when its uid has a turn.  Until then what it sent waits in the kernel, and its sender waits
once that is full.  A connection beyond its uid's number is closed at once, and counted.
"""

from __future__ import annotations

import os
import resource
import select
import time
from _socket import AF_UNIX, MSG_CTRUNC, MSG_PEEK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET, socket

from gridwarden import tab_file
from gridwarden.hooks.agent import closing, sender

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.agent.limits import Turns

LONGEST_MESSAGE = 8192
BYTES_A_TURN = 1024  # a longer message counts as several, or a few could fill the disk
ACCEPTED_AT_ONCE = 32
BACKLOG = 64  # short: who waits in it waits behind whoever floods it
MOST_CONNECTIONS = 2048
OTHER_FILES = 128 + closing.AT_ONCE  # that the agent may have open beside them
PAUSE_SECONDS = 0.01
IDLE_SECONDS = 60.0
MOST_LEFT_UNREAD = 1024
ONCE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT


class Connection:
    """One sender.  ``connected`` is when that was seen; ``heard`` when it last sent something, in boot-time seconds.

    ``limited`` is the uid whose limits count.
    """

    __slots__ = ("closed", "connected", "descriptor", "heard", "limited", "pid", "socket", "uid")

    def __init__(self, accepted: socket, whose: tuple[int, int, int], now: float) -> None:
        self.socket = accepted
        self.descriptor = accepted.fileno()
        self.pid, self.uid, self.limited = whose
        self.connected = self.heard = now
        self.closed = False

    def answer(self, pairs: list[tuple[str, str]]) -> None:
        """Send an answer; one that the sender has no room for, or waits for no longer, is lost."""
        if not self.closed:
            try:
                self.socket.send(tab_file.encode(pairs))
            except OSError:
                pass


class Intake:
    """The listening socket and its connections, all watched by ``poll``."""

    def __init__(self, listening: socket, poll: select.epoll, turns: Turns, each: int) -> None:
        self.listening = listening
        self._poll = poll
        self._turns = turns
        self._each = each
        self._connections: dict[int, Connection] = {}
        self.closing = closing.Closing()
        self._most = min(MOST_CONNECTIONS, _raise_files(MOST_CONNECTIONS + OTHER_FILES) - OTHER_FILES)
        poll.register(listening.fileno(), select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._connections)

    def accept(self, now: float) -> bool:
        """Take some of those who wait to be let in; False once nobody does, or nobody can be."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                descriptor, _ = self.listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - what socket.accept calls
            except BlockingIOError:
                return False
            except OSError:  # no descriptor or memory is left on this machine: those who wait go on waiting
                time.sleep(PAUSE_SECONDS)
                return False
            accepted = socket(AF_UNIX, SOCK_SEQPACKET, 0, descriptor)
            accepted.setblocking(False)  # noqa: FBT003 - has no other way
            pid, uid = sender.peer_of(accepted)
            limited = sender.whose_limits(pid, uid)
            own = self._turns.of(limited, now)
            if own.connections >= self._each or len(self._connections) >= self._most:
                own.drop(1, now)
                self.closing.add(accepted)
                continue
            own.connections += 1
            connection = Connection(accepted, (pid, uid, limited), now)
            self._connections[connection.descriptor] = connection
            self._poll.register(connection.descriptor, ONCE)
        return True

    def note(self, descriptor: int, now: float) -> None:
        """Let a connection on which something has come wait for its turn."""
        connection = self._connections.get(descriptor)
        if connection:
            self._turns.add(connection.limited, connection, now)

    def read(self, connection: Connection, now: float) -> bytes | None:
        """One message of a connection whose turn it is; None where there is none, or none that can be taken."""
        own = self._turns.of(connection.limited, now)
        try:
            if _carries_files(connection.socket):
                refuse(connection, "a message may carry no open files")
                self.close(connection, now)
                return None
            message = connection.socket.recv(LONGEST_MESSAGE + 1)
        except (BlockingIOError, InterruptedError):
            own.bucket.give_back()
            self._poll.modify(connection.descriptor, ONCE)
            return None
        except OSError:
            message = b""
        if not message:  # the end; a packet of nothing is no message either
            own.bucket.give_back()
            self.close(connection, now)
            return None
        connection.heard = now
        own.bucket.take(len(message) // BYTES_A_TURN)
        self._turns.add(connection.limited, connection, now)  # there may be more: found out at its next turn
        if len(message) > LONGEST_MESSAGE:
            own.drop(1, now)
            refuse(connection, f"a message may have {LONGEST_MESSAGE} bytes")
            return None
        return message

    def close(self, connection: Connection, now: float) -> None:
        """Be done with a connection; what it still holds unread is dropped, and counted."""
        if connection.closed:
            return
        own = self._turns.of(connection.limited, now)
        self._turns.remove(connection.limited, connection)
        if left := _unread(connection.socket):
            own.drop(left, now)
        own.connections -= 1
        connection.closed = True
        del self._connections[connection.descriptor]
        self._poll.unregister(connection.descriptor)
        self.closing.add(connection.socket)

    def close_idle(self, now: float) -> None:
        """Close connections on which nothing has come for a while: their uid may want new ones."""
        for connection in list(self._connections.values()):
            if now - connection.heard > IDLE_SECONDS:
                self.close(connection, now)
        self.closing.go()

    def let_nobody_in(self) -> None:
        """Leave those who connect from now on waiting: for the next agent, where the socket is handed on."""
        self._poll.unregister(self.listening.fileno())

    def close_all(self, now: float) -> None:
        """Be done with all connections."""
        for connection in list(self._connections.values()):
            self.close(connection, now)
        self.closing.go()


def refuse(connection: Connection, detail: str) -> None:
    """Answer that a message is not taken."""
    connection.answer([("outcome", "refused"), ("detail", detail)])


def listen(path: str) -> socket:
    """A listening socket at ``path`` that every user of the machine may connect to; raises OSError.

    It takes the place of an older one in one step, so that nobody who connects meanwhile finds nothing.
    """
    listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC)
    temporary = f"{path}.{os.urandom(4).hex()}"
    listening.bind(temporary)
    try:
        os.chmod(temporary, 0o666)  # noqa: S103 - whoever connects is asked who they are
        listening.listen(BACKLOG)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    return listening


def _raise_files(wanted: int) -> int:
    """Raise the limit of open files (getrlimit(2)) as far as it may be, and ``wanted``; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return raised


def _unread(connection: socket) -> int:
    count = 0
    try:
        while count < MOST_LEFT_UNREAD and not _carries_files(connection) and connection.recv(1):
            count += 1
    except OSError:
        pass
    return count


def _carries_files(connection: socket) -> bool:
    """Whether open files come with the next message, which is left where it is; raises OSError, BlockingIOError for none."""
    return bool(connection.recvmsg(0, 0, MSG_PEEK)[2] & MSG_CTRUNC)
