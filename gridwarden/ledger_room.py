"""Hold room for records on a ledger's file system while something is done that must be recorded afterwards.

What cannot be undone, a kill, is done only while the room for its record is ours, and a full disk is found before.
"""

from __future__ import annotations

import os

from gridwarden import trusted
from gridwarden.errors import EvidenceError

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from typing import Self

BYTES = 4 * 1024 * 1024  # for a thousand records


class Room:
    """Room for records in the ledger ``directory``, from entering to leaving: write them right after that.

    Entering raises EvidenceError when there is none or no file can be made there, ConfigurationError when others
    could write there.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = directory
        self._descriptor = -1

    def __enter__(self) -> Self:
        ledger = trusted.open_directory(self._directory)
        name = f".room.{os.urandom(8).hex()}"
        try:
            self._descriptor = os.open(name, trusted.CREATE_FLAGS, 0o600, dir_fd=ledger)
            os.unlink(name, dir_fd=ledger)
            os.posix_fallocate(self._descriptor, 0, BYTES)
        except OSError as error:
            self.__exit__()
            raise EvidenceError(
                f"{self._directory}: there is no room for the record of what is to be done: {error.strerror}",
                f"free {BYTES >> 20} MiB on that file system; nothing is killed or removed without its record",
            ) from error
        finally:
            os.close(ledger)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor != -1:
            os.close(self._descriptor)
            self._descriptor = -1
