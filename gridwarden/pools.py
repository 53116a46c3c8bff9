"""What makes an account one that a pool lends, and a user an ordinary one."""

from __future__ import annotations

FIRST_ORDINARY_UID = 1000  # those below are the system's own: SYS_UID_MAX of login.defs(5)
ACCOUNT_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
NOBODY = 65534  # what the kernel shows for a uid that has no number here, too


def is_of_pool(name: str, pool: str) -> bool:
    """Whether ``name`` is that of an account of ``pool``: the pool's prefix and digits."""
    number = name.removeprefix(pool)
    return number != name and number.isascii() and number.isdigit()


def is_ordinary(uid: int) -> bool:
    """Whether ``uid`` is neither root's nor a system user's."""
    return uid >= FIRST_ORDINARY_UID and uid != NOBODY


def is_account_name(name: str) -> bool:
    """Whether ``name`` can be an account's: a letter or ``_``, then at most 31 letters, digits, ``.``, ``_`` or ``-``."""
    return 0 < len(name) <= 32 and name[0] not in "0123456789.-" and ACCOUNT_CHARACTERS.issuperset(name)
