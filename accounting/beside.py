"""Work ahead in a child process, on another core: what it makes comes here while this process stores the last of it."""

from __future__ import annotations

import gc
import marshal
import os
import pickle
from typing import TYPE_CHECKING, Any

from gridwarden.errors import Unavailable
from gridwarden.trusted import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from io import BufferedReader

_LENGTH = 8  # bytes, before each item; 0 says that there are no more, and the error that ended them follows, or 0 again
_WITHOUT_REFERENCES = 2  # marshal's version: it looks no value up to see whether it was written before


def beside(work: Callable[[], Iterator[tuple[Any, ...]]]) -> Generator[tuple[Any, ...]]:
    """Yield what ``work`` yields in a child of this process, which is one item ahead; raises what it raises.

    An item is a tuple of plain values: texts, numbers, None, and tuples and lists of them.  The child ends with the iterator,
    and with this process.  Raises Unavailable where it was killed.  No other thread may hold a lock that ``work`` takes.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _tell(work, reading, writing)
    try:
        os.close(writing)
        with open(reading, "rb") as items:
            while length := int.from_bytes(_read(items, _LENGTH)):
                yield marshal.loads(_read(items, length))  # noqa: S302  our own child's
            if length := int.from_bytes(_read(items, _LENGTH)):
                raise pickle.loads(_read(items, length))  # noqa: S301  our own child's
    finally:
        os.kill(child, 9)  # ours and not reaped yet, so the number is still its own
        os.waitpid(child, 0)


def _read(items: BufferedReader, length: int) -> bytes:
    data = items.read(length)
    if len(data) < length:
        raise Unavailable("a process that read for this one was killed", "run it again: it goes on where it was")
    return data


def _tell(work: Callable[[], Iterator[tuple[Any, ...]]], reading: int, writing: int) -> None:
    """Be the child: never return, since the parent's code must not run on here."""
    try:
        os.close(reading)
        gc.disable()  # rows do not refer to themselves, and to look whether they do takes a tenth of the time
        said = b""
        try:
            for item in work():
                _write(writing, marshal.dumps(tuple(item), _WITHOUT_REFERENCES))
        except BaseException as error:  # noqa: BLE001  whatever it is, the parent raises it
            said = pickle.dumps(error)
        _write(writing, b"")
        _write(writing, said)
    finally:
        os._exit(0)


def _write(writing: int, data: bytes) -> None:
    write_all(writing, len(data).to_bytes(_LENGTH) + data)
