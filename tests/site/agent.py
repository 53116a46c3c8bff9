"""The site's node agent, started by hand: nobody is process 1 here who would."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gridwarden import agent_client
from tests.site.slurm import until

PROGRAM = "/usr/libexec/gridwarden/agent"
SOCKET = "/run/gridwarden/agent"


def start(*before: str) -> subprocess.Popen[bytes]:
    """An agent that answers, for the node file as it is; ``before`` is what executes it, such as setpriv."""
    agent = subprocess.Popen([*before, PROGRAM, "--foreground"])
    until("the agent to answer", lambda: agent_client.status(SOCKET))
    return agent


def end(agent: subprocess.Popen[bytes]) -> None:
    """End it in good order, and leave nothing that a hook would try to speak to."""
    agent.terminate()
    assert agent.wait(20) == 0
    clear()


def clear() -> None:
    """Remove what an agent leaves."""
    for name in ("agent", "agent.lock", "agent.leases"):
        Path("/run/gridwarden", name).unlink(missing_ok=True)
