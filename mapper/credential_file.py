"""Reading a credential file that somebody names, with no more rights than that person has.

The file holds a private key.  Whoever names it must own it and nobody else may read it, so that naming a
file is proof of holding it; and it is opened as that person, so that root is never sent to open something
for somebody (a link to another's proxy, a device, a file on a server that refuses root).
"""

from __future__ import annotations

import os
import pwd
import stat

from gridwarden import reasons
from gridwarden.become import as_account
from gridwarden.errors import Refused
from gridwarden.tab_file import escape
from gridwarden.trusted import write_all

TYPE_CHECKING = False  # typing's own costs a launch 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAXIMUM_BYTES = 256 * 1024
READ_SECONDS = 2.0
NOGROUP = 65534
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_LAST_UID, _LONGEST_UID = 2**32 - 2, 10  # the number after means "no change" to the kernel
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# How a reading child's message begins.
_CONTENTS, _REFUSED = b"+", b"-"
_LENGTH = 4  # bytes in front of each message


def read(path: str | os.PathLike[str], caller_uid: int | None = None) -> bytes:
    """The bytes of the credential file ``path``, at most 256 KiB.

    ``caller_uid`` is the person for whom root asks (sudo's ``SUDO_UID``): the file is then read as that
    person, in a child process.  Raises Refused with CREDENTIAL_UNREADABLE, _EXPOSED or _MALFORMED.
    """
    return read_several([path], caller_uid)[0]


def read_several(paths: Sequence[str | os.PathLike[str]], caller_uid: int | None = None) -> list[bytes]:
    """``read`` for several files, by one child process."""
    names = [os.fspath(path) for path in paths]
    if caller_uid and os.geteuid() == 0:
        return _read_as(caller_uid, names)
    return [_read_here(name) for name in names]


def caller_uid() -> int | None:
    """The uid of who had sudo make this process root; None when nobody did.

    sudo itself sets SUDO_UID, whatever its caller has set; raises Refused for anything but a user's number.
    """
    uid = os.environ.get("SUDO_UID")
    if not uid:
        return None
    if not (uid.isascii() and uid.isdigit() and len(uid) <= _LONGEST_UID and int(uid) <= _LAST_UID):
        raise Refused(reasons.CREDENTIAL_UNREADABLE, f"SUDO_UID is {escape(uid[:100])}, which is no user's number")
    return int(uid)


def _read_here(path: str) -> bytes:
    shown = escape(path)
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refused(reasons.CREDENTIAL_UNREADABLE, f"{shown}: {why.lower()}") from error
    try:
        _refuse_doubtful(os.fstat(descriptor), shown)
        return _contents(descriptor, shown)
    finally:
        os.close(descriptor)


def _refuse_doubtful(status: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(reasons.CREDENTIAL_UNREADABLE, f"{shown}: is not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise Refused(reasons.CREDENTIAL_EXPOSED, f"{shown}: belongs to uid {status.st_uid}, not to uid {os.geteuid()}")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise Refused(
            reasons.CREDENTIAL_EXPOSED,
            f"{shown}: others than its owner have access (mode {mode:04o})",
            f"chmod 600 {shown}",
        )
    if status.st_nlink != 1:
        raise Refused(reasons.CREDENTIAL_UNREADABLE, f"{shown}: has {status.st_nlink} names, one is allowed")


def _contents(descriptor: int, shown: str) -> bytes:
    data = bytearray()
    try:
        while len(data) <= MAXIMUM_BYTES and (part := os.read(descriptor, MAXIMUM_BYTES + 1 - len(data))):
            data += part
    except OSError as error:
        raise Refused(reasons.CREDENTIAL_UNREADABLE, f"{shown}: {(error.strerror or '').lower()}") from error
    if len(data) > MAXIMUM_BYTES:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{shown}: is larger than {MAXIMUM_BYTES} bytes")
    return bytes(data)


def _read_as(uid: int, paths: list[str]) -> list[bytes]:
    def tell(report: int) -> None:
        for path in paths:
            try:
                message = _CONTENTS + _read_here(path)
            except Refused as refusal:
                message = _REFUSED + f"{refusal.reason}\t{refusal.detail}".encode()
            write_all(report, len(message).to_bytes(_LENGTH) + message)

    report, finished = as_account(uid, *_groups_of(uid), tell, READ_SECONDS)
    if not finished:
        shown = " or ".join(map(escape, paths))
        raise Refused(reasons.CREDENTIAL_UNREADABLE, f"{shown}: could not be read within {READ_SECONDS} s as uid {uid}")
    return [_told(message, uid) for message in _messages(report)]


def _messages(report: bytes) -> Iterator[bytes]:
    while report:
        end = _LENGTH + int.from_bytes(report[:_LENGTH])
        yield report[_LENGTH:end]
        report = report[end:]


def _told(message: bytes, uid: int) -> bytes:
    if message[:1] == _CONTENTS:
        return message[1:]
    reason, _, detail = message[1:].decode("utf-8", "replace").partition("\t")
    raise Refused(reason, detail, f"it was read as uid {uid}, who ran sudo, and not as root")


def _groups_of(uid: int) -> tuple[int, list[int]]:
    """The person's primary and other groups, without root's: what only that opens is not theirs to show."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return NOGROUP, []
    groups = [group for group in os.getgrouplist(user.pw_name, user.pw_gid) if group != 0]
    return user.pw_gid or NOGROUP, groups
