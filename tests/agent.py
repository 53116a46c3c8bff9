"""An agent of its own in a temporary directory, and processes that speak to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridwarden import agent_client, chain, node_file
from tests.site_values import node_values

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
START = """
import os, sys
sys.path.append({root!r})
{before}
from gridwarden.hooks.agent.main import main
os._exit(main())
"""
DEADLINE = 60.0
# What unprivileged senders are: a message each word, then how each was answered; a child sends what begins with "sub:".
# They take their uid themselves: the interpreter may lie where only root comes.
CLIENT = """
import os, sys
sys.path.append({root!r})
from gridwarden import agent_client
uid, path = int(sys.argv[1]), sys.argv[2]
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
for word in sys.argv[3:]:
    what, _, fields = word.removeprefix("sub:").partition(",")
    if word != word.removeprefix("sub:") and os.fork():
        os.wait()
        continue
    print(*agent_client.tell(path, what, dict(one.split("=") for one in fields.split(",") if one), 20), flush=True)
"""


class Node:
    """A machine's directories below `base`, and the agent that serves it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        base.chmod(0o755)
        for name in ("holders", "jobs", "locks", "ledger", "gridmapdir", "run", "programs"):
            (base / name).mkdir()
        self.socket = f"{base}/run/agent"
        self.process: subprocess.Popen[bytes] | None = None
        self._sessions: list[int] = []
        self.configure()

    def configure(self, **changed: str) -> None:
        values = node_values(
            self.base,
            prune_htcondor_programs=f"{self.base}/programs",
            agent_socket=self.socket,
            agent_poll_seconds="0",
            agent_held_jobs_seconds="0",
        )
        values |= changed
        daemons = [("prune_daemon", f"{self.base}/programs/{name}") for name in ("condor_startd", "condor_starter")]
        node_file.write(self.base / "node", [*values.items(), *daemons])

    def command(self, before: str = "") -> list[str]:
        program = START.format(root=str(ROOT), before=before)
        words = ("--foreground", "--node-file", str(self.base / "node"), "--config", str(self.base / "site.yaml"))
        return [sys.executable, "-ISB", "-c", program, *words]

    def start(self, before: str = "") -> None:
        self.run(self.command(before))
        until(self.answers)

    def run(self, command: list[str], **options: Any) -> None:
        self.process = subprocess.Popen(command, cwd="/", stderr=subprocess.PIPE, start_new_session=True, **options)
        self._sessions.append(self.process.pid)

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.process.stderr.read().decode()
        told = agent_client.status(self.socket, 0.5)
        return told is not None and told["pid"] == str(self.process.pid)

    def end(self, number: int = 15) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        self.process.stderr.close()
        self.process = None
        return code

    def leave(self) -> None:
        """End what there is of its agents, children on errands, too: they would write where the test's directory goes."""
        for session in self._sessions:
            until(lambda session=session: not self._kill(session))
        if self.process:
            self.process.stderr.close()

    def _kill(self, session: int) -> bool:
        if self.process:
            self.process.poll()
        try:
            os.killpg(session, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def records(self, kind: str) -> list[dict[str, object]]:
        return [line.body for line in chain.read(self.base / "ledger") if line.body.get("kind") == kind]

    def texts(self, kind: str = "declared") -> list[str]:
        """What was said in the records of a kind: the field `n` of the message."""
        return [str(body["text"]).partition("\nn\t")[2].partition("\n")[0] for body in self.records(kind)]


@contextmanager
def fresh_node() -> Iterator[Node]:
    """A machine of a test's own, where users reach its agent; whatever runs of that ends with the test."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # pytest keeps its own to root
        node = Node(Path(directory))
        try:
            yield node
        finally:
            node.leave()


def client(node: Node, uid: int, *words: str) -> subprocess.Popen[str]:
    """A process of `uid` that sends a message for each of `words` (WHAT,KEY=VALUE,...), one after the other."""
    command = [sys.executable, "-ISB", "-c", CLIENT.format(root=str(ROOT)), str(uid), node.socket, *words]
    return subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, text=True, env={})


def until(ask, seconds: float = DEADLINE):
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)
    return answer
