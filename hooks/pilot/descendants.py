"""All that descends from this process, whatever it does to hide: seen, stopped, let go on, and killed to the last.

This process adopts orphans (privileges.adopt_orphans), so no double fork and no session of its own leads out of its
descendants, and as long as there is one it has a child: wait(2) tells for certain when none is left.
"""

from __future__ import annotations

import os
import time

from gridwarden import proc
from gridwarden.errors import Unavailable
from gridwarden.prune.signals import SIGCONT, SIGKILL, SIGSTOP, Urgent, key, send

TYPE_CHECKING = False  # typing's own costs a launch 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gridwarden.hooks.pilot.control_group import Group
    from gridwarden.proc import Process
    from gridwarden.prune.signals import Key

ANY_UID = range(2**32)  # also that of a set-uid program, which is the payload's all the same
STANDING = "Tt"
PAUSE_SECONDS = 0.005
GENTLE_PASSES, MOST_HALTS = 5, 20  # before all others are halted for one, and then
STOP_PASSES = 20


def require() -> None:
    """Raise Unavailable where the kernel does not say who is whose child."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        raise Unavailable(
            "this kernel does not list children in /proc (CONFIG_PROC_CHILDREN), so a payload could hide some"
        )


def seen(without: Iterable[int] = ()) -> list[Process]:
    """The descendants of this process that one look shows; who forks meanwhile may be missed."""
    passed_over = set(without)
    found: list[Process] = []
    waiting = [process for process in [proc.read(os.getpid())] if process]
    while waiting:
        parent = waiting.pop()
        children = [child for child in map(proc.read, _children(parent.pid) - passed_over) if child]
        again = proc.read(parent.pid)
        if again is None or again.start != parent.start:
            continue  # it has ended, and they are somebody else's now: ours, if they were its
        children = [child for child in children if child.parent == parent.pid]
        found += children
        waiting += children
    return found


def signal_all(processes: Iterable[Process], signal: int) -> None:
    """Signal each of these that still is that process."""
    for process in processes:
        send(process, ANY_UID, signal)


def end_all(reap: Callable[[], bool], group: Group | None, seconds: float) -> int:
    """Kill every descendant; how many are left ``seconds`` after they have been killed, since they hang in the kernel.

    ``reap`` waits for those that have ended, and says whether there are children still.  Whom somebody else traces has
    ended, and is not to be waited for while that lives: where nothing but such children is left, nobody is.
    """
    if not reap():
        return 0
    killed: set[Key] = set()
    ended: set[Key] = set()
    passes, deadline = 0, time.monotonic() + seconds
    with Urgent():
        while reap():
            before, ended = ended, _children_if_all_have_ended()
            if ended and ended == before:
                return 0
            if group:
                group.kill()
            if GENTLE_PASSES <= passes < GENTLE_PASSES + MOST_HALTS:
                from gridwarden.prune.halt import Halt  # noqa: PLC0415 - hardly any payload needs it

                with Halt() as halt:
                    alive = _kill_seen(halt.spinning)
            else:
                alive = _kill_seen()
            if not alive <= killed:
                killed |= alive
                deadline = time.monotonic() + seconds
            elif time.monotonic() > deadline:
                return max(len(alive), 1)  # since there is a child
            passes += 1
            time.sleep(PAUSE_SECONDS)
    return 0


def _kill_seen(without: Iterable[int] = ()) -> set[Key]:
    alive = [process for process in seen(without) if not process.has_ended()]
    signal_all(alive, SIGKILL)
    return set(map(key, alive))


def _children_if_all_have_ended() -> set[Key]:
    """Our own children, if none of them lives.

    Whoever lives and descends from us is a child of ours, or below one that lives.  One that ended during such a look may
    have left us others, which the next one finds: two that find the same have missed nobody.
    """
    children = _children(os.getpid())
    ended = {key(child) for child in map(proc.read, children) if child and child.has_ended()}
    return ended if len(ended) == len(children) else set()


class Suspension:
    """The descendants that were stopped because an ancestor was; those that stood still before are left alone."""

    def __init__(self) -> None:
        self._stopped: dict[Key, Process] = {}

    def stop(self) -> None:
        """Stop every descendant; call it again for as long as it lasts, since one may have been born unseen."""
        for _ in range(STOP_PASSES):
            running = {key(process): process for process in seen() if _runs(process)}
            signal_all(running.values(), SIGSTOP)
            if running.keys() <= self._stopped.keys():
                break
            self._stopped |= running
            time.sleep(PAUSE_SECONDS)

    def end(self) -> None:
        """Let them go on."""
        signal_all(self._stopped.values(), SIGCONT)
        self._stopped.clear()


def _runs(process: Process) -> bool:
    return not (process.state in STANDING or process.has_ended())


def _children(pid: int) -> set[int]:
    """The children of all threads of a process (proc_tid_children(5)); none when it has ended."""
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found.update(map(int, file.read(-1).split()))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found
