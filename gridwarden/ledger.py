"""Append one record to a node's ledger, durably: the only module that writes evidence.

A ledger is a directory: ``lock``, ``id`` (32 hex digits that name it), ``current.jsonl``, closed files
``NNNNNNNN.jsonl`` and ``acknowledged``.  A line is::

    {"seq":N,"hash":"H","digest":"D","body":{...}}

D is the SHA-256 of the body's bytes, H that of the previous line's H, N in decimal and D (all ASCII), the
first line's predecessor being 64 zeros.  A body can thus be erased later and the chain still verifies.
A line that a crash left torn is never cut: the next writer ends it and records its length and hash.
"""

from __future__ import annotations

import errno
import os
import time

from gridwarden import locks, records, trusted
from gridwarden.errors import EvidenceError, Unavailable
from gridwarden.sha256 import sha256

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from _hashlib import HASH
    from collections.abc import Callable

    Digester = Callable[[bytes], HASH]

FIRST = "0" * 64
CURRENT = "current.jsonl"
ERASED = b"null"
LONGEST_LINE = 64 * 1024
ROTATE_AT = 16 * 1024 * 1024
LOCK_SECONDS = 20.0  # a record takes its writer less than a millisecond, but for a disk that is slow to close a file
FILE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def append(
    directory: str | os.PathLike[str], kind: str, fields: dict[str, records.Value], *, node: str, cluster: str
) -> tuple[int, str]:
    """Make one record durable and return its sequence number and hash (the ledger's new head).

    Raises EvidenceError when it is not on disk (the ledger is then as it was), ConfigurationError when
    the directory is missing or others could write there.
    """
    return append_all(directory, [(kind, fields)], node=node, cluster=cluster)


def append_all(
    directory: str | os.PathLike[str], entries: list[tuple[str, dict[str, records.Value]]], *, node: str, cluster: str
) -> tuple[int, str]:
    """Make records (kind, fields) durable at the price of one; otherwise as ``append``."""
    common = _common(node, cluster)
    bodies = [records.encode({"kind": kind, **common}, fields) for kind, fields in entries]
    kinds = " and ".join(sorted({kind for kind, _ in entries}))
    if max(map(len, bodies)) > LONGEST_LINE // 2:
        raise EvidenceError(f"{directory}: a {kinds} record of {max(map(len, bodies))} bytes is too long")
    ledger = trusted.open_directory(directory)
    try:
        lock = os.open("lock", FILE_FLAGS, 0o600, dir_fd=ledger)
        try:
            locks.take(lock, f"{directory}/lock", LOCK_SECONDS)
            current, head = _append_locked(ledger, bodies, common)
        finally:
            os.close(lock)
        try:
            os.fdatasync(current)
        finally:
            os.close(current)
    except Unavailable as error:
        raise EvidenceError(f"the {kinds} record could not be written: {error}", error.hint) from error
    except OSError as error:
        raise EvidenceError(
            f"{directory}: the {kinds} record could not be written: {error.strerror}",
            "free space on that file system; nothing was decided without its record",
        ) from error
    finally:
        os.close(ledger)
    return head


def boot_id() -> str:
    """The kernel's random name of this boot."""
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        return file.read(36).decode("ascii")


def identifier(directory: str | os.PathLike[str]) -> str:
    """The 32 hex digits that name this ledger, made at the first call; raises OSError."""
    ledger = trusted.open_directory(directory)
    try:
        try:
            descriptor = os.open("id", trusted.OPEN_FLAGS, dir_fd=ledger)
        except FileNotFoundError:
            temporary = f".id.{os.urandom(8).hex()}"
            descriptor = os.open(temporary, trusted.CREATE_FLAGS, 0o600, dir_fd=ledger)
            trusted.write_all(descriptor, os.urandom(16).hex().encode())
            os.fsync(descriptor)
            os.close(descriptor)
            try:
                os.link(temporary, "id", src_dir_fd=ledger, dst_dir_fd=ledger)
            except FileExistsError:
                pass  # another process named it first
            os.unlink(temporary, dir_fd=ledger)
            os.fsync(ledger)
            descriptor = os.open("id", trusted.OPEN_FLAGS, dir_fd=ledger)
        try:
            return os.read(descriptor, 32).decode("ascii")
        finally:
            os.close(descriptor)
    finally:
        os.close(ledger)


def link_hash(previous: str, seq: int, digest: str, of: Digester = sha256) -> str:
    """The hash of line ``seq`` from its predecessor's hash and its body's digest, all in hex; ``of`` is any SHA-256."""
    return of(f"{previous}{seq}{digest}".encode("ascii")).hexdigest()


def digest_of(body: bytes, of: Digester = sha256) -> str:
    """The digest of a body, in hex."""
    return of(body).hexdigest()


def split_line(line: bytes) -> tuple[int, str, str, bytes] | None:
    """(seq, hash, digest, body) of a line without its newline; None when it is not whole.

    Only the form is judged here; ``gridwarden.chain`` compares hashes.
    """
    head, found, rest = line.partition(b',"hash":"')
    number = head[7:]
    if not (found and head.startswith(b'{"seq":') and number.isdigit() and len(number) < 19 and line.endswith(b"}")):
        return None
    if rest[64:76] != b'","digest":"' or rest[140:149] != b'","body":':
        return None
    claimed, digest = rest[:64].decode("ascii", "replace"), rest[76:140].decode("ascii", "replace")
    return int(number), claimed, digest, rest[149:-1]


def closed_files(ledger: int) -> list[str]:
    """The names of the closed files below the ledger's descriptor, oldest first."""
    return sorted(name for name in os.listdir(ledger) if len(name) == 14 and name[:8].isdigit())


def _common(node: str, cluster: str) -> dict[str, records.Value]:
    return {
        "time": time.time_ns() // 1000,
        "boot": boot_id(),
        "clock": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        "node": node,
        "cluster": cluster,
    }


def _append_locked(ledger: int, bodies: list[bytes], common: dict[str, records.Value]) -> tuple[int, tuple[int, str]]:
    """Append under the lock; the descriptor of the current file, and the new head."""
    current, size = _open_current(ledger)
    try:
        seq, previous, torn = _head(ledger, current, size)
        data = b""
        if torn:
            line, seq, previous = _line(previous, seq + 1, _gap(torn, common))
            # What a file that has just been closed ends with stays there: the new one begins with the gap.
            data = (b"" if torn.endswith(b"\n") or size == 0 else b"\n") + line
        for body in bodies:
            line, seq, previous = _line(previous, seq + 1, body)
            data += line
        try:
            if (written := os.write(current, data)) != len(data):
                raise OSError(errno.ENOSPC, f"No space left on device after {written} of {len(data)} bytes")
        except OSError:
            os.ftruncate(current, size)
            raise
        if size == 0:
            os.fsync(ledger)
    except BaseException:
        os.close(current)
        raise
    return current, (seq, previous)


def _gap(torn: bytes, common: dict[str, records.Value]) -> bytes:
    """The body of the record that stands for what a crash left of a line."""
    fields: dict[str, records.Value] = {
        "what": "torn line",
        "reason": "crash",
        "bytes": len(torn.rstrip(b"\n")),
        "sha256": digest_of(torn.rstrip(b"\n")),
    }
    return records.encode({"kind": "gap", **common}, fields)


def _line(previous: str, seq: int, body: bytes) -> tuple[bytes, int, str]:
    digest = digest_of(body)
    new = link_hash(previous, seq, digest)
    head = f'{{"seq":{seq},"hash":"{new}","digest":"{digest}","body":'.encode("ascii")
    return head + body + b"}\n", seq, new


def _open_current(ledger: int) -> tuple[int, int]:
    """The current file and its size, a full one closed first."""
    current = os.open(CURRENT, FILE_FLAGS | os.O_APPEND, 0o600, dir_fd=ledger)
    size = os.fstat(current).st_size
    if size < ROTATE_AT:
        return current, size
    os.fsync(current)
    os.close(current)
    closed = closed_files(ledger)
    number = int(closed[-1][:8]) + 1 if closed else 1
    os.rename(CURRENT, f"{number:08d}.jsonl", src_dir_fd=ledger, dst_dir_fd=ledger)
    os.fsync(ledger)
    return os.open(CURRENT, FILE_FLAGS | os.O_APPEND, 0o600, dir_fd=ledger), 0


def _head(ledger: int, current: int, size: int) -> tuple[int, str, bytes]:
    """(seq, hash) of the last whole line, and the torn bytes after it."""
    if size:
        found = last_whole(current, size)
        if found[0] or size <= 2 * LONGEST_LINE:
            # Nothing whole in a small file: the very first write was torn, and the closed files decide.
            if found[0]:
                return found
            seq, previous, _ = _head(ledger, current, 0)
            return seq, previous, found[2]
        raise EvidenceError(f"{CURRENT}: has no whole line near its end", "keep the file, start a new ledger")
    closed = closed_files(ledger)
    if not closed:
        return 0, FIRST, b""
    last = os.open(closed[-1], trusted.OPEN_FLAGS, dir_fd=ledger)
    try:
        return last_whole(last, os.fstat(last).st_size)
    finally:
        os.close(last)


def last_whole(descriptor: int, size: int) -> tuple[int, str, bytes]:
    """(seq, hash) of the last whole line of an open file of ``size`` bytes, and the torn bytes after it."""
    start = max(0, size - 2 * LONGEST_LINE)
    tail = os.pread(descriptor, size - start, start)
    end = len(tail)
    while (newline := tail.rfind(b"\n", 0, end)) != -1:
        line_start = tail.rfind(b"\n", 0, newline) + 1
        parts = split_line(tail[line_start:newline])
        if parts and (parts[3] == ERASED or digest_of(parts[3]) == parts[2]):
            return parts[0], parts[1], tail[newline + 1 :]
        end = newline
    return 0, FIRST, tail
