"""The program and the working directory of a payload: opened first, then judged, so that what was judged is what runs.

Neither may be changed by anybody but root, the pilot and the payload's owner: whoever else could would run what they
like as the owner.  A program reached through links is judged by what it is in the end.
"""

from __future__ import annotations

import os
import pwd
import stat

from gridwarden import become, reasons
from gridwarden.errors import Refused
from gridwarden.patterns import fits
from gridwarden.tab_file import escape
from gridwarden.trusted import WRITABLE_BY_OTHERS
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Protocol

    from gridwarden.mapper.pilot_values import PilotValues

    class Person(Protocol):
        """Who may reach what."""

        @property
        def uid(self) -> int:
            """The uid."""

        @property
        def gid(self) -> int:
            """The primary group."""

        @property
        def groups(self) -> Sequence[int]:
            """The supplementary groups."""


LOOK = os.O_PATH | os.O_CLOEXEC
SPECIAL_MODES = stat.S_ISUID | stat.S_ISGID
EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class Program(NamedTuple):
    """``descriptor`` (O_PATH) is of the file that was judged; ``path`` its real path.

    A ``script`` (``#!``) is executed by that path, since its interpreter opens it again; anything else by the descriptor.
    """

    descriptor: int
    path: bytes
    script: bool


def open_directory() -> int:
    """A descriptor (O_PATH) of the working directory, which sudo leaves as it was; raises Refused."""
    try:
        directory = os.open(".", LOOK | os.O_DIRECTORY)
    except OSError as error:
        raise Refused(reasons.DIRECTORY_UNUSABLE, f"the working directory: {_why(error)}") from error
    if os.fstat(directory).st_nlink == 0:
        raise Refused(reasons.DIRECTORY_UNUSABLE, "the working directory has been removed")
    return directory


def judge_directory(directory: int, owners: Collection[int]) -> None:
    """Refuse a working directory that others could change; ``owners`` are the uids of pilot and payload's owner."""
    shown = escape(os.fsdecode(_real_path(directory)))
    status = os.fstat(directory)
    if status.st_uid not in (0, *owners):
        raise Refused(reasons.DIRECTORY_OTHERS, f"{shown}: belongs to uid {status.st_uid}")
    if status.st_mode & WRITABLE_BY_OTHERS:
        raise Refused(reasons.DIRECTORY_WRITABLE, f"{shown}: mode {stat.S_IMODE(status.st_mode):04o}")


def open_program(name: bytes, directory: int, people: Sequence[Person]) -> Program:
    """Open the program that the pilot named, below its working directory where the name is relative; raises Refused.

    One of ``people`` must reach it: root is not sent where they may not go, since who executes a file may read it.
    """
    shown = escape(os.fsdecode(name))
    if b"/" not in name:
        raise Refused(reasons.PROGRAM_MISSING, f"{shown}: is no path; PATH is not searched")
    descriptor, why = -1, ""
    for person in people:
        try:
            descriptor = _open_as(person, name, directory)
            break
        except (OSError, ValueError) as error:
            why = _why(error)
    if descriptor == -1:
        raise Refused(reasons.PROGRAM_MISSING, f"{shown}: {why}")
    mode = os.fstat(descriptor).st_mode
    # Reading is an act of root's: of /proc/kmsg, which nobody can execute, it takes something away.
    executable = stat.S_ISREG(mode) and mode & EXECUTABLE
    return Program(descriptor, _real_path(descriptor), script=bool(executable) and _is_script(descriptor))


def _open_as(person: Person, name: bytes, directory: int) -> int:
    if os.geteuid() != 0:
        return os.open(name, LOOK, dir_fd=directory)
    with become.Within(person.uid, person.gid, person.groups):
        return os.open(name, LOOK, dir_fd=directory)


def judge_program(program: Program, owners: Collection[int], pilot: PilotValues) -> None:
    """Refuse a program that others could change, that changes who runs it, or that the site does not allow."""
    owners = {*owners, *_uids(pilot.program_owners)}
    status, shown = os.fstat(program.descriptor), escape(os.fsdecode(program.path))
    if not stat.S_ISREG(status.st_mode):
        raise Refused(reasons.PROGRAM_NOT_EXECUTABLE, f"{shown}: is not a regular file")
    if not status.st_mode & EXECUTABLE:
        raise Refused(reasons.PROGRAM_NOT_EXECUTABLE, f"{shown}: mode {stat.S_IMODE(status.st_mode):04o}")
    if status.st_mode & SPECIAL_MODES or _has_capabilities(program.descriptor):
        raise Refused(reasons.PROGRAM_SETUID, f"{shown}: mode {stat.S_IMODE(status.st_mode):04o}")
    _refuse_changeable(status, shown, owners)
    for above in _directories_above(os.fsdecode(program.path)):
        _refuse_changeable(os.lstat(above), shown, owners, directory=above)
    if not _is_at(program):
        raise Refused(reasons.PROGRAM_WRITABLE, f"{shown}: was moved while it was looked at")
    if pilot.programs and not any(fits(pattern, os.fsdecode(program.path)) for pattern in pilot.programs):
        raise Refused(reasons.PROGRAM_NOT_ALLOWED, f"{shown}: matches none of pilot.programs")


def _refuse_changeable(status: os.stat_result, shown: str, owners: Collection[int], directory: str = "") -> None:
    where = f"{shown}: {escape(directory)}" if directory else f"{shown}: it"
    if status.st_uid not in (0, *owners):
        raise Refused(reasons.PROGRAM_OTHERS, f"{where} belongs to uid {status.st_uid}")
    sticky = directory and status.st_mode & stat.S_ISVTX  # nobody can replace there what another owns
    if status.st_mode & WRITABLE_BY_OTHERS and not sticky:
        raise Refused(reasons.PROGRAM_WRITABLE, f"{where} has mode {stat.S_IMODE(status.st_mode):04o}")


def _uids(names: Sequence[str]) -> set[int]:
    found = set()
    for name in names:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue  # who is not here owns nothing here
    return found


def _directories_above(path: str) -> list[str]:
    above = []
    while path != "/":
        path = os.path.dirname(path)
        above.append(path)
    return above


def _is_at(program: Program) -> bool:
    """Whether the real path still leads to the file that was opened."""
    try:
        return os.path.samestat(os.lstat(program.path), os.fstat(program.descriptor))
    except OSError:
        return False


def _is_script(descriptor: int) -> bool:
    """Whether the file begins with ``#!``; one that root may not read (NFS) is executed by its path, too."""
    try:
        reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return True
    try:
        return os.read(reading, 2) == b"#!"
    except OSError:
        return True
    finally:
        os.close(reading)


def _has_capabilities(descriptor: int) -> bool:
    try:
        return bool(os.getxattr(f"/proc/self/fd/{descriptor}", "security.capability"))
    except OSError:
        return False


def _real_path(descriptor: int) -> bytes:
    return os.readlink(f"/proc/self/fd/{descriptor}".encode())


def _why(error: OSError | ValueError) -> str:
    return ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
