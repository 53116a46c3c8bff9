"""Keep every other process off the CPUs for a moment, so that a look at processes that fork without end holds still.

A real-time process below our own priority spins on each CPU (sched(7)).  Nobody is sent a signal and nothing is
lost but that moment.  It is done only where strays have outrun everything gentler.
"""

from __future__ import annotations

import os
import time

from gridwarden.prune.signals import PRIORITY

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from typing import NoReturn

HALT_SECONDS = 0.3  # at most, however long the look takes; real time may have 0.95 of each second


class Halt:
    """Nobody else runs while this lasts (``with`` statement), as far as that is to be had; enter it within Urgent.

    ``spinning`` are the children by which that is done.
    """

    def __enter__(self) -> Halt:  # noqa: PYI034  typing.Self costs a hook 6 ms
        self.spinning: list[int] = []
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            for cpu in range(os.sysconf("SC_NPROCESSORS_CONF")):  # a child for one that is offline ends at once
                child = os.fork()
                if child == 0:
                    _spin(cpu, writing)
                self.spinning.append(child)
        except BlockingIOError:
            pass  # every pid is taken
        finally:
            os.close(writing)
            _await(reading, len(self.spinning))
            os.close(reading)
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.spinning:
            os.kill(child, 9)  # ours and not reaped yet, so the number is still its own
            os.waitpid(child, 0)


def _await(reading: int, missing: int) -> None:
    """Wait until each of so many spins, or cannot."""
    from select import poll  # noqa: PLC0415 - there is hardly ever a bomb

    ready = poll()
    ready.register(reading)
    while missing > 0 and ready.poll(HALT_SECONDS * 1000):
        told = os.read(reading, missing)
        if not told:
            break
        missing -= len(told)


def _spin(cpu: int, ready: int) -> NoReturn:
    try:
        deadline = time.monotonic() + HALT_SECONDS
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY - 1))
        os.write(ready, b".")
        os.close(ready)
        while time.monotonic() < deadline:
            pass
    finally:
        os._exit(0)
