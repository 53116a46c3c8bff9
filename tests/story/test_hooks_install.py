"""Taking gridwarden out of a Slurm that runs, and putting it in again as drop-ins, without a node drained on the way."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import chain, register
from tests.site import agent as site_agent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

CONF, HOOKS, LUA = Path("/etc/slurm/slurm.conf"), Path("/usr/libexec/gridwarden"), Path("/etc/slurm/job_submit.lua")
DROP_INS = [Path("/etc/slurm/prolog.d"), Path("/etc/slurm/epilog.d")]
GLEXEC = "--glexec /usr/sbin/glexec"


def run(command: str, code: int = 0) -> str:
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, check=False)
    assert done.returncode == code, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.fixture(autouse=True)
def _as_it_was(slurm: ModuleType) -> Iterator[None]:
    conf = CONF.read_text()
    yield
    CONF.write_text(conf)
    run(f"rm -rf {' '.join(map(str, DROP_INS))}; gridwarden hooks install {GLEXEC}; scontrol reconfigure")
    slurm.until("the nodes to be idle", lambda: run("sinfo --noheader --format=%T").split() == ["idle"])


def test_a_site_can_take_gridwarden_out_and_put_it_in_as_drop_ins(slurm: ModuleType, people: SimpleNamespace) -> None:
    account = run(f"gridwarden map --proxy {people.anna.proxy}").split()[0]
    said = run(f"gridwarden hooks uninstall {GLEXEC}", 78)
    assert f"Prolog={HOOKS}/slurm-prolog" in said and "JobSubmitPlugins=lua" in said and str(CONF) in said
    assert (HOOKS / "slurm-prolog").exists()

    run(
        f"sed -i -E '/^(Prolog|Epilog|PrologFlags|PrologEpilogTimeout|BatchStartTimeout|JobSubmitPlugins)=/d' {CONF}; scontrol reconfigure"
    )
    slurm.until("Slurm to name none", lambda: "gridwarden" not in run("scontrol show config"))
    agent = site_agent.start()
    try:
        said = run(f"gridwarden hooks uninstall {GLEXEC}", 78)
        assert f"kill {agent.pid}" in said
        assert Path(site_agent.PROGRAM).exists()
    finally:
        site_agent.end(agent)
    run(f"gridwarden hooks uninstall {GLEXEC}")
    assert not [
        path for path in (HOOKS, LUA, Path("/usr/bin/gridwarden-exec"), Path("/usr/sbin/glexec")) if path.exists()
    ]
    job = slurm.submit(account, "true")
    assert slurm.wait(job)["job_state"] == ["COMPLETED"]
    assert "DRAIN" not in slurm.node_state()

    own = Path("/var/tmp/own-prolog-ran")
    for place in DROP_INS:
        place.mkdir()
    (DROP_INS[0] / "10-site").write_text(f"#!/bin/sh\ntouch {own}\n")
    (DROP_INS[0] / "10-site").chmod(0o755)
    said = run(f"gridwarden hooks install --drop-in /etc/slurm {GLEXEC}")
    with CONF.open("a") as conf:
        conf.write(said.partition("slurm.conf needs:\n")[2])
    run("scontrol reconfigure")
    slurm.until("the doctor to be content", lambda: "nothing is amiss" in run("gridwarden doctor || true"))
    job = slurm.submit(account, "true")
    slurm.wait(job)
    slurm.until("the epilog", lambda: not register.names_of("/run/gridwarden/jobs", account))
    bodies = [line.body for line in chain.read("/var/lib/gridwarden/ledger") if line.body.get("job") == str(job)]
    assert (bodies[0]["kind"], bodies[-1]["kind"]) == ("job_start", "job_end")
    assert bodies[0]["stamp"] == bodies[0]["lease"], "the plug-in was loaded by the reconfiguration"
    assert own.exists()
    own.unlink()
