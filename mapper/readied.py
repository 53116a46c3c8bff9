"""Verifiers whose code is being loaded before there is anything to verify: one process, which forks for each credential.

Loading libcrypto and what understands credentials takes far longer than verifying a proxy.  Who has several credentials
to verify, or other things to do first, has it done once and meanwhile.  The process itself (``readied_process``) never
sees a credential; it is forked before the first one is read.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's own costs a launch 6 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.verifying import Verifier

PROXIES = "gridwarden.mapper.verifier"
TOKENS = "gridwarden.mapper.token_verifier"
_KILL = 9


class Readied:
    """A process that gets ready for ``most`` credentials (``with`` statement: it ends with that, and they with it).

    ``modules`` are the verifiers whose code it loads.  Raises OSError.
    """

    __slots__ = ("_answers", "_orders", "_pid", "_sources")

    def __init__(self, most: int, modules: Sequence[str]) -> None:
        self._pid = 0
        if not most:
            return
        self._sources = [os.memfd_create("credential") for _ in range(most)]
        pipes = [os.pipe() for _ in range(most)]
        self._answers = [reading for reading, _ in pipes]
        orders, self._orders = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._orders)
            pairs = [(source, writing) for source, (_, writing) in zip(self._sources, pipes, strict=True)]
            from gridwarden.mapper import readied_process  # noqa: PLC0415 - the new process's own

            readied_process.serve(orders, pairs, modules)
        for descriptor in (orders, *(writing for _, writing in pipes)):
            os.close(descriptor)

    def __enter__(self) -> Readied:  # noqa: PYI034  typing.Self costs a launch time
        return self

    def start(self, module: str, arguments: Sequence[str], presented: bytes, seconds: float) -> Verifier:
        """As ``verifying.start``, by a child of the process; raises OSError, and IndexError for one credential too many."""
        from gridwarden.mapper.verifying import Verifier  # noqa: PLC0415 - loaded while the process gets ready

        source, reading = self._sources.pop(0), self._answers.pop(0)
        try:
            view = memoryview(presented)
            while view:
                view = view[os.write(source, view) :]
            os.lseek(source, 0, os.SEEK_SET)
            order = "\0".join((module, *arguments, str(-int(-seconds // 1))))
            os.write(self._orders, f"{order}\n".encode("utf-8", "surrogateescape"))
        finally:
            os.close(source)
        return Verifier(0, reading, [module], seconds)

    def end(self) -> None:
        """Have the process end, and whatever verifies for it; it may have been ended before."""
        if self._pid == 0:
            return
        pid, self._pid = self._pid, 0
        for descriptor in (self._orders, *self._sources, *self._answers):
            os.close(descriptor)
        os.kill(pid, _KILL)  # ours and not reaped yet; its children end with it
        os.waitpid(pid, 0)

    def __exit__(self, *_: object) -> None:
        self.end()
