"""Which job a process that has just ended was of, as far as can be known then.

By its own control group while its parent has not waited for it, else by its parent's, else by the register, where its user
had one job here.  Nothing is asked of anybody; what was read is believed for a tick.
"""

from __future__ import annotations

import os

from gridwarden import register
from gridwarden.errors import ConfigurationError
from gridwarden.exit_lines import GROUP, PARENTS_GROUP, REGISTER
from gridwarden.hooks.pilot.job_of import GROUP as JOB
from gridwarden.hooks.pilot.job_of import made_by_slurm
from gridwarden.payloads import BATCH as PAYLOAD
from gridwarden.payloads import GROUP_PREFIX

SLURM = "slurm"
LARGEST = 16384
BLUR = 1_000_000
NOT_KNOWN = ("", "", "")

Job = tuple[str, str]
Known = tuple[str, str, str]


class Jobs:
    """The jobs of this machine, as its ``register`` and its processes' control groups have them."""

    def __init__(self, register_directory: str) -> None:
        self._directory = register_directory
        self._of_parent: dict[int, Job | None] = {}
        self._of_text: dict[bytes, Job | None] = {}  # many processes, and few control groups
        self._of_user: dict[int, list[register.Entry]] | None = None

    def forget(self) -> None:
        """Look anew from here on."""
        self._of_parent.clear()
        self._of_text.clear()
        self._of_user = None

    def of(self, pid: int, parent: int, uid: int, start: int) -> Known:
        """Batch system, job and how that is known, all empty where it is not; ``start`` in microseconds since the epoch."""
        if job := self._of_process(pid):
            return (*job, GROUP)
        if parent not in self._of_parent:
            self._of_parent[parent] = self._of_process(parent) if parent > 1 else None
        if found := self._of_parent[parent]:
            return (*found, PARENTS_GROUP)
        entries = [entry for entry in self._registered().get(uid, ()) if entry.start <= start + BLUR]
        return (entries[0].batch, entries[0].job, REGISTER) if len(entries) == 1 else NOT_KNOWN

    def _of_process(self, pid: int) -> Job | None:
        if not (text := _groups(pid)):
            return None
        if text not in self._of_text:
            self._of_text[text] = of_groups(text)
        return self._of_text[text]

    def _registered(self) -> dict[int, list[register.Entry]]:
        if self._of_user is None:
            self._of_user = {}
            try:
                for entry in register.everything(self._directory):
                    self._of_user.setdefault(entry.uid, []).append(entry)
            except (ConfigurationError, OSError):
                pass  # what cannot be read says of nobody that he had one job only
        return self._of_user


def of_groups(data: bytes) -> Job | None:
    """The job whose control group, made by Slurm or below that by the launcher for a payload, is in /proc/PID/cgroup."""
    for line in data.split(b"\n"):
        words = line.decode("utf-8", "surrogateescape").split(":", 2)[-1].split("/")
        for index, word in enumerate(words):
            number = word.removeprefix(JOB)
            if (
                word.startswith(JOB)
                and number.isascii()
                and number.isdigit()
                and made_by_slurm("/".join(words[: index + 1]))
            ):
                below = [
                    each.removeprefix(GROUP_PREFIX) for each in words[index + 1 :] if each.startswith(GROUP_PREFIX)
                ]
                return (PAYLOAD, below[-1]) if below else (SLURM, number)
    return None


def _groups(pid: int) -> bytes:
    try:
        descriptor = os.open(f"/proc/{pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, LARGEST)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
