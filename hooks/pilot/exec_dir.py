"""A directory in the pilot's area that the payload's account owns, so that the two can exchange files: mkgltempdir's role.

Nothing here has rights: the account itself makes the directory, in a payload of its own, and removes what is in it.  It
is made in a new directory of the pilot's, in which all may make things only while nobody else can know a name there.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys

from gridwarden.errors import BadQuestion, Unavailable
from gridwarden.tab_file import escape

PREFIX = "gridwarden-exec-dir."
OPEN_TO_ALL = 0o1733  # sticky, and not to be listed: what stands in it can neither be guessed nor taken away


class NotMade(Unavailable):
    """The payload that was to make or remove the directory did not do it; ``exit_code`` is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, "gridwarden-exec said why on standard error")
        self.exit_code = exit_code


def make(area: str, launcher: list[str], mode: int, parent_mode: int) -> str:
    """Make a directory of the payload's account below the directory ``area``: its path.

    ``launcher`` is the command that runs what follows as that account.  Raises NotMade, Unavailable.
    """
    name = os.urandom(16).hex()
    outer = os.path.join(os.path.realpath(area), PREFIX + os.urandom(8).hex())
    try:
        os.mkdir(outer, 0o700)
    except OSError as error:
        raise Unavailable(f"{escape(area)}: no directory can be made there: {error.strerror}") from error
    descriptor = os.open(outer, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, OPEN_TO_ALL)
        _run([*launcher, "/bin/mkdir", "-m", f"{mode:04o}", f"{outer}/{name}"])
        os.fchmod(descriptor, parent_mode)
        made = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISDIR(made.st_mode) or os.listdir(descriptor) != [name]:
            raise Unavailable(f"{outer}: something else than the payload's directory is in it")
    except BaseException:
        os.fchmod(descriptor, 0o700)
        _remove_empty(outer)
        raise
    finally:
        os.close(descriptor)
    return f"{outer}/{name}"


def remove(path: str, launcher: list[str]) -> None:
    """Remove a directory that ``make`` made, with what is in it; raises NotMade, BadQuestion, Unavailable."""
    outer, name = os.path.split(os.path.abspath(path))
    if not os.path.basename(outer).startswith(PREFIX) or not name:
        raise BadQuestion(f"{escape(path)}: is not a directory that gridwarden exec-dir has made")
    if os.path.lexists(path):
        _run([*launcher, "/usr/bin/find", f"{outer}/{name}", "-xdev", "-mindepth", "1", "-delete"])
    try:
        if os.path.lexists(path):
            os.rmdir(path)  # the account's, but in our directory
        os.rmdir(outer)
    except OSError as error:
        raise Unavailable(f"{escape(outer)}: is left: {error.strerror}") from error


def _run(command: list[str]) -> None:
    """Run it; standard output is for the path alone, and / is a directory that any launcher takes."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd="/", check=False)
    if done.returncode:
        raise NotMade(f"{command[0]} ended with {done.returncode}", done.returncode if done.returncode > 0 else 70)


def _remove_empty(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass
