"""What makes an account one that a pool lends, and a user an ordinary one."""

from __future__ import annotations

FIRST_ORDINARY_UID = 1000  # those below are the system's own: SYS_UID_MAX of login.defs(5)
NOBODY = 65534  # what the kernel shows for a uid that has no number here, too


def is_of_pool(name: str, pool: str) -> bool:
    """Whether ``name`` is that of an account of ``pool``: the pool's prefix and digits."""
    number = name.removeprefix(pool)
    return number != name and number.isascii() and number.isdigit()


def is_ordinary(uid: int) -> bool:
    """Whether ``uid`` is neither root's nor a system user's."""
    return uid >= FIRST_ORDINARY_UID and uid != NOBODY
