"""What somebody else publishes for the site, read, and believed as far as its signature and version go.

A published file begins with ``# version: 2026-11-22T04:00:00Z NAME``, the time of its publication and what it is, and
beside it, with ``.sig`` behind its name, stand the 64 bytes of its Ed25519 signature (RFC 8032), first line and all.
So an old file shows its age even to whoever sees nothing else, and cannot come back once a newer one was seen; nor can
another file by the same key take its place.

Nothing else about the source is trusted: neither who owns it, nor that file and signature were read at one moment.
"""

from __future__ import annotations

import base64
import calendar
import os
import re
import stat
import time
from typing import TYPE_CHECKING

from gridwarden import child, tab_file, trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper.ban import moment
from gridwarden.mapper.ban_list import is_moment

if TYPE_CHECKING:
    from gridwarden.follow_settings import Followed

READ_LIMIT = 16 * 1024 * 1024
SIGNATURE_BYTES = 64
SOURCE_SECONDS = 60.0  # for a file or its signature to come, by a network file system that has not got it yet
CLOCK_SKEW = 300  # seconds that the publisher's clock may be ahead of ours
_FIRST_LINE = re.compile(rb"# version: ([0-9TZ:-]{20})(?: ([^\n]+))?\n")  # copies of before there were names have none
_READ, _FAULT = b"+", b"-"  # what a child has: the bytes, or why not


class Doubt(Exception):
    """Why a published file is not taken, in one line."""


def published(followed: Followed) -> bytes:
    """The bytes at the source, their signature verified and their version possible; raises Doubt."""
    data, signature = foreign(f"{followed.source}", READ_LIMIT), foreign(f"{followed.source}.sig", SIGNATURE_BYTES)
    if not is_signed(data, signature, base64.b64decode(followed.key)):
        raise Doubt(f"{followed.source}.sig is no signature of it by the key that site.yaml names")
    version, name = version_of(data), name_of(data)
    if not version or not name:
        form = f"# version: 2026-11-22T04:00:00Z {followed.signed_name}"
        raise Doubt(
            f"{followed.source} does not begin with a line such as '{form}', the time being that of publication"
        )
    if name != followed.signed_name:
        raise Doubt(f"it is signed as {tab_file.escape(name)}, not as {followed.signed_name}")
    if version > moment(time.time() + CLOCK_SKEW):
        raise Doubt(f"its version {version} is still to come")
    return data


def is_signed(data: bytes, signature: bytes, key: bytes) -> bool:
    """Whether ``signature`` is one of ``data`` by the Ed25519 ``key`` (a SubjectPublicKeyInfo, as site.yaml has it)."""
    from gridwarden.mapper import libcrypto  # noqa: PLC0415 - for this command alone

    public, context = libcrypto.decoded(libcrypto.d2i_public_key, key), libcrypto.digest_context_new()
    if not public or libcrypto.digest_verify_initialise(context, None, None, None, public) != 1:
        return False
    return libcrypto.digest_verify(context, signature, len(signature), data, len(data)) == 1


def is_newer(new: bytes, old: bytes | None) -> bool:
    """Whether ``new`` is to take the place of ``old``; raises Doubt when it goes back or contradicts it."""
    then, now = version_of(old) if old else None, version_of(new) or ""
    if then and now < then:
        raise Doubt(f"its version {now} is older than {then}, which was seen already")
    if then == now and new != old:
        raise Doubt(f"it is another file than the one that had the version {now}")
    return new != old


def foreign(path: str, limit: int) -> bytes:
    """The bytes of a regular file that anybody may have written; raises Doubt, also where they do not come in time.

    A child reads them: a dead file server holds for ever whoever asks it.
    """
    report, well = child.run(lambda writing: trusted.write_all(writing, _answer(path, limit)), SOURCE_SECONDS)
    if not well:
        raise Doubt(f"{path} could not be read within {SOURCE_SECONDS} seconds")
    answer, data = report[:1], report[1:]
    if answer != _READ:
        raise Doubt(data.decode("utf-8", "surrogateescape"))
    return data


def _answer(path: str, limit: int) -> bytes:
    try:
        return _READ + _bytes_of(path, limit)
    except (OSError, ConfigurationError) as error:
        fault = f"{path}: {(error.strerror or str(error)).lower()}" if isinstance(error, OSError) else str(error)
        return _FAULT + fault.encode("utf-8", "surrogateescape")


def _bytes_of(path: str, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigurationError(f"{path} is not a regular file")
        return trusted.read_all(descriptor, limit, path)
    finally:
        os.close(descriptor)


def version_of(data: bytes) -> str | None:
    """The version that a file's first line gives, if that is one."""
    match = _FIRST_LINE.match(data)
    version = match[1].decode("ascii") if match else ""
    return version if is_moment(version) else None


def name_of(data: bytes) -> str:
    """What a file's first line says that it is, or nothing."""
    match = _FIRST_LINE.match(data)
    return (match[2] or b"").decode("utf-8", "surrogateescape") if match else ""


def seconds(version: str) -> int:
    """A version as seconds since the epoch; of a day that no month has, the day after."""
    return calendar.timegm(tuple(int(part) for part in re.split("[-T:Z]", version)[:6]))
