"""Ask a file system's own accounts whether a user owns anything on it, where walking it would take hours.

quotactl_fd(2), Linux 5.14, with struct if_dqblk of linux/quota.h.  The kernel knows of local file systems on
which quotas are on; an NFS client is told nothing, so there the answer is that it cannot be told.
"""

from __future__ import annotations

import errno
import os
import sys

SYS_QUOTACTL_FD = 443  # the same on every architecture
USER_QUOTA = 0x800007 << 8  # QCMD(Q_GETQUOTA, USRQUOTA)
CURRENT_INODES = slice(40, 48)  # dqb_curinodes
LENGTH = 72
OWN_HOME = 1  # inodes: the directory itself


def why_left(home: str, uid: int) -> str:
    """Why ``uid`` may own more than its home directory on that file system, or nothing."""
    from ctypes import CDLL, c_int, c_long, create_string_buffer, get_errno  # noqa: PLC0415 - no use to an epilog

    found = create_string_buffer(LENGTH)
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    try:
        call = CDLL(None, use_errno=True).syscall
        failed = call(c_long(SYS_QUOTACTL_FD), c_int(descriptor), c_int(USER_QUOTA), c_int(uid), found)
    finally:
        os.close(descriptor)
    if failed and get_errno() != errno.ENOENT:  # XFS has no entry for who owns nothing
        return f"its quota cannot be asked: {os.strerror(get_errno())}"
    return verdict(found.raw)


def verdict(quota: bytes) -> str:
    """What a struct if_dqblk says of files beyond the home directory, or nothing."""
    inodes = int.from_bytes(quota[CURRENT_INODES], sys.byteorder)
    return f"its quota counts {inodes} files" if inodes > OWN_HOME else ""
