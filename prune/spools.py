"""Remove what waits in the system's spools to act for an account, or to be read by it: cron, at, mail, linger.

The account itself may not remove these, so root does: one name directly in a directory that only the system
writes, never followed and never a tree.
"""

from __future__ import annotations

import os
import stat

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

NAMED_AS_ACCOUNT = (  # Debian, Red Hat, SUSE
    "/var/spool/cron/crontabs",
    "/var/spool/cron",
    "/var/spool/cron/tabs",
    "/var/mail",
    "/var/spool/mail",
    "/var/lib/systemd/linger",
)
OWNED_BY_ACCOUNT = ("/var/spool/cron/atjobs", "/var/spool/cron/atspool", "/var/spool/at", "/var/spool/at/spool")


def remove(account: str, uid: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Remove them all: (paths removed, (path, why it is left))."""
    removed: list[str] = []
    left: list[tuple[str, str]] = []
    for directory in (*NAMED_AS_ACCOUNT, *OWNED_BY_ACCOUNT):
        try:
            descriptor = os.open(directory, OPEN_DIRECTORY)
        except OSError:
            continue  # not on this system, or a link to one that is named here too
        try:
            names = [account] if directory in NAMED_AS_ACCOUNT else os.listdir(descriptor)
            for name in names:
                _remove(descriptor, directory, name, uid, removed, left)
        finally:
            os.close(descriptor)
    return removed, left


def _remove(
    descriptor: int, directory: str, name: str, uid: int, removed: list[str], left: list[tuple[str, str]]
) -> None:
    path = f"{directory}/{name}"
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if directory in OWNED_BY_ACCOUNT and (status.st_uid != uid or stat.S_ISDIR(status.st_mode)):
            return
        os.unlink(name, dir_fd=descriptor)
        removed.append(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        left.append((path, error.strerror or str(error)))
