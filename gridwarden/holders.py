"""Holder files: who holds a pool account, published where hooks can read it without asking anybody.

One file an account, in a directory on local tmpfs that only root writes and the batch system's group
reads.  What it says is believed only as far as the file itself is: owner and mode are checked at each read.
"""

from __future__ import annotations

import os
import stat

from gridwarden import reasons, tab_file, trusted
from gridwarden.errors import ConfigurationError, Refused

OK = "ok"
BANNED = "banned"
FIELDS = (
    "account",
    "uid",
    "gid",
    "lease",
    "name",
    "scheme",
    "subject",
    "vo",
    "since",
    "inode",
    "verdict",
    "because",
    "credential",
    "issuer",
    "username",
)
LIMIT = 64 * 1024


class Holder:
    """The identity that holds ``account``.

    ``lease`` is the opaque lease id (32 hex digits); ``name`` the lease's file name in the gridmapdir and
    ``inode`` that of the account's file there ("" and 0 for a fixed account); ``since`` is in microseconds
    since the epoch; ``verdict`` is "ok" or "banned", and then ``because`` says why.  ``credential`` refers to the
    one that was mapped last, ``issuer`` and ``username`` are its issuer or provider and a Globus identity's name; they are
    "" in files of versions before they were written.
    """

    __slots__ = (*FIELDS, "fqans")

    def __init__(  # noqa: PLR0913 - one argument a field of the file
        self,
        *,
        account: str,
        uid: int,
        gid: int,
        lease: str,
        name: str,
        scheme: str,
        subject: str,
        vo: str,
        fqans: tuple[str, ...],
        since: int,
        inode: int,
        verdict: str = OK,
        because: str = "",
        credential: str = "",
        issuer: str = "",
        username: str = "",
    ) -> None:
        self.account = account
        self.uid = uid
        self.gid = gid
        self.lease = lease
        self.name = name
        self.scheme = scheme
        self.subject = subject
        self.vo = vo
        self.fqans = fqans
        self.since = since
        self.inode = inode
        self.verdict = verdict
        self.because = because
        self.credential = credential
        self.issuer = issuer
        self.username = username

    def pairs(self) -> list[tuple[str, str]]:
        """The lines of the holder file."""
        return [(field, str(getattr(self, field))) for field in FIELDS] + [("fqan", fqan) for fqan in self.fqans]


def read(directory: str | os.PathLike[str], account: str) -> Holder:
    """The holder of ``account``; raises Refused (holder-missing, holder-invalid)."""
    try:
        descriptor = trusted.open_directory(directory)
    except ConfigurationError as error:
        raise Refused(reasons.HOLDER_MISSING, str(error)) from error
    try:
        return read_at(descriptor, account)
    finally:
        os.close(descriptor)


def read_at(directory: int, account: str) -> Holder:
    """``read`` below the descriptor of a directory that was checked."""
    if "/" in account or account.startswith("."):
        raise Refused(reasons.HOLDER_INVALID, f"{tab_file.escape(account)} is not the name of an account")
    try:
        descriptor = os.open(account, trusted.OPEN_FLAGS | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError as error:
        raise Refused(reasons.HOLDER_MISSING, f"{account} has no holder file") from error
    except OSError as error:
        raise Refused(reasons.HOLDER_INVALID, f"the holder file of {account}: {error.strerror}") from error
    try:
        status = trusted.status_of(descriptor, account)
        safe = stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
        if not safe:
            raise Refused(reasons.HOLDER_INVALID, f"others could have written the holder file of {account}")
        return _parse(account, trusted.read_all(descriptor, LIMIT, account))
    except ConfigurationError as error:
        raise Refused(reasons.HOLDER_INVALID, f"the holder file of {account}: {error}") from error
    finally:
        os.close(descriptor)


def _parse(account: str, data: bytes) -> Holder:
    try:
        values = tab_file.decode(data)
        fqans = tuple(values.pop("fqan", ()))
        one = {key: value for key, (value,) in values.items()}
        holder = Holder(
            account=one.pop("account"),
            uid=int(one.pop("uid")),
            gid=int(one.pop("gid")),
            lease=one.pop("lease"),
            name=one.pop("name"),
            scheme=one.pop("scheme"),
            subject=one.pop("subject"),
            vo=one.pop("vo"),
            fqans=fqans,
            since=int(one.pop("since")),
            inode=int(one.pop("inode")),
            verdict=one.pop("verdict"),
            because=one.pop("because"),
            credential=one.pop("credential", ""),
            issuer=one.pop("issuer", ""),
            username=one.pop("username", ""),
        )
    except (ValueError, KeyError) as error:
        detail = f"the holder file of {account} is not whole: {error}"
        raise Refused(reasons.HOLDER_INVALID, detail) from error
    sound = holder.account == account and holder.uid > 0 and holder.gid > 0 and holder.verdict in (OK, BANNED)
    if one or not sound:
        raise Refused(reasons.HOLDER_INVALID, f"the holder file of {account} contradicts itself")
    return holder


def publish(directory: str | os.PathLike[str], holder: Holder, group: int = -1) -> None:
    """Write or replace a holder file, readable by ``group`` (a gid); raises OSError, ConfigurationError."""
    trusted.replace_file(os.path.join(directory, holder.account), tab_file.encode(holder.pairs()), 0o640, group)


def remove(directory: str | os.PathLike[str], account: str) -> None:
    """Take the holder file of ``account`` away; raises OSError."""
    descriptor = trusted.open_directory(directory)
    try:
        os.unlink(account, dir_fd=descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def everyone(directory: str | os.PathLike[str]) -> list[Holder]:
    """All holders, by account; raises Refused at the first file that cannot be trusted."""
    descriptor = trusted.open_directory(directory)
    try:
        return [read_at(descriptor, name) for name in sorted(os.listdir(descriptor)) if not name.startswith(".")]
    finally:
        os.close(descriptor)
