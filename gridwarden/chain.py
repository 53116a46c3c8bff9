"""Read a ledger and verify its chain, whichever program wrote it and whatever a crash left of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gridwarden import ledger, locks, records, trusted
from gridwarden.errors import ConfigurationError

ACKNOWLEDGED = "acknowledged"

_DECODER = json.JSONDecoder()


class Line(NamedTuple):
    """One line of a ledger.

    ``fault`` is empty, or says what is wrong: the body was altered, the chain broken before this line, or
    (``body`` is then empty and ``seq`` 0) the line cannot be read and no gap record explains it, or lines
    that a store holds are gone from the end.  ``text`` is the body as it was written, of which ``digest`` is the
    digest; it is empty where the body was erased or cannot be believed.
    """

    seq: int
    hash: str
    body: dict[str, records.Value]
    where: str
    fault: str
    digest: str = ""
    text: str = ""


def read(directory: str | os.PathLike[str], after: int = 0) -> Iterator[Line]:
    """The lines of the ledger with ``seq`` above ``after``, in order, each verified against its predecessor.

    Closed files wholly at or below ``after`` are not opened again: the line ``after`` holds their hashes.
    What is appended after the call began is not read.  Raises ConfigurationError, Unavailable, OSError.
    """
    from hashlib import sha256  # noqa: PLC0415  OpenSSL's takes a third of the time, once it is loaded

    stored = acknowledged(directory)  # before the lines, of which a collector may store more meanwhile
    previous: Line | None = None
    pending: Line | None = None  # a line that cannot be read, until the next shows whether it explains it
    pending_bytes = b""
    for where, raw in _raw_lines(directory, after):
        line = _parse(raw, where, previous, max(stored, after), sha256)
        if pending:
            if not _explains(line, pending_bytes):
                yield pending
            pending = None
        if line.seq == 0:
            pending, pending_bytes = line, raw
            continue
        previous = line
        if line.seq > after:
            yield line
    if pending:
        yield pending
    last = previous.seq if previous else 0
    if last < stored:
        yield Line(
            0, "", {}, os.fspath(directory), f"it ends with {last}, but a store holds {stored}: its end was removed"
        )


def bodies_with(directory: str | os.PathLike[str], texts: Sequence[bytes]) -> Iterator[dict[str, records.Value]]:
    """The records whose line holds one of ``texts``, in order, each as altered as it may be: for whoever looks one up.

    Raises ConfigurationError, OSError.
    """
    for _, raw in _raw_lines(directory, 0):
        if any(text in raw for text in texts) and (parts := ledger.split_line(raw)):
            yield _record(parts[3]) or {}


def faults(directory: str | os.PathLike[str]) -> list[str]:
    """Everything that is wrong with the ledger, one sentence each; empty when the chain is whole."""
    return [f"{line.where}: {line.fault}" for line in read(directory) if line.fault]


def acknowledge(directory: str | os.PathLike[str], seq: int) -> None:
    """Say that a store holds every record up to ``seq``; raises OSError."""
    trusted.replace_file(os.path.join(directory, ACKNOWLEDGED), f"{seq}\n".encode("ascii"), 0o600)


def acknowledged(directory: str | os.PathLike[str]) -> int:
    """The last sequence number that a store is known to hold, 0 when there is none; raises ConfigurationError."""
    path = os.path.join(directory, ACKNOWLEDGED)
    try:
        return int(trusted.read_file(path, 32)) if os.path.exists(path) else 0
    except ValueError:
        message = f"{path}: is not the number of a record"
        raise ConfigurationError(message, "keep it for whoever looks into it, and move it away") from None


def _raw_lines(directory: str | os.PathLike[str], after: int) -> Iterator[tuple[str, bytes]]:
    """(file:line, bytes without the newline) of the files with lines above ``after``, as they stood at one moment.

    The lock is held only while the files are opened, so that a rotation cannot fall between them.
    """
    root = trusted.open_directory(directory)
    try:
        lock = os.open("lock", ledger.FILE_FLAGS, 0o600, dir_fd=root)
        try:
            locks.take(lock, f"{directory}/lock", ledger.LOCK_SECONDS, shared=True)
            names = [*ledger.closed_files(root), ledger.CURRENT]
            files = [(name, descriptor) for name in names if (descriptor := _open(root, name)) is not None]
            sizes = [os.fstat(descriptor).st_size for _, descriptor in files]
        finally:
            os.close(lock)
    finally:
        os.close(root)
    while len(files) > 1 and 0 < _first_seq(files[1][1]) <= after:
        os.close(files.pop(0)[1])
        sizes.pop(0)
    for (name, descriptor), size in zip(files, sizes, strict=True):
        with open(descriptor, "rb") as file:
            number = 0
            while size > 0 and (raw := file.readline(min(size, ledger.LONGEST_LINE))):
                number += 1
                size -= len(raw)  # noqa: PLW2901  what is left of it
                yield f"{name}:{number}", raw.rstrip(b"\n")


def _open(root: int, name: str) -> int | None:
    try:
        return os.open(name, trusted.OPEN_FLAGS, dir_fd=root)
    except FileNotFoundError:
        return None


def _first_seq(descriptor: int) -> int:
    """The number of a file's first line, 0 when that cannot be read."""
    parts = ledger.split_line(os.pread(descriptor, ledger.LONGEST_LINE, 0).partition(b"\n")[0])
    return parts[0] if parts else 0


def _parse(raw: bytes, where: str, previous: Line | None, stored: int, of: ledger.Digester) -> Line:
    parts = ledger.split_line(raw)
    if parts is None:
        return Line(0, "", {}, where, f"{len(raw)} bytes that are no record and that no gap record explains")
    seq, claimed, digest, body = parts
    expected = ledger.link_hash(previous.hash if previous else ledger.FIRST, seq, digest, of)
    fault = ""
    if claimed != expected and (previous or seq == 1):
        fault = "the chain is broken before this line: a line was removed, added or altered"
    elif previous and seq != previous.seq + 1:
        fault = f"the record after {previous.seq} is numbered {seq}"
    elif not previous and seq > stored + 1:  # only what a store holds may be gone
        fault = f"it is the first, but is numbered {seq}: what stood before it was removed"
    values: dict[str, records.Value] = {}
    text = ""
    if body == ledger.ERASED:
        pass  # erased for privacy: its digest still holds its place in the chain
    elif ledger.digest_of(body, of) != digest:
        fault = fault or "the record was altered"
    elif (record := _record(body)) is None:
        fault = fault or "it is sealed like a record, but holds none: gridwarden did not write it"
    else:
        values, text = record, body.decode("utf-8")
    return Line(seq, claimed, values, where, fault, digest, text)


def _record(body: bytes) -> dict[str, records.Value] | None:
    """The flat object that a body is; None for any other, and for integers that no field and no store holds."""
    try:
        text = body.decode("utf-8")
        values, end = _DECODER.raw_decode(text)  # json.loads looks for blanks around it as well, for half as long again
    except (ValueError, RecursionError):
        return None
    if end != len(text) or not isinstance(values, dict):
        return None
    for value in values.values():
        kind = type(value)
        if kind is not str and value is not None and (kind is not int or not -(2**63) <= value < 2**63):
            return None
    return values


def _explains(line: Line, torn: bytes) -> bool:
    """Whether ``line`` is the gap record that the next writer left for ``torn``."""
    return line.body.get("kind") == "gap" and line.body.get("sha256") == ledger.digest_of(torn)
