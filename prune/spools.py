"""Remove what waits in the system's spools to act for an account, or to be read by it: cron, at, mail, linger.

The account itself may not remove these, so root does: one name directly in a directory that only the system
writes, never followed and never a tree.  A child of ours does it, a directory at a time, since one may be on a file
system that does not answer.
"""

from __future__ import annotations

import os
import stat
import time

from gridwarden import child
from gridwarden.prune.files import OPEN_DIRECTORY, share

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.prune.files import Left

NAMED_AS_ACCOUNT = (  # Debian, Red Hat, SUSE
    "/var/spool/cron/crontabs",
    "/var/spool/cron",
    "/var/spool/cron/tabs",
    "/var/mail",
    "/var/spool/mail",
    "/var/lib/systemd/linger",
)
OWNED_BY_ACCOUNT = ("/var/spool/cron/atjobs", "/var/spool/cron/atspool", "/var/spool/at", "/var/spool/at/spool")


def remove(account: str, uid: int, seconds: float) -> tuple[list[str], Left]:
    """Remove them all in at most ``seconds``: (paths removed, (path, why it is left))."""
    deadline = time.monotonic() + seconds
    removed: list[str] = []
    left: Left = []
    directories = (*NAMED_AS_ACCOUNT, *OWNED_BY_ACCOUNT)
    for place, directory in enumerate(directories):
        patience = share(deadline, len(directories) - place) - time.monotonic()
        report, finished = child.run(_remover(directory, account, uid), max(patience, 0.0))
        told = [os.fsdecode(line).partition("/") for line in report.split(b"\0")[:-1]]
        removed += [f"{directory}/{name}" for name, _, why in told if not why]
        left += [(f"{directory}/{name}", why) for name, _, why in told if why]
        if not finished:
            left.append((directory, "does not answer"))
    return removed, left


def _remover(directory: str, account: str, uid: int) -> Callable[[int], None]:
    """Work that reports ``NAME/`` or ``NAME/WHY IT IS LEFT``, and a zero byte, of each that is the account's."""

    def work(report: int) -> None:
        try:
            descriptor = os.open(directory, OPEN_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return  # not on this system, or a link to one that is named here too
        except OSError as error:
            os.write(report, os.fsencode(f"./{error.strerror}\0"))
            return
        for name in [account] if directory in NAMED_AS_ACCOUNT else os.listdir(descriptor):
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if directory in OWNED_BY_ACCOUNT and (status.st_uid != uid or stat.S_ISDIR(status.st_mode)):
                    continue
                os.unlink(name, dir_fd=descriptor)
                why = ""
            except FileNotFoundError:
                continue
            except OSError as error:
                why = error.strerror or str(error)
            os.write(report, os.fsencode(f"{name}/{why}\0"))

    return work
