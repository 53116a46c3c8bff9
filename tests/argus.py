"""Argus's PEP server in a gridmapdir: its lease names and how it looks for and links one.

A stand-in, written anew from the server's source (1.7.4: GridMapDirPoolAccountManager, LockFreeMappingStrategy,
DNFQANGroupNameMappingStrategy, with the defaults of its configuration), since no registry has the server.
"""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

ACCOUNT = re.compile(r"([a-zA-Z][a-zA-Z0-9._-]*?)[0-9]+")
LOOKS = 10
LONGEST_PAUSE_SECONDS = 0.1


def argus_name(subject: str, groups: list[str]) -> str:
    """The lease name: all but ASCII letters and digits as percent and two digits, lower case, then the groups."""
    raw = subject.encode()
    encoded = "".join(chr(byte) if chr(byte).isalnum() and byte < 0x80 else f"%{byte:02X}" for byte in raw)
    return ":".join([encoded.lower(), *groups])


def argus_groups(fqans: tuple[str, ...], group_map: list[tuple[str, list[str]]]) -> list[str]:
    """The groups of the lines for the first FQAN, then of those for the others, each list in the map's order."""
    primary, secondary = fqans[:1], [fqan for fqan in fqans if fqan not in fqans[:1]]
    found = []
    for wanted in (primary, secondary):
        found += dict.fromkeys(group for key, groups in group_map if key in wanted for group in groups)
    return found


def argus_account(gridmapdir: Path, pool: str, name: str) -> str | None:
    """The account that the server maps the lease name to; None when it refuses."""
    lease = gridmapdir / name
    for _ in range(LOOKS):
        accounts = [path for path in gridmapdir.iterdir() if (of := ACCOUNT.fullmatch(path.name)) and of[1] == pool]
        random.shuffle(accounts)
        if lease.exists():
            inode = os.stat(lease).st_ino
            for account in accounts:
                status = os.stat(account)
                if status.st_ino == inode and status.st_nlink == 2:
                    os.utime(account)
                    return account.name
            if not lease.exists():
                return None
        elif account := linked(accounts, lease):
            os.utime(account)
            return account.name
    return None


def linked(accounts: list[Path], lease: Path) -> Path | None:
    """The first account that the server links the lease to; None when it has to look again."""
    for account in accounts:
        if os.stat(account).st_nlink != 1:
            continue
        try:
            os.link(account, lease)
        except FileExistsError:
            status = os.stat(lease)
            return account if status.st_ino == os.stat(account).st_ino and status.st_nlink == 2 else None
        if os.stat(account).st_nlink == 2:
            return account
        lease.unlink()
        time.sleep(random.uniform(0.01, LONGEST_PAUSE_SECONDS))
        return None
    return None
