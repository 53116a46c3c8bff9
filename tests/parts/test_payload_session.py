"""A payload runs as its owner, keeps what the batch system needs, and leaves nothing behind, whoever is killed when."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from gridwarden import proc
from tests.parts.test_kill import SHAPES
from tests.payload import GID, GROUPS, UID, Chain, is_gone, python, start, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

ROLES = ["pilot", "sudo", "launcher", "guard"]
WITHIN = 60.0  # grace, two looks and a kill, on a machine that is busy
RUNAWAYS = """
AWAY = {"away0", "away1", "away2"}
def run_away(depth):
    for n in range(depth):
        if os.fork():
            os._exit(0)
        os.setsid()
[os.fork() or (run_away(3), signal.signal(signal.SIGTERM, signal.SIG_IGN), tell(f"away{n}", os.getpid()), time.sleep(600))
 for n in range(3)]
"""


def runaways(chain: Chain) -> list[int]:
    return [int(chain.told_by_payload(f"away{number}")) for number in range(3)]


def states_of_threads(pid: int) -> set[str]:
    return {path.read_text().rpartition(") ")[2][0] for path in Path(f"/proc/{pid}/task").glob("*/stat")}


def test_a_payload_is_its_owner_with_no_right_beyond(tmp_path: Path) -> None:
    chain = start(
        tmp_path, "/bin/grep", "-E", "^(Uid|Gid|Groups|Umask|NoNewPrivs|Cap|SigBlk|SigIgn)", "/proc/self/status"
    )
    assert chain.ended()["status"] == 0
    said = dict(line.split(":", 1) for line in chain.output().splitlines()[:-1])
    assert said["Uid"].split() == [str(UID)] * 4
    assert said["Gid"].split() == [str(GID)] * 4
    assert set(said["Groups"].split()) == {str(group) for group in GROUPS}
    assert {said[name].strip() for name in said if name.startswith("Cap")} == {"0" * 16}
    assert (said["NoNewPrivs"].strip(), said["Umask"].strip()) == ("1", "0077")
    assert int(said["SigBlk"], 16) == 0
    ours = [number for number in range(1, 32) if int(said["SigIgn"], 16) >> (number - 1) & 1]
    assert ours == [], "a program that Python starts so dies of no broken pipe"


def test_a_payload_has_no_descriptor_and_no_variable_but_its_own(tmp_path: Path) -> None:
    code = 'print(sorted(os.listdir("/proc/self/fd")), open("/proc/self/environ").read(), os.getcwd())'
    before = "os.dup2(os.open('/etc/passwd', os.O_RDONLY), 77)"
    said = start(tmp_path, *python(code), before=before).output().splitlines()[0]
    assert said == f"['0', '1', '2', '3'] OWN=1\0 {tmp_path}/work"


def test_a_payload_cannot_become_anybody_else_again(tmp_path: Path) -> None:
    code = """
for name, attempt in {
    "setuid": lambda: os.setuid(0), "setresuid": lambda: os.setresuid(-1, 0, -1), "setgroups": lambda: os.setgroups([0]),
    "setgid": lambda: os.setgid(0), "chroot": lambda: os.chroot("/"),
    "shadow": lambda: os.open("/etc/shadow", os.O_RDONLY),
}.items():
    try:
        attempt()
        print("could", name)
    except PermissionError:
        pass
print(subprocess.run(["/bin/su", "-c", "id"], stdin=subprocess.DEVNULL, capture_output=True).returncode != 0)
"""
    assert start(tmp_path, *python(code)).output().splitlines()[0] == "True"


def test_a_payload_can_neither_signal_nor_trace_nor_read_those_above_it(tmp_path: Path) -> None:
    code = """
above, pid = [], os.getppid()
while pid > 1:
    above.append(pid)
    pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
def can(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True
for pid in above:
    for number in (0, 9, 15, 19):  # SIGCONT may be sent within a session
        assert not can(lambda: os.kill(pid, number)), (pid, number)
    assert libc.ptrace(16, pid, 0, 0) == -1 and libc.ptrace(0x4206, pid, 0, 0) == -1
    for file in ("mem", "environ", "fd/1", "cwd/x", "root/etc/shadow", "oom_score_adj"):
        assert not can(lambda: open(f"/proc/{pid}/{file}", "rb+")), file
    assert not can(lambda: os.listdir(f"/proc/{pid}/fd"))
try:
    os.killpg(0, 9)
finally:
    print("not reached")
"""
    chain = start(tmp_path, *python(code))
    assert chain.ended()["status"] == signal.SIGKILL
    assert chain.output().startswith("0 "), "the payload could signal another than itself"


def test_a_payload_stays_in_the_session_and_process_group_of_its_pilot(tmp_path: Path) -> None:
    chain = start(tmp_path, "/bin/sleep", "600").begun()
    assert os.getsid(chain.payload) == os.getsid(chain.pilot)
    assert os.getpgid(chain.payload) == os.getpgid(chain.pilot)
    parents = {name: proc.read(getattr(chain, name)).parent for name in ("payload", "guard", "launcher", "sudo")}
    assert parents == {
        "payload": chain.guard, "guard": chain.launcher, "launcher": chain.sudo, "sudo": chain.pilot,
    }  # fmt: skip
    os.kill(chain.payload, signal.SIGKILL)
    assert chain.ended()["status"] == signal.SIGKILL


@pytest.mark.parametrize("control_group", [False, True])
def test_whom_a_payload_leaves_behind_is_gone_when_it_ends(tmp_path: Path, *, control_group: bool) -> None:
    chain = start(tmp_path, *python(RUNAWAYS + "while not AWAY <= {*os.listdir()}: time.sleep(0.01)\nos._exit(7)"), control_group=control_group)  # fmt: skip
    ended = chain.ended()
    assert (ended["status"], ended["because"], ended["left"]) == (7 << 8, "", 0)
    assert all(map(is_gone, runaways(chain)))
    assert chain.everybody() == []


@pytest.mark.parametrize("control_group", [False, True])
@pytest.mark.parametrize("role", ROLES)
def test_whoever_of_the_chain_is_killed_takes_the_payload_with_it(
    tmp_path: Path, role: str, *, control_group: bool
) -> None:
    chain = start(tmp_path, *python(RUNAWAYS + "time.sleep(600)"), control_group=control_group).begun()
    away = runaways(chain)
    os.kill(getattr(chain, role), signal.SIGKILL)
    wait_until(lambda: not chain.everybody(), f"{role} was killed, and somebody lives on", WITHIN)
    assert all(map(is_gone, [*away, chain.payload]))
    wait_until(lambda: is_gone(chain.guard) and is_gone(chain.launcher), "launcher or guard stays")
    if role != "launcher":
        assert chain.ended()["because"] == {
            "pilot": "the pilot has gone", "sudo": "sudo has gone", "guard": "its guard was killed",
        }[role]  # fmt: skip
    if chain.group and role == "launcher":  # its figures are for whoever clears up after the launcher
        Path(chain.group, "cpu.stat").stat()
        wait_until(lambda: "populated 0" in Path(chain.group, "cgroup.events").read_text(), "somebody is in it")
        Path(chain.group).rmdir()
    assert not chain.group or not Path(chain.group).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM])
def test_a_signal_that_sudo_passes_on_ends_even_a_payload_that_will_not(tmp_path: Path, number: int) -> None:
    code = (
        f"signal.signal({number}, lambda *_: tell(f'asked{{os.getpid()}}'))\n" + RUNAWAYS + "while True: time.sleep(1)"
    )
    chain = start(tmp_path, *python(code), grace_seconds=1.0).begun()  # for the handler, where a CPU is slow to come
    away = runaways(chain)
    os.kill(chain.launcher, number)
    chain.told_by_payload(f"asked{chain.payload}")
    ended = chain.ended()
    assert (ended["status"], ended["because"]) == (signal.SIGKILL, f"ended by {signal.Signals(number).name}")
    assert all(map(is_gone, away))


def test_a_payload_that_ends_when_asked_to_is_believed(tmp_path: Path) -> None:
    code = "signal.signal(15, lambda *_: os._exit(33))\ntell('there', 1)\nwhile True: time.sleep(1)"
    chain = start(tmp_path, *python(code), grace_seconds=30.0).begun()
    chain.told_by_payload("there")
    os.kill(chain.launcher, signal.SIGTERM)
    assert chain.ended()["status"] == 33 << 8


def test_other_signals_reach_the_payload_and_change_nothing_else(tmp_path: Path) -> None:
    code = """
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGXCPU):
    signal.signal(number, lambda number, _: tell(number, 1))
tell("there", 1)
while len(os.listdir()) < 5: time.sleep(0.1)
os._exit(5)
"""
    chain = start(tmp_path, *python(code)).begun()
    chain.told_by_payload("there")
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGXCPU):
        os.kill(chain.launcher, number)
    ended = chain.ended()
    assert (ended["status"], ended["because"]) == (5 << 8, "")


@pytest.mark.parametrize("role", ["pilot", "sudo", "launcher"])
def test_a_stop_of_anybody_above_reaches_everybody_below_and_so_does_the_going_on(tmp_path: Path, role: str) -> None:
    chain = start(tmp_path, *python(RUNAWAYS + "time.sleep(600)")).begun()
    everybody = [*runaways(chain), chain.payload]
    own_stop = everybody[0]
    os.kill(own_stop, signal.SIGSTOP)
    wait_until(lambda: proc.read(own_stop).state == "T", "it runs on")
    states = lambda: [proc.read(pid).state for pid in everybody]  # noqa: E731
    os.kill(getattr(chain, role), signal.SIGSTOP)
    wait_until(lambda: set(states()) == {"T"}, "somebody runs on")
    time.sleep(0.3)
    assert set(states()) == {"T"}
    os.kill(getattr(chain, role), signal.SIGCONT)
    wait_until(lambda: states() == ["T", "S", "S", "S"], "somebody stands still, or goes on that stood before")
    os.kill(chain.launcher, signal.SIGTERM)
    assert chain.ended()["because"] == "ended by SIGTERM"


def test_a_stop_of_the_pilots_process_group_reaches_those_who_have_left_it(tmp_path: Path) -> None:
    chain = start(tmp_path, *python(RUNAWAYS + "time.sleep(600)")).begun()
    everybody = [*runaways(chain), chain.payload]
    for number, state in ((signal.SIGSTOP, "T"), (signal.SIGCONT, "S")):
        os.killpg(os.getpgid(chain.pilot), number)
        wait_until(lambda: {proc.read(pid).state for pid in everybody} == {state}, f"not all are {state}")  # noqa: B023
    os.killpg(os.getpgid(chain.pilot), signal.SIGKILL)
    wait_until(lambda: not chain.everybody() and is_gone(chain.guard), "somebody stays")


def test_a_stop_that_sudo_passes_on_lasts_until_it_passes_on_the_going_on(tmp_path: Path) -> None:
    chain = start(tmp_path, *python(RUNAWAYS + "time.sleep(600)")).begun()
    everybody = [*runaways(chain), chain.payload]
    for number, state in ((signal.SIGTSTP, "T"), (signal.SIGCONT, "S"), (signal.SIGTSTP, "T")):
        os.kill(chain.launcher, number)
        wait_until(lambda: {proc.read(pid).state for pid in everybody} == {state}, f"not all are {state}")  # noqa: B023
    os.kill(chain.sudo, signal.SIGKILL)
    assert chain.ended()["because"] == "sudo has gone"
    assert all(map(is_gone, everybody))


def test_strays_of_every_shape_stop_with_their_pilot_and_die_with_their_payload(tmp_path: Path) -> None:
    shapes = [code for code in SHAPES.values() if "os.setresuid(" not in code]
    code = f"""
import threading
def become(): pass
def stay():
    os.write(told, b"%d\\n" % os.getpid())
    time.sleep(600)
for number, shape in enumerate({shapes!r}):
    reading, told = os.pipe()
    if os.fork() == 0:
        os.dup2(told, 1)
        exec(shape)
    os.close(told)
    tell(f"stray{{number}}", os.read(reading, 100).decode())
time.sleep(600)
"""
    chain = start(tmp_path, *python(code)).begun()
    strays = [int(chain.told_by_payload(f"stray{number}").split()[-1]) for number in range(len(shapes))]
    os.kill(chain.pilot, signal.SIGSTOP)
    standing = set("TtZD")  # D: until what it vforked goes on, too
    wait_until(lambda: all(states_of_threads(one.pid) <= standing for one in chain.everybody()), "somebody runs on")
    os.kill(chain.pilot, signal.SIGKILL)
    assert chain.ended()["left"] == 0
    assert all(map(is_gone, strays))


def test_stopped_processes_die_with_their_payload(tmp_path: Path) -> None:
    code = (
        RUNAWAYS
        + "while not AWAY <= {*os.listdir()}: time.sleep(0.01)\n[os.kill(int(open(f'away{n}').read()), 19) for n in range(3)]"
    )
    chain = start(tmp_path, *python(code))
    assert chain.ended()["left"] == 0
    assert all(map(is_gone, runaways(chain)))
