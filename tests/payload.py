"""The chain in which a payload runs, of real processes: pilot, sudo, launcher, guard, payload.

sudo is /bin/sh under its name, which stays as sudo does but passes no signal on: what sudo passes on is sent to the
launcher instead, and the stories have the real one.  /etc is a copy of the chain's own, where PAM finds its services.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gridwarden import proc
from tests import control_groups
from tests.killing import kill, kill_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gridwarden.hooks.pilot.control_group import Group

CHECKOUT = Path(__file__).parent.parent
PYTHON = os.path.realpath(sys.executable)
UID, GID, GROUPS = 61041, 61041, (61042, 65001)
SECONDS = 60.0
PERMIT_LOGIN = "auth required pam_permit.so\naccount required pam_permit.so\n"
SERVICES = {"gridwarden-exec": PERMIT_LOGIN + "session required pam_permit.so\n"}
_started: list[subprocess.Popen[str]] = []


PILOT = """
import os, subprocess, sys
exec(sys.argv.pop(1))
chain = subprocess.Popen(sys.argv[1:], close_fds=False, restore_signals=False)
_, status, used = os.wait4(chain.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, flush=True)
"""
LAUNCHER = f"""
import json, os, signal, sys, time
sys.path.append({str(CHECKOUT)!r})
from gridwarden.hooks.pilot import ancestors
watched = ancestors.watch()
from gridwarden.errors import GridwardenError
from gridwarden.hooks.pilot import session, work_order
asked = json.loads(sys.argv[1])
def tell(name, what):
    with open(asked["directory"] + "/." + name, "w") as file:
        json.dump(what, file)
    os.rename(asked["directory"] + "/." + name, asked["directory"] + "/" + name)
def stay(seconds):
    deadline = time.monotonic() + seconds
    while not os.path.exists(asked["directory"] + "/go-on") and time.monotonic() < deadline:
        time.sleep(0.01)
books = node = None
def ready(pid, group):
    if books:
        books.started(pid, group)
    if asked["refused"]:
        raise GridwardenError("no evidence")
    if asked["slow"]:
        tell("held", [pid, os.getpid()])
        stay(asked["slow"])
    guard = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
    tell("begun", [pid, guard, os.getpid(), os.getppid(), group])
words = [word.encode() for word in asked["words"]] + [b"x" * asked["size"]] * asked["times"]
work = work_order.Work(
    account=asked["account"], uid={UID}, gid={GID}, groups={GROUPS}, service=asked["service"],
    program=os.open(words[0], os.O_PATH | os.O_CLOEXEC), path=words[0], arguments=tuple(words),
    directory=os.open(asked["where"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), environment={{b"OWN": b"1"}},
    no_new_privileges=asked["no_new_privileges"], capabilities=asked["capabilities"],
    control_group=asked["control_group"], grace_seconds=asked["grace_seconds"], same_account=False, payload=asked["payload"],
    script=asked["script"],
)
if asked["books"]:
    from gridwarden import node_file, payload_state
    from gridwarden.hooks.pilot import books as its
    state = payload_state.State(payload=asked["payload"], uid={UID}, gid={GID}, **asked["state"])
    node = node_file.read(asked["books"])
    books = its.begin(node, state, 0, work.directory)
try:
    guard = session.prepare(asked["service"], "pilot", watched, node=node)
    if asked["prepares"]:
        tell("prepared", [guard._pid, os.getpid()])
        stay(asked["prepares"])
    if asked["abandoned"]:
        guard.abandon()
        raise GridwardenError("refused")
    if asked["recorded"]:
        from gridwarden.prune import payload_end
        append = payload_end.append
        def append_then(place, kind, fields, **where):
            at = append(place, kind, fields, **where)
            if kind == "payload_end":
                payload_end.append = append
                if asked["recorded"] == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise GridwardenError("nobody knows")
            return at
        payload_end.append = append_then
    ended = session.run(guard, work, ready, over=books.over if books else lambda _: None)
except GridwardenError as error:
    tell("ended", {{"error": type(error).__name__, "reason": getattr(error, "reason", ""), "text": str(error)}})
    sys.exit(77)
tell("ended", ended._asdict())
if books:
    books.ended(ended)
"""

TELL = """
import ctypes, os, signal, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def tell(name, text=""):
    with open(f".{name}", "w") as file:
        file.write(str(text))
    os.rename(f".{name}", f"{name}")
"""


class Chain:
    """A chain that was started, and its processes: ``payload``, ``guard``, ``launcher``, ``sudo`` and ``pilot``."""

    def __init__(self, directory: Path, pilot: subprocess.Popen[str]) -> None:
        self.directory = directory
        self.process = pilot
        self.pilot = pilot.pid

    def begun(self) -> Chain:
        """Wait until the payload has begun."""
        numbers = json.loads(self.told("begun"))
        self.payload, self.guard, self.launcher, self.sudo, self.group = numbers
        return self

    def ended(self) -> dict:
        """Wait for the launcher's answer."""
        return json.loads(self.told("ended"))

    def told(self, name: str, seconds: float = SECONDS) -> str:
        path = self.directory / name
        wait_until(path.exists, f"{name}: nothing", seconds)
        return path.read_text()

    def go_on(self) -> None:
        """Keep a launcher no longer that is ``slow`` or ``prepares``."""
        (self.directory / "go-on").touch()

    def output(self) -> str:
        """All that the chain wrote, once its last process has ended."""
        return self.process.communicate(timeout=SECONDS)[0]

    def told_by_payload(self, name: str) -> str:
        """What the payload tells."""
        return self.told(f"work/{name}")

    def everybody(self) -> list[proc.Process]:
        """What runs as the payload's account."""
        return proc.owned_by(UID)


@contextmanager
def group_of_a_job() -> Iterator[Group]:
    """A control group, as a batch system makes one for a job; the test is skipped where there is none of version 2."""
    with control_groups.a_group() as group:
        try:
            yield group
        finally:
            for path in Path(group.path).glob("gridwarden-payload-*"):
                path.rmdir()


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    process = proc.read(pid)
    return process is None or process.has_ended()


def service(rules: str) -> dict[str, str]:
    """A PAM service that permits all, with ``rules`` besides."""
    return {"gridwarden-exec": PERMIT_LOGIN + rules + "session required pam_permit.so\n"}


def wait_until(holds: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def start(directory: Path, *words: str, services: dict[str, str] = SERVICES, **asked) -> Chain:
    """Start a chain that runs ``words`` as the account.

    ``before`` is what the pilot does first, in Python, ``setup`` what root does in the chain's mounts, in shell, ``slow`` and
    ``prepares`` how many seconds the launcher waits for ``go_on`` while the payload is held, or before; ``recorded`` what
    befalls it right behind the record of the end: it is "killed", or "fails"; the rest goes into the launcher's ``Work``.
    """
    directory.chmod(0o755)
    sudo = directory / "sudo"
    shutil.copy("/bin/sh", sudo)
    work = directory / "work"
    work.mkdir()
    os.chown(work, UID, GID)
    etc = "".join(f"printf %s '{rules}' >/etc/pam.d/{name}; " for name, rules in services.items())
    setup = f"mount -t tmpfs tmpfs /etc/pam.d && {etc}" + asked.pop("setup", "true") + '; exec "$@"'
    options = {
        "words": words, "directory": str(directory), "where": str(work), "account": "nobody", "service": "gridwarden-exec",
        "no_new_privileges": True, "capabilities": "none", "control_group": False, "grace_seconds": 0.3, "script": False,
        "refused": False, "books": "", "state": {}, "slow": 0, "prepares": 0, "abandoned": False, "recorded": "",
        "times": 0, "size": 0, "payload": os.urandom(16).hex(),
    }  # fmt: skip
    launcher = [PYTHON, "-ISBc", LAUNCHER, json.dumps(options | asked)]
    pilot = [PYTHON, "-ISBc", PILOT, asked.pop("before", ""), str(sudo), "-c", '"$@" & wait $!', "sudo", *launcher]
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", setup, "sh"]
    process = subprocess.Popen(
        [*apart, *pilot], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
        start_new_session=True,
    )  # fmt: skip
    _started.append(process)
    return Chain(directory, process)


def end_all() -> None:
    """Have nobody stay of the chains of a test, which may have failed: the next one counts who runs as the account."""
    while _started:
        leader = _started.pop()
        kill(*(process.pid for process in proc.owned_by(UID)))
        kill_group(leader.pid)


def python(code: str) -> list[str]:
    """The words of a payload of Python; ``tell(name, text)`` writes a file into its directory, for the test to wait for."""
    return [PYTHON, "-ISBc", TELL + code]
