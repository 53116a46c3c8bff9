"""The files in which processes that have ended are kept until they are collected.

A record of the ledger for each would be a thousand a second on a busy node, with a sync for each turn; a line is a
tenth of that and a sync serves a file.  Each file's digest goes to the ledger when it is complete, and with the ledger's
head off the node: from then on nobody alters a line unseen.  The order: sync, rename, record.  A file whose record may
be missing (the agent was killed) is recorded once more after the next start, some at a tick: there may be many.
"""

from __future__ import annotations

import os
import time

from gridwarden import exit_lines, trusted
from gridwarden.sha256 import sha256

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.records import Value

    Record = Callable[[str, dict[str, Value]], None]

FLUSH_BYTES = 64 << 10
COMPLETE_BYTES = 4 << 20
COMPLETE_SECONDS = 300.0
MOST_BYTES = 256 << 20  # of all files: two million processes; then somebody has to collect
MOST_FILES = 1024  # three days of them; while more wait, a file is completed by its size alone
RECORDING_SECONDS = 0.02  # of a tick, for what an agent before this one left
PIECE = 1 << 20


class Spool:
    """The files below ``directory``; ``lost`` counts lines that could not be kept, and ``why`` says why.

    ``reserve`` bytes of the file system are left to the ledger, which is there, too.
    """

    def __init__(self, directory: str, heading: bytes, record: Record, reserve: int) -> None:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        self._directory = trusted.open_directory(directory)
        self._heading = heading
        self._reserve = reserve
        self._record = record
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._file = -1
        self._size = self._lines = 0
        self._digest = sha256(b"")
        self._begun = 0.0
        self.kept = self.lost = 0
        self.why = ""
        self._room = MOST_BYTES
        self._left = self._find_left()

    @property
    def scarce(self) -> bool:
        """Whether more than half of the room is taken."""
        return self._room < MOST_BYTES // 2

    def refuse(self, why: str) -> None:
        """Count a line that is not to be kept."""
        self.lost += 1
        self.why = why

    def add(self, line: Callable[[int], bytes]) -> None:
        """Keep a line, made with its number; it is written within a tick."""
        made = line(self._lines + len(self._waiting) + 1)
        self._waiting.append(made)
        self._waiting_bytes += len(made)
        if self._waiting_bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits; what cannot be written is lost, and counted."""
        if not self._waiting:
            return
        data, count = b"".join(self._waiting), len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        try:
            if self._file == -1:
                self._begin()
            room = os.fstatvfs(self._file)
            if room.f_bfree * room.f_frsize < self._reserve:  # root's: f_bavail is what users have left, and may fill
                raise OSError(0, f"less than {self._reserve >> 20} MiB are left, which are the ledger's")
            if len(data) > self._room:
                raise OSError(0, f"{MOST_BYTES >> 20} MiB wait to be collected")
            self._write(data)
        except OSError as error:
            self.lost += count
            self.why = error.strerror or str(error)
            return
        self._room -= len(data)
        self._lines += count
        self.kept += count

    def on_tick(self, now: float) -> None:
        """Write what waits, and complete a file that is large, or old while not many wait."""
        self.flush()
        self._record_left()
        if self._file == -1:
            return
        old = now - self._begun >= COMPLETE_SECONDS
        if self._size >= COMPLETE_BYTES or (old and len(self._complete_files()) < MOST_FILES):
            try:
                self.complete()
            except OSError as error:
                self.why = error.strerror or str(error)  # the next tick tries again

    def complete(self) -> None:
        """Close the file, if there is one, and record it; raises OSError."""
        self.flush()
        if self._file == -1:
            return
        os.fdatasync(self._file)
        self._tell(self._rename(), self._lines, self._size, self._digest.hexdigest())
        os.close(self._file)
        self._file = -1

    def close(self) -> None:
        """Complete what there is."""
        try:
            self.complete()
        finally:
            os.close(self._directory)

    def _begin(self) -> None:
        flags = trusted.CREATE_FLAGS | os.O_APPEND
        self._room = MOST_BYTES - sum(self._size_of(name) for name in self._complete_files())
        self._file = os.open(exit_lines.CURRENT, flags, 0o600, dir_fd=self._directory)
        self._size, self._lines, self._digest = 0, 0, sha256(b"")
        self._begun = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            self._write(self._heading)
        except OSError:
            os.close(self._file)
            self._file = -1
            os.unlink(exit_lines.CURRENT, dir_fd=self._directory)
            raise

    def _write(self, data: bytes) -> None:
        """Append all of it or nothing."""
        try:
            if os.write(self._file, data) != len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)
        self._digest.update(data)

    def _rename(self) -> str:
        """Give the current file its name, later than any before it, whatever the clock says."""
        last = max((int(name.removesuffix(exit_lines.SUFFIX)) for name in self._complete_files()), default=0)
        name = f"{max(time.time_ns() // 1000, last + 1):020d}{exit_lines.SUFFIX}"
        os.rename(exit_lines.CURRENT, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.fsync(self._directory)
        return name

    def _tell(self, name: str, lines: int, size: int, digest: str) -> None:
        self._record("exits", {"file": name, "lines": lines, "bytes": size, "sha256": digest})

    def _find_left(self) -> list[str]:
        """What an agent before this one left, the latest first: of none of it is it known whether it is on record."""
        try:
            self._rename()
        except FileNotFoundError:
            pass
        return self._complete_files()[::-1]

    def _record_left(self) -> None:
        """Record some of it, one file at least."""
        until = time.monotonic() + RECORDING_SECONDS
        while self._left:
            name = self._left.pop()
            try:
                self._tell(name, *self._measure(name))
            except FileNotFoundError:
                pass  # collected meanwhile
            except OSError as error:  # one that cannot be read must not keep those after it from being kept
                self.refuse(f"{name} cannot be read: {error.strerror or error}")
            if time.monotonic() >= until:
                return

    def _measure(self, name: str) -> tuple[int, int, str]:
        """Lines after the heading, bytes and digest of a file."""
        digest, lines, size = sha256(b""), -1, 0
        descriptor = os.open(name, trusted.OPEN_FLAGS, dir_fd=self._directory)
        try:
            while piece := os.read(descriptor, PIECE):
                digest.update(piece)
                lines += piece.count(b"\n")
                size += len(piece)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return max(lines, 0), size, digest.hexdigest()

    def _complete_files(self) -> list[str]:
        names = (name for name in os.listdir(self._directory) if name.endswith(exit_lines.SUFFIX))
        return sorted(name for name in names if name.removesuffix(exit_lines.SUFFIX).isdigit())

    def _size_of(self, name: str) -> int:
        try:
            return os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0  # collected meanwhile
