"""What a check can find, and the repairs that are safe."""

from __future__ import annotations

from typing import NamedTuple

RESTORE_ACCOUNT = "restore-account"
RESTORE_LEASE = "restore-lease"
TAKE_AWAY = "take-away"
WRITE_LEASE_FILE = "write-lease-file"
REMOVE_LEASE_FILE = "remove-lease-file"
WRITE_CLAIM = "write-claim"
WRITE_HOLDER = "write-holder"
REMOVE_HOLDER = "remove-holder"
NOTE = "note"
REMOVE_FILE = "remove-file"

REPAIRS = {
    RESTORE_ACCOUNT: "make the account's file again, as a link to the lease",
    RESTORE_LEASE: "link the lease again, so that the account stays taken until it is released",
    TAKE_AWAY: "take that link away",
    WRITE_LEASE_FILE: "write the lease file again",
    REMOVE_LEASE_FILE: "remove the lease file",
    WRITE_CLAIM: "write that into the registry again",
    WRITE_HOLDER: "write the holder file with the account's present inode",
    REMOVE_HOLDER: "remove the holder file, which finishes the release",
    NOTE: "record it now",
    REMOVE_FILE: "remove it",
}
UNPROVEN = "unproven-lease"
NOT_FAULTS = frozenset([UNPROVEN])
"""Kinds that are usual where several programs share the directory."""


class Finding(NamedTuple):
    """Something that is not consistent: what kind, about which name, in words; and what to do.

    ``repair`` is the safe repair, or empty; ``remedy`` is then what an administrator should do.
    """

    kind: str
    name: str
    account: str
    detail: str
    repair: str = ""
    remedy: str = ""
