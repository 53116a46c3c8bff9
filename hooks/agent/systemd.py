"""What systemd and the agent tell one another: sockets handed over (sd_listen_fds(3)), and sd_notify(3), by hand."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_SEQPACKET, socket

FIRST = 3  # SD_LISTEN_FDS_START
MICROSECONDS = 1_000_000


def handed_over() -> socket | None:
    """The listening socket that systemd hands over; None when it does not, which is no fault."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    listening = socket(AF_UNIX, SOCK_SEQPACKET, 0, FIRST)
    os.set_inheritable(FIRST, False)  # noqa: FBT003 - has no other way
    listening.setblocking(False)  # noqa: FBT003 - as above
    return listening


def notify(state: str) -> None:
    """Tell systemd a ``state`` such as READY=1; nothing where it does not listen."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    notifying = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        notifying.setblocking(False)  # noqa: FBT003 - as above
        notifying.connect("\0" + path[1:] if path[0] == "@" else path)
        notifying.send(state.encode())
    except OSError:
        pass
    finally:
        notifying.close()


def watchdog_seconds() -> float:
    """How often systemd wants to hear of us, twice as often as it waits; 0 for never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    micro = os.environ.get("WATCHDOG_USEC", "0")
    return int(micro) / MICROSECONDS / 2 if micro.isdigit() else 0.0
