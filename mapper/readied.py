"""Verifiers whose code is being loaded before there is anything to verify: one process, which forks for each credential.

Starting an interpreter and loading libcrypto takes far longer than verifying a proxy.  Who has several credentials to
verify, or other things to do first, has it done once and meanwhile.  The process itself (``readied_process``) never sees
a credential.
"""

from __future__ import annotations

import os
import sys

import gridwarden

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.verifying import Verifier

_CODE = os.path.dirname(os.path.dirname(os.path.abspath(gridwarden.__file__)))
_START = "import sys; sys.path.append(sys.argv[1]); from gridwarden.mapper.readied_process import main; main()"
_KILL = 9
PROXIES = "gridwarden.mapper.verifier"
TOKENS = "gridwarden.mapper.token_verifier"


class Readied:
    """A process that gets ready for ``most`` credentials (``with`` statement: it ends with that, and they with it).

    ``modules`` are the verifiers whose code it loads.  Raises OSError.
    """

    __slots__ = ("_answers", "_command", "_orders", "_pid", "_sources")

    def __init__(self, most: int, modules: Sequence[str]) -> None:
        self._pid = 0
        self._sources = [os.memfd_create("credential") for _ in range(most)]
        self._answers: list[int] = []
        if not most:
            return
        writing = []
        for _ in range(most):
            pipe = os.pipe()
            self._answers.append(pipe[0])
            writing.append(pipe[1])
        orders, self._orders = os.pipe()
        handed = [*self._sources, *writing]
        for descriptor in handed:
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - has no other way
        numbers = ["-".join(map(str, pair)) for pair in zip(self._sources, writing, strict=True)]
        # -B: a bytecode file written now would be written by root into the installed package.
        self._command = [sys.executable, "-ISB", "-c", _START, _CODE, ",".join(modules), *numbers]
        actions = [
            (os.POSIX_SPAWN_DUP2, orders, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        self._pid = os.posix_spawn(sys.executable, self._command, {}, file_actions=actions)
        for descriptor in (orders, *writing):
            os.close(descriptor)
        for descriptor in self._sources:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - as above

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
        return Verifier(0, reading, self._command, seconds)

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
