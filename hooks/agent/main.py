"""The program ``gridwarden-agent``: read the node file, be the only one, serve until told to end.

Without options it detaches itself once it serves, as a start script expects; ``--foreground`` is for systemd and for
looking on.  Loads nothing that only people need, since it stays in memory.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from gridwarden import node_file, syslog_line
from gridwarden.errors import ConfigurationError, GridwardenError, Unavailable
from gridwarden.hooks.agent import intake, serve, systemd
from gridwarden.hooks.agent.paths import Paths, make_directories
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    import signal
    from _socket import socket
else:  # signal would load enum
    import _signal as signal

NAME = "gridwarden-agent"
CONFIG = "/etc/gridwarden/site.yaml"
OPERATING_SYSTEM = 71  # EX_OSERR, as in gridwarden.run
PRIORITY = -10  # what users run must not make hooks wait
LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FOREGROUND = "--foreground"
OPTIONS = {"--node-file": node_file.PATH, "--config": CONFIG}


def main(whoran: str = "") -> int:
    """Run ``gridwarden-agent``; return its exit code.  ``whoran`` is where that is, if not beside this program."""
    whoran = whoran or os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "whoran")
    options = _options(sys.argv[1:])
    if options is None or "_GRIDWARDEN_AGENT_COMPLETE" in os.environ:
        from gridwarden.hooks.agent.commands import agent_command  # noqa: PLC0415 - what people need would stay in memory
        from gridwarden.run import run as run_command  # noqa: PLC0415

        return run_command(agent_command, NAME, sys.argv[1:])
    try:
        paths = Paths(options["--node-file"], options["--config"], whoran)
        return run(paths, foreground=bool(options[FOREGROUND]))
    except (GridwardenError, OSError) as error:
        return _failed(error)


def run(paths: Paths, *, foreground: bool) -> int:
    """Serve for the given files until SIGTERM; raises ConfigurationError, Unavailable when another agent serves, OSError."""
    if os.geteuid():
        raise ConfigurationError("the agent is root's: it writes the ledger", "start it as root, or by systemd")
    os.umask(0o077)
    _take_priority()
    _open_standard_streams()
    wishes = Wishes()
    site = read(paths.node)
    path = site["agent_socket"][0]
    make_directories(site)
    lock = _be_the_only_one(f"{path}.lock")
    listening = systemd.handed_over() or intake.listen(path)
    if not foreground:
        _detach()
    systemd.notify("READY=1")
    syslog_line.decision("agent", "started", pid=os.getpid())
    while True:
        serve.Agent(site, paths, listening, time.time()).run(wishes)
        if not wishes.reload:
            break
        try:
            read(paths.node)
        except ConfigurationError as error:
            syslog_line.decision("agent", "unconfigured", detail=str(error))  # and goes on as it was
            wishes.stop = wishes.reload = False
        else:
            _begin_anew(listening)
    syslog_line.decision("agent", "ended", pid=os.getpid())
    os.close(lock)
    return 0


class Wishes:
    """What signals have asked for: to ``stop``, and then to ``reload``; ``descriptor`` can be read once there is one."""

    def __init__(self) -> None:
        self.stop = self.reload = False
        self.descriptor, waking = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored by our caller, children's ends would be lost
        for number in TAKEN:
            signal.signal(number, self._take)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)

    def _take(self, number: int, _: object) -> None:
        self.reload = number == signal.SIGHUP and (self.reload or not self.stop)
        self.stop = True


def read(path: str) -> dict[str, list[str]]:
    """The node file; raises ConfigurationError, also when it is of before there was an agent."""
    site = node_file.read(path)
    if "agent_socket" not in site:
        raise ConfigurationError(f"{path}: has no agent_socket", "gridwarden config install writes it")
    return site


def _failed(error: GridwardenError | OSError) -> int:
    """Say why there is no agent, as every command does, but without what only commands load; the exit code."""
    hint = error.hint if isinstance(error, GridwardenError) else ""
    said = [f"{NAME}: {error}", f"hint: {hint}"] if hint else [f"{NAME}: {error}"]
    os.write(2, "".join(f"{escape(line)}\n" for line in said).encode())
    syslog_line.decision("agent", "unconfigured", detail=str(error))
    return error.exit_code if isinstance(error, GridwardenError) else OPERATING_SYSTEM


def _options(words: list[str]) -> dict[str, str] | None:
    """What was asked for; None for what click must judge, or answer."""
    found = {**OPTIONS, FOREGROUND: ""}
    words = list(words)
    while words:
        word = words.pop(0)
        if word == FOREGROUND:
            found[word] = "yes"
        elif word in OPTIONS and words:
            found[word] = os.path.abspath(words.pop(0))
        else:
            return None
    return found


def _take_priority() -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except PermissionError:
        pass  # systemd has given it, and may have taken the right to


def _be_the_only_one(path: str) -> int:
    """A descriptor that holds the agent's lock; raises Unavailable when another agent has it."""
    descriptor = os.open(path, LOCK_FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Unavailable(f"{path}: another agent serves this machine", "gridwarden agent status") from None
    return descriptor


def _open_standard_streams() -> None:
    """Open /dev/null for each of the standard three that is closed: a socket of ours would come in its place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - has no other way
    os.close(descriptor)


def _detach() -> None:
    """Go on in the background; whoever connects meanwhile waits."""
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)


def _begin_anew(listening: socket) -> None:
    """Execute this program again, the same process with the same socket: so that all is read, code and configuration."""
    systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
    os.dup2(listening.fileno(), systemd.FIRST)
    os.set_inheritable(systemd.FIRST, True)  # noqa: FBT003 - it may have been that one before
    handed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)  # until who comes next has handlers: the default would end it
    words = [word for word in sys.orig_argv if word != FOREGROUND]
    os.execve(sys.executable, [*words, FOREGROUND], {**os.environ, **handed})  # noqa: S606 - no shell is the point
