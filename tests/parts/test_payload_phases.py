"""Whoever is killed or asked to end, in whichever phase of a launch: nothing runs that should not, and nobody stays."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from gridwarden import proc
from tests.payload import SERVICES, Chain, is_gone, python, service, start, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

ROLES = ["pilot", "sudo", "launcher", "guard"]
SLOW = 60.0  # unless the test has it go on before
RAN = python("tell('ran')")


def start_in_module(directory: Path, kind: str) -> tuple[Chain, dict[str, int]]:
    """A chain whose guard stays in a module of PAM's, and the pids of its processes."""
    directory.chmod(0o755)
    module = directory / "module"
    phase = directory / "phase"
    module.write_text(
        f'#!/bin/sh\n[ "$PAM_TYPE" = {kind} ] || exit 0\necho $PPID >{phase}.new; mv {phase}.new {phase}; exec sleep 600\n'
    )
    module.chmod(0o755)
    chain = start(directory, *RAN, services=service(f"session required pam_exec.so quiet {module}\n"))
    return chain, chain_of(chain, int(chain.told("phase")))


def chain_of(chain: Chain, guard: int) -> dict[str, int]:
    launcher = proc.read(guard).parent
    return {"guard": guard, "launcher": launcher, "sudo": proc.read(launcher).parent, "pilot": chain.pilot}


@pytest.mark.parametrize("role", ROLES)
def test_nobody_stays_and_nothing_has_run_when_one_is_killed_while_the_session_opens(tmp_path: Path, role: str) -> None:
    chain, pids = start_in_module(tmp_path, "open_session")
    os.kill(pids[role], signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, pids.values())) or role == "pilot", "one of the chain stays")
    wait_until(lambda: is_gone(pids["guard"]) and is_gone(pids["launcher"]), "launcher or guard stays")
    assert chain.everybody() == []
    assert not (tmp_path / "work/ran").exists()


@pytest.mark.parametrize("role", ["launcher", "guard"])
def test_nobody_stays_and_nothing_has_run_when_one_is_killed_before_it_is_known_who_the_payload_is_for(
    tmp_path: Path, role: str
) -> None:
    chain = start(tmp_path, *RAN, prepares=SLOW)
    guard, launcher = json.loads(chain.told("prepared"))
    os.kill({"launcher": launcher, "guard": guard}[role], signal.SIGKILL)
    wait_until(lambda: is_gone({"launcher": launcher, "guard": guard}[role]), f"the {role} stays")
    chain.go_on()
    wait_until(lambda: is_gone(guard) and is_gone(launcher), "launcher or guard stays")
    assert chain.everybody() == []
    assert not (tmp_path / "work/ran").exists()
    if role == "guard":
        assert chain.ended()["error"] == "Unavailable"


def test_the_guard_of_a_refused_launch_has_opened_nothing_and_is_gone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    opened = tmp_path / "opened"
    rules = f"session required pam_exec.so quiet /bin/touch {opened}\n"
    chain = start(tmp_path, *RAN, services=service(rules), prepares=SLOW, abandoned=True)
    guard, _ = json.loads(chain.told("prepared"))
    chain.go_on()
    assert chain.ended()["text"] == "refused"
    assert is_gone(guard) and not opened.exists()


@pytest.mark.parametrize("role", ROLES)
def test_nobody_stays_and_nothing_has_run_when_one_is_killed_while_the_payload_is_held(
    tmp_path: Path, role: str
) -> None:
    chain = start(tmp_path, *RAN, slow=SLOW)
    payload = json.loads(chain.told("held"))[0]
    pids = chain_of(chain, proc.read(payload).parent)
    assert os.readlink(f"/proc/{payload}/exe") == os.readlink(f"/proc/{pids['guard']}/exe"), "it has executed something"
    os.kill(pids[role], signal.SIGKILL)
    first = pids["guard"] if role == "guard" else payload  # which its guard ends; without one, it is the launcher's
    wait_until(lambda: is_gone(first), "it stays")
    chain.go_on()
    wait_until(lambda: is_gone(payload), "the payload stays, held")
    wait_until(lambda: is_gone(pids["guard"]) and is_gone(pids["launcher"]), "launcher or guard stays")
    assert not (tmp_path / "work/ran").exists()


@pytest.mark.parametrize("role", ["pilot", "sudo", "guard"])
def test_the_end_is_known_when_one_is_killed_while_the_session_closes(tmp_path: Path, role: str) -> None:
    chain, pids = start_in_module(tmp_path, "close_session")
    assert chain.everybody() == []
    os.kill(pids[role], signal.SIGKILL)
    if role != "guard":  # it would be given half a minute
        os.kill(pids["guard"], signal.SIGKILL)
    ended = chain.ended()
    assert (ended["status"], ended["because"]) == (0, "")
    wait_until(lambda: is_gone(pids["launcher"]), "the launcher stays")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_payload_that_is_asked_to_end_while_its_session_opens_does_not_begin(tmp_path: Path, number: int) -> None:
    chain, pids = start_in_module(tmp_path, "open_session")
    os.kill(pids["launcher"], number)
    ended = chain.ended()
    assert ended["error"] == "Unavailable"
    assert ended["text"].startswith(signal.Signals(number).name)
    assert not (tmp_path / "work/ran").exists()
    wait_until(lambda: is_gone(pids["guard"]), "the guard stays")


def test_a_payload_that_is_asked_to_end_while_it_is_held_ends_and_that_is_known(tmp_path: Path) -> None:
    chain = start(tmp_path, "/bin/sleep", "600", slow=SLOW)
    payload = json.loads(chain.told("held"))[0]
    os.kill(proc.read(proc.read(payload).parent).parent, signal.SIGTERM)
    chain.go_on()
    ended = chain.ended()
    assert (ended["status"], ended["because"]) == (signal.SIGTERM, "ended by SIGTERM")


def test_a_payload_whose_start_cannot_be_recorded_never_runs(tmp_path: Path) -> None:
    chain = start(tmp_path, *RAN, refused=True)
    assert chain.ended()["text"] == "no evidence"
    assert not (tmp_path / "work/ran").exists()
    assert chain.output().startswith("77 ")
    assert chain.everybody() == []


def test_a_payload_ends_with_launcher_and_guard_when_both_are_killed_at_once(tmp_path: Path) -> None:
    chain = start(tmp_path, "/bin/sleep", "600", services=SERVICES).begun()
    for pid in (chain.guard, chain.launcher):
        os.kill(pid, signal.SIGSTOP)
    for pid in (chain.guard, chain.launcher):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(chain.payload), "the payload stays")
