"""Verifiers whose code is being loaded before there is anything to verify: one process, which forks for each credential.

Loading libcrypto and what understands credentials takes far longer than verifying a proxy.  Who has several credentials
to verify, or other things to do first, has it done once and meanwhile.  The process itself (``readied_process``) never
sees a credential; whatever its maker learns after it was made, it has not.
"""

from __future__ import annotations

import os

from gridwarden import passing

TYPE_CHECKING = False  # typing's own costs a launch 6 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.verifying import Verifier

PROXIES = "gridwarden.mapper.verifier"
TOKENS = "gridwarden.mapper.token_verifier"
LOAD = "load"
_KILL = 9


class Readied:
    """A process that gets ready to verify (``with`` statement: it ends with that, and they with it).

    Where none can be made, or it ends before its time, no verifier answers.  Raises OSError.
    """

    __slots__ = ("_ending", "_orders", "_pid")

    def __init__(self) -> None:
        self._orders, orders = passing.pair()
        self._ending = False
        maker = os.getpid()
        self._pid = 0
        try:
            self._pid = os.fork()
        except BlockingIOError:  # every pid is taken
            orders.close()
            return
        if self._pid == 0:
            try:
                self._orders.close()
                from gridwarden.mapper import readied_process  # noqa: PLC0415 - the new process's own

                readied_process.serve(orders, maker)
            finally:
                os._exit(1)  # its maker's code must never run on in it
        orders.close()

    def __enter__(self) -> Readied:  # noqa: PYI034  typing.Self costs a launch time
        return self

    def load(self, modules: Sequence[str]) -> None:
        """Have it load these verifiers: the first order."""
        self._send("\0".join((LOAD, *modules)))

    def start(self, module: str, arguments: Sequence[str], presented: bytes, seconds: float) -> Verifier:
        """As ``verifying.start``, by a child of the process; raises OSError."""
        from gridwarden.mapper.verifying import Verifier  # noqa: PLC0415 - loaded while the process gets ready

        source = os.memfd_create("credential")
        reading, writing = os.pipe()
        try:
            view = memoryview(presented)
            while view:
                view = view[os.write(source, view) :]
            os.lseek(source, 0, os.SEEK_SET)
            self._send("\0".join((module, *arguments, str(-int(-seconds // 1)))), source, writing)
        finally:
            os.close(source)
            os.close(writing)
        return Verifier(0, reading, [module], seconds)

    def dismiss(self) -> None:
        """Have the process end, and whatever verifies for it, without waiting until it has."""
        if self._pid and not self._ending:
            self._ending = True
            self._orders.close()
            os.kill(self._pid, _KILL)  # ours and not reaped yet; its children end with it

    def end(self) -> None:
        """``dismiss``, and wait; it may have been ended before."""
        self.dismiss()
        if self._pid:
            pid, self._pid = self._pid, 0
            os.waitpid(pid, 0)

    def __exit__(self, *_: object) -> None:
        self.end()

    def _send(self, order: str, *descriptors: int) -> None:
        try:
            passing.send(self._orders, order.encode("utf-8", "surrogateescape"), *descriptors)
        except ConnectionError:
            pass  # it has ended: so will the answers, before they begin
