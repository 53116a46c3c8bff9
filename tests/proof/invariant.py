"""What must hold of a gridmapdir, asked of the directory alone: nothing of gridwarden is imported here."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def faults(gridmapdir: Path) -> list[str]:
    """Everything by which two people could have one account, or one lease two; empty when all is well."""
    names: dict[int, list[str]] = {}
    found = []
    for entry in os.scandir(gridmapdir):
        status = os.lstat(entry.path)
        if stat.S_ISREG(status.st_mode):
            names.setdefault(status.st_ino, []).append(entry.name)
            if status.st_nlink > 2:
                found.append(f"{entry.name} has {status.st_nlink} links")
    for of_inode in names.values():
        accounts = [name for name in of_inode if name[0] not in "%."]
        leases = [name for name in of_inode if name[0] in "%."]
        if len(accounts) != 1 or len(leases) > 1:
            found.append(f"one inode is the accounts {accounts} and the leases {leases}")
    return found


def free_since(gridmapdir: Path) -> dict[str, int]:
    """The accounts with one link, and when that was last changed by anybody (ns)."""
    looked = [(entry.name, os.lstat(entry.path)) for entry in os.scandir(gridmapdir) if entry.name[0] not in "%."]
    return {name: status.st_ctime_ns for name, status in looked if status.st_nlink == 1}


def free_throughout(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """The accounts that were free at both times and that nobody has linked or unlinked in between."""
    return {account for account, changed in before.items() if after.get(account) == changed}


def overlaps(journal: list[str]) -> list[str]:
    """Every time that an account was in the hands of two people, by a journal of hand-outs in their order.

    Lines: ``hold WORKER PERSON ACCOUNT`` once it was handed out, ``left WORKER PERSON ACCOUNT`` before that
    person's work there is over.
    """
    found = []
    holding: dict[str, set[tuple[str, str]]] = {}
    for line in journal:
        what, worker, person, account = line.split(" ")
        people = holding.setdefault(account, set())
        if what == "left":
            people.discard((worker, person))
            continue
        found += [
            f"{account} was given to {person} by {worker} while {other} had it by {giver}"
            for giver, other in people
            if other != person
        ]
        people.add((worker, person))
    return found
