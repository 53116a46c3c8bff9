"""The payloads that run on this machine: a state file each, written before the switch and gone when all is cleared.

``RUNTIME/payloads/ID`` maps a payload back to who it is, and is what others need to end it and give back what it was
lent when its launcher cannot.  The launcher holds flock(2) on the file while it lives; the payload's guard takes it when
the launcher is killed, and whoever clears up after both takes it first: so the kernel says who is gone, whatever became
of their pids.  A tab file, which is replaced whole with the lock already on the new one.
"""

from __future__ import annotations

import fcntl
import os
import time

from gridwarden import ledger, proc, tab_file, trusted
from gridwarden.errors import ConfigurationError
from gridwarden.payload_state import State, parse

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    Site = dict[str, list[str]]

BATCH = "payload"
GROUP_PREFIX = "gridwarden-payload-"  # and the id: what a payload's own control group is called
ID_BYTES = 16
OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
OLD_SECONDS = 60.0  # a file that is being written is not: that takes a fraction of a millisecond
TRIES = 100  # a file that is replaced while it is opened is opened again


def new_id() -> str:
    """An id for a new payload, which nobody can guess."""
    return os.urandom(ID_BYTES).hex()


def here(state: State) -> State:
    """The state with this process as the launcher, on this boot."""
    launcher = proc.read(os.getpid())
    start, session = (launcher.start, launcher.session) if launcher else (0, 0)
    return state.but(launcher=os.getpid(), launcher_start=start, session=session, boot=ledger.boot_id())


def leading(state: State, process: int, cgroup: str) -> State:
    """The state with the payload's own process, a child of ours, and its control group."""
    seen = proc.read(process)
    return state.but(process=process, process_start=seen.start if seen else 0, cgroup=cgroup)


def write(directory: str, state: State, held: int = -1) -> int:
    """Write the state file, durably for as long as this boot lasts: a descriptor that holds its lock.

    ``held`` is the descriptor of the file that is replaced, and is closed.  Raises OSError, ConfigurationError.
    """
    parent = trusted.open_directory(directory)
    temporary = f".{state.payload}.{os.urandom(8).hex()}"
    try:
        descriptor = os.open(temporary, OPEN | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            trusted.write_all(descriptor, tab_file.encode(state.pairs()))
            os.rename(temporary, state.payload, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            os.close(descriptor)
            os.unlink(temporary, dir_fd=parent)
            raise
    finally:
        os.close(parent)
    if held != -1:
        os.close(held)
    return descriptor


def inherit(directory: str, payload: str) -> tuple[State, int] | None:
    """Lead a payload whose launcher was killed: its state and the descriptor that holds its lock.

    None where somebody else has come first.  Raises OSError, ConfigurationError.
    """
    held = take_over(directory, payload)
    if held is None:
        return None
    try:
        itself = proc.read(os.getpid())
        state = read_open(directory, payload, held)
        state = state.but(launcher=os.getpid(), launcher_start=itself.start if itself else 0)
        return state, write(directory, state, held)
    except BaseException:
        os.close(held)
        raise


def remove(directory: str, payload: str) -> None:
    """Remove the state file, where it is still there."""
    try:
        os.unlink(os.path.join(directory, payload))
    except FileNotFoundError:
        pass


def names(directory: str) -> list[str]:
    """The ids of all payloads of this machine, whether their launchers live or not."""
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except FileNotFoundError:
        return []


def read(directory: str, payload: str) -> State | None:
    """The payload of this id, or None; raises ConfigurationError for a file that is not whole."""
    path = os.path.join(directory, payload)
    if not os.path.lexists(path):
        return None
    try:
        return parse(trusted.read_file(path), path)
    except ConfigurationError:
        if not os.path.lexists(path):
            return None  # it has ended meanwhile
        raise


def read_open(directory: str, payload: str, held: int) -> State:
    """The payload of this open state file; raises as ``read``."""
    return parse(os.pread(held, os.fstat(held).st_size, 0), os.path.join(directory, payload))


def everything(directory: str) -> list[State]:
    """All payloads of this machine; raises as ``read``."""
    return [state for name in names(directory) if (state := read(directory, name))]


def lent(directory: str) -> frozenset[tuple[int, int]]:
    """Device and inode of each directory that a payload of this machine was lent and that was not given back yet.

    It is the pilot's, whoever owns it meanwhile.  ``directory`` may be "" or missing.  Raises as ``read``.
    """
    states = everything(directory) if directory else []
    return frozenset((state.scratch_device, state.scratch_inode) for state in states if state.scratch)


def leftovers(directory: str) -> list[str]:
    """The files that writers left who were killed before a file had its name; ``directory`` may be "" or missing."""
    try:
        return [name for name in os.listdir(directory) if name.startswith(".")] if directory else []
    except FileNotFoundError:
        return []


def remove_leftovers(directory: str) -> None:
    """Remove them, those excepted that somebody may still be writing; raises OSError, ConfigurationError."""
    parent = trusted.open_directory(directory)
    try:
        for name in leftovers(directory):
            changed = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime
            if abs(time.time() - changed) > OLD_SECONDS:
                os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass  # somebody else does the same
    finally:
        os.close(parent)


def is_led(directory: str, payload: str) -> bool:
    """Whether the launcher of this payload lives, or its guard does what the launcher can no more."""
    descriptor = take_over(directory, payload)
    if descriptor is None:
        return os.path.lexists(os.path.join(directory, payload))
    os.close(descriptor)
    return False


def without_launcher(directory: str) -> list[str]:
    """The ids of the payloads to which somebody else must see now; ``directory`` may be "" or missing."""
    return [payload for payload in names(directory) if not is_led(directory, payload)] if directory else []


def take_over(directory: str, payload: str) -> int | None:
    """The lock of a payload without a launcher, as a descriptor; None while it has one, or is gone.

    Raises OSError, ConfigurationError.
    """
    parent = trusted.open_directory(directory)
    try:
        for _ in range(TRIES):
            try:
                descriptor = os.open(payload, OPEN, dir_fd=parent)
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                now = os.stat(payload, dir_fd=parent, follow_symlinks=False)
            except (BlockingIOError, FileNotFoundError):
                os.close(descriptor)
                return None
            if os.path.samestat(os.fstat(descriptor), now):
                return descriptor
            os.close(descriptor)
    finally:
        os.close(parent)
    raise ConfigurationError(f"{directory}/{payload}: is replaced all the time")
