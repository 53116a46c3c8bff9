"""Each thing that the doctor names is broken on the running site: it says so, its own command mends it, and it is content."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import agent_client, register
from tests.site import agent as site_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType, SimpleNamespace

NODE, OFF, HOOKS, CONF = (
    "/etc/gridwarden/node",
    "/etc/gridwarden/off",
    "/usr/libexec/gridwarden",
    "/etc/slurm/slurm.conf",
)
LEDGER, GRIDMAPDIR = "/var/lib/gridwarden/ledger", "/etc/grid-security/gridmapdir"
LIBRARY = rf"""$(sed -n "s/^ *sys.path.append('\(.*\)')$/\1/p" {HOOKS}/slurm-prolog)/gridwarden/hooks"""
SECONDS = 60.0  # for Slurm to be as it was told
AGENT = "/run/gridwarden/agent"
REGISTER = "/run/gridwarden/jobs"
OVER = r"version\t1\npart\thooks\nbecause\tx\nwho\troot\nsince\t1\nuntil\t2\n"
BROKEN = {
    "switched-off": "gridwarden off prune --because 'a test' --for 2h",
    "switch-ignored": f"mkdir -p {OFF}; echo yes > {OFF}/hooks",
    "switch-over": f"mkdir -p {OFF}; printf '{OVER}' > {OFF}/hooks",
    "node-file": f"rm {NODE}",
    "node-file-old": rf"sed -i 's/^cluster\t.*/cluster\tother/' {NODE}",
    "directory": "chmod 755 /run/gridwarden/locks; rmdir /var/lib/gridwarden/holds",
    "holders-remote": "mount -t proc proc /run/gridwarden/holders",
    "ledger-read-only": f"mount --bind {LEDGER} {LEDGER}; mount -o remount,bind,ro {LEDGER}",
    "ledger-full": f"mount -t tmpfs -o size=64k,mode=700 tmpfs {LEDGER}",
    "library-unsafe": f"chmod o+w {LIBRARY}",
    "account-unknown": f"touch {GRIDMAPDIR}/cms998",
    "account-privileged": f"useradd --no-create-home --uid 733 cms997; touch {GRIDMAPDIR}/cms997",
    "register-unreadable": f"mkdir -p {REGISTER}/cms001; echo torn > {REGISTER}/cms001/slurm.site.n1.9",
    "hook-missing": f"rm {HOOKS}/slurm-prolog",
    "hook-unsafe": f"chown nobody {HOOKS}/slurm-epilog",
    "hook-not-executable": f"chmod 644 {HOOKS}/slurm-epilog",
    "hook-old": "echo '-- mine' >> /etc/slurm/job_submit.lua",
    "hook-not-called": f"sed -i '/^Prolog=/d' {CONF}",
    "prolog-flags": f"sed -i '/^PrologFlags=/d' {CONF}",
    "hook-timeout": f"sed -i 's/^PrologEpilogTimeout=.*/PrologEpilogTimeout=30/' {CONF}",
    "plugin-not-loaded": f"sed -i '/^JobSubmitPlugins/d' {CONF}; scontrol reconfigure",
}
BY_HAND = {"ledger-full": f"umount {LEDGER}"}
"""What a person does once the doctor's command has shown what fills the disk."""

TOGETHER = [
    ["switched-off", "switch-ignored", "node-file-old", "directory", "account-unknown", "register-unreadable"],
    ["node-file"],
    ["switch-over", "holders-remote", "account-privileged", "hook-missing", "hook-unsafe", "hook-old"],
    ["library-unsafe", "ledger-full"],
    ["ledger-read-only", "hook-not-executable", "hook-not-called", "prolog-flags", "hook-timeout", "plugin-not-loaded"],
]
"""All of them in a few goes: each look of the doctor's at a site takes a third of a second."""


def test_every_way_to_break_something_is_tried() -> None:
    assert sorted(kind for kinds in TOGETHER for kind in kinds) == sorted(BROKEN)


def run(command: str, code: int | None = 0) -> str:
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, check=False)
    assert code is None or done.returncode == code, (command, done.stdout, done.stderr)
    return done.stdout


def findings() -> list[dict[str, str]]:
    """What the doctor finds, without what is this machine's own: no time daemon runs here, and no agent unless a test's."""
    rows = json.loads(run("gridwarden doctor --format json", None))
    usual = ("clock-unsynchronised", "agent-silent")
    return [row for row in rows if row["severity"] != "note" or row["kind"] not in usual]


def remedies_of(kind: str) -> list[str]:
    """The commands that the doctor gives for one kind of finding."""
    return list(dict.fromkeys(row["remedy"] for row in findings() if row["kind"] == kind))


def found_of(kinds: list[str]) -> dict[str, list[str]]:
    """The doctor's commands for these kinds; nothing until it names all of them."""
    rows = findings()
    found = {kind: list(dict.fromkeys(row["remedy"] for row in rows if row["kind"] == kind)) for kind in kinds}
    return found if all(found.values()) else {}


@pytest.fixture(scope="module", autouse=True)
def _as_it_was() -> Iterator[None]:
    conf = Path(CONF).read_text()
    yield
    run(f"umount {LEDGER}; umount /run/gridwarden/holders; userdel cms997; rm -rf {OFF} {GRIDMAPDIR}/cms99[78]", None)
    run(f"chmod go-w {LIBRARY}", None)
    Path(CONF).write_text(conf)
    run("gridwarden config install; gridwarden hooks install; scontrol reconfigure")


@pytest.mark.parametrize("kinds", TOGETHER, ids=" ".join)
def test_what_is_broken_is_named_and_the_doctors_own_command_mends_it(kinds: list[str], slurm: ModuleType) -> None:
    for kind in kinds:
        run(BROKEN[kind])
    found = slurm.until("the doctor to see it", lambda: found_of(kinds), SECONDS)
    for kind in kinds:
        for remedy in [*found[kind], *filter(None, [BY_HAND.get(kind)])]:
            run(remedy)
    slurm.until("the doctor to be content", lambda: findings() == [], SECONDS)


def test_jobs_that_hooks_have_not_seen_begin_or_end_are_named(slurm: ModuleType, people: SimpleNamespace) -> None:
    account = run(f"gridwarden map --proxy {people.anna.proxy}").split()[0]
    run("gridwarden off hooks --because 'a test'")
    job = slurm.submit(account, "sleep 300")
    slurm.wait(job, {"RUNNING"})
    run("gridwarden on hooks")
    (remedy,) = slurm.until("the doctor to see the job", lambda: remedies_of("job-unregistered"))
    run(remedy)
    slurm.wait(job, {"PENDING"})  # and Slurm starts it again in two minutes, through the prolog
    slurm.until("the doctor to be content", lambda: findings() == [], SECONDS)
    slurm.cancel(job)
    job = slurm.submit(account, "sleep 300")
    slurm.until("the job to be registered", lambda: register.names_of(REGISTER, account))
    run("gridwarden off hooks --because 'a test'")
    slurm.cancel(job)
    slurm.wait(job)
    run(f"rm {OFF}/hooks")
    (remedy,) = slurm.until("the doctor to see it", lambda: remedies_of("register-stale"), SECONDS)
    run(remedy)
    slurm.until("the doctor to be content", lambda: findings() == [], SECONDS)


def test_an_agent_that_was_killed_is_named_and_started_again(slurm: ModuleType) -> None:
    agent = f"{HOOKS}/agent"
    run(agent)
    slurm.until("the agent to answer", lambda: agent_client.status(AGENT))
    assert findings() == []
    run(f"pkill -KILL -f {agent}")
    (remedy,) = slurm.until("the doctor to see it", lambda: remedies_of("agent-silent"), SECONDS)
    run(remedy)
    slurm.until("the agent to answer", lambda: agent_client.status(AGENT))
    assert findings() == []
    run(f"pkill -f {agent}", None)
    slurm.until("the agent to end", lambda: agent_client.status(AGENT) is None)
    Path(AGENT).unlink(missing_ok=True)


def test_an_agent_that_cannot_write_is_named_and_writes_again_once_it_can(slurm: ModuleType) -> None:
    agent = site_agent.start()
    try:
        run(BROKEN["ledger-read-only"])
        agent_client.tell(AGENT, "note", {"text": "a test"})
        found = slurm.until("the doctor to see it", lambda: found_of(["ledger-read-only", "agent-ledger"]), SECONDS)
        for remedies in found.values():
            for remedy in remedies:
                run(remedy)
        slurm.until("the doctor to be content", lambda: findings() == [], SECONDS)
        assert "a test" in Path(LEDGER, "current.jsonl").read_text(), "it was kept meanwhile"
    finally:
        site_agent.end(agent)
        run(f"umount {LEDGER}", None)


def test_a_monitoring_system_gets_one_line_and_its_codes() -> None:
    assert run("gridwarden doctor --nagios").startswith("GRIDWARDEN OK - nothing is amiss")
    run("gridwarden off prune --because 'a | test'")
    line = run("gridwarden doctor --nagios", 1)
    assert line.startswith("GRIDWARDEN WARNING - switched-off: prune is off since")
    assert "a / test | critical=0 warning=1" in line
    run(f"gridwarden on prune; rm {NODE}")
    assert run("gridwarden doctor --nagios", 2).startswith("GRIDWARDEN CRITICAL - node-file")
    run("gridwarden config install")
    assert run("gridwarden --config /nowhere doctor --nagios", 3).startswith("GRIDWARDEN UNKNOWN - ")


def test_a_controller_that_does_not_answer_is_named_and_nobody_is_sent_away_content(
    tmp_path: Path, settings: Callable[..., None]
) -> None:
    (tmp_path / "scontrol").symlink_to("/bin/false")
    settings(slurm={"programs": str(tmp_path)})
    found = json.loads(run("gridwarden doctor --format json", 1))
    assert "slurm-silent" in {row["kind"] for row in found}
