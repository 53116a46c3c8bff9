"""What the agent knows of a job whose unprivileged hooks speak to it, and the file that remembers it."""

from __future__ import annotations

import os

from gridwarden import tab_file, trusted
from gridwarden.errors import ConfigurationError

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.records import Value

NUMBERS = ("pid", "start", "uid", "restart")
TEXTS = ("batch", "job", "account", "lease", "exit_code")


class Started:
    """A job of ``uid``, and the starter ``pid`` with its start time in clock ticks since boot.

    The other fields are empty until it is known which job it is.  ``end`` is a pidfd of the starter, or -1.
    """

    __slots__ = ("account", "batch", "end", "exit_code", "job", "lease", "pid", "restart", "start", "uid")

    def __init__(self, pid: int, start: int, uid: int) -> None:
        self.pid = pid
        self.start = start
        self.uid = uid
        self.restart = 0
        self.batch = self.job = self.account = self.lease = self.exit_code = ""
        self.end = -1

    def of_file(self, values: dict[str, list[str]]) -> None:
        """Take over what its file says of the job; raises ValueError, KeyError."""
        self.restart = int(values["restart"][0])
        self.batch, self.job, self.account, self.lease, self.exit_code = (values[field][0] for field in TEXTS)

    def pairs(self) -> list[tuple[str, str]]:
        """The lines of its file."""
        return [(field, str(getattr(self, field))) for field in (*NUMBERS, *TEXTS)]

    def about(self) -> dict[str, Value]:
        """What records about it say."""
        return {
            "batch": self.batch,
            "job": self.job,
            "restart": self.restart,
            "account": self.account,
            "uid": self.uid,
            "lease": self.lease,
        }


def everything(directory: str) -> Iterator[Started]:
    """The jobs that files in ``directory`` remember; raises OSError."""
    for name in os.listdir(directory):
        if name.startswith("."):
            continue
        try:
            values = tab_file.decode(trusted.read_file(f"{directory}/{name}"))
            started = Started(*(int(values[field][0]) for field in NUMBERS[:3]))
            started.of_file(values)
        except (ConfigurationError, ValueError, KeyError):
            continue  # written in the moment of a crash: nothing was answered
        yield started


def write(directory: str, started: Started) -> None:
    """Remember a job; where that cannot be done, a restart of the agent forgets when it ends."""
    try:
        trusted.replace_file(f"{directory}/{started.pid}", tab_file.encode(started.pairs()), 0o600)
    except (OSError, ConfigurationError):
        pass


def remove(directory: str, started: Started) -> None:
    """Remember a job no longer; raises OSError."""
    try:
        os.unlink(f"{directory}/{started.pid}")
    except FileNotFoundError:
        pass
