"""The CPU time and memory of a payload: told as the kernel counts them, whoever of it used them, and chained to its pilot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.payload import group_of_a_job, is_gone, python, start, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

SECOND = 1_000_000
TICK = 20_000  # microseconds: two ticks of the clock, by which some kernels count
BURN = """
def burn(seconds):
    while time.process_time() < seconds: pass
"""
SHAPES = {
    "itself": "burn(0.6)",
    "itself, until it is killed": "burn(0.6)\nos.kill(os.getpid(), 9)",
    "a child": "burn(0.3)\nos.fork() or (burn(0.3), os._exit(0))\nos.wait()",
    "one that ran away": """
burn(0.3)
if os.fork() == 0:
    os.setsid()
    os.fork() and os._exit(0)
    burn(0.3)
    tell("burnt")
    time.sleep(600)
os.wait()
while not os.path.exists("burnt"): time.sleep(0.01)
""",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_all_cpu_time_is_counted_and_reaches_the_pilot(tmp_path: Path, shape: str) -> None:
    chain = start(tmp_path, *python(BURN + SHAPES[shape]))
    ended = chain.ended()
    used = ended["user"] + ended["system"]
    assert 0.6 * SECOND <= used < 0.9 * SECOND
    by_pilot = float(chain.output().split()[1]) * SECOND
    assert used <= by_pilot + TICK
    assert by_pilot < used + 0.5 * SECOND, "launcher and guard took more than they should"


def test_cpu_time_of_whom_another_process_of_the_account_traces_is_counted(tmp_path: Path) -> None:
    """Its tracer, of another payload, keeps the kernel from telling of its end."""
    traced = "tell('burnt', os.getpid()), time.sleep(600)"
    let = "libc.prctl(0x59616d61, ctypes.c_ulong(-1))\nlibc.prctl(4, 1)\n"  # PR_SET_PTRACER, PR_SET_DUMPABLE
    family = f"if os.fork() == 0:\n  burn(0.6)\n  {traced}\nwhile not os.path.exists('end'): time.sleep(0.01)"
    chain = start(tmp_path, *python(BURN + let + family))
    burnt = chain.told_by_payload("burnt")
    other = tmp_path / "other"
    other.mkdir()
    seize = f"tell('seized', libc.ptrace(0x4206, {burnt}, None, None))"  # PTRACE_SEIZE
    tracer = start(other, *python(seize + "\ntime.sleep(600)")).begun()
    assert tracer.told_by_payload("seized") == "0"
    (chain.directory / "work/end").touch()
    ended = chain.ended()
    assert 0.6 * SECOND <= ended["user"] + ended["system"] < 0.9 * SECOND
    assert ended["left"] == 0, "who has ended and waits for its tracer is nobody that hangs"
    assert not is_gone(tracer.payload), "the end was waited for"
    os.kill(tracer.payload, 9)
    tracer.ended()


def test_memory_is_that_of_the_largest_process(tmp_path: Path) -> None:
    ended = start(tmp_path, *python("if os.fork() == 0: b'x' * 100_000_000; os._exit(0)\nos.wait()")).ended()
    assert 100_000_000 < ended["memory"] < 150_000_000


@pytest.mark.parametrize("role", ["guard", "sudo", "pilot"])
def test_cpu_time_is_counted_of_a_payload_that_is_killed_in_mid_run(tmp_path: Path, role: str) -> None:
    chain = start(tmp_path, *python(BURN + "burn(0.5)\ntell('burnt')\ntime.sleep(600)")).begun()
    chain.told_by_payload("burnt")
    os.kill(getattr(chain, role), 9)
    ended = chain.ended()
    assert 0.5 * SECOND <= ended["user"] + ended["system"] < 0.9 * SECOND


def test_the_control_group_counts_the_same_and_also_what_a_payload_hides(tmp_path: Path) -> None:
    with group_of_a_job():
        for name, first, hidden in (
            ("plain", "", 0),
            ("hiding", "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n", 0.5),
        ):
            directory = tmp_path / name
            directory.mkdir()
            code = (
                BURN + first + "burn(0.3)\nos.fork() or (burn(0.5), os._exit(0))\ntry: os.wait()\nexcept OSError: pass"
            )
            ended = start(directory, *python(code), control_group=True).ended()
            assert ended["measured"] == "wait4+cpu.stat"
            difference = ended["group_cpu"] - ended["user"] - ended["system"]
            assert abs(difference - hidden * SECOND) < 0.1 * SECOND, name


def test_a_payloads_control_group_is_a_child_of_its_jobs_own_and_gone_afterwards(tmp_path: Path) -> None:
    with group_of_a_job() as job:
        before = f"open({job.path + '/cgroup.procs'!r}, 'w').write('0')"
        chain = start(tmp_path, "/bin/sleep", "600", control_group=True, before=before).begun()
        group = Path(chain.group)
        assert group.parent == Path(job.path)
        assert (group / "cgroup.procs").read_text().split() == [str(chain.payload)]
        assert str(chain.guard) in Path(job.path, "cgroup.procs").read_text().split()
        assert (group / "cgroup.subtree_control").read_text().strip() == ""
        os.kill(chain.sudo, 9)
        assert chain.ended()["measured"] == "wait4+cpu.stat"
        assert not group.exists()


def test_what_a_batch_system_kills_by_the_jobs_control_group_is_killed_with_its_payloads(tmp_path: Path) -> None:
    with group_of_a_job() as job:
        before = f"open({job.path + '/cgroup.procs'!r}, 'w').write('0')"
        chain = start(tmp_path, "/bin/sleep", "600", control_group=True, before=before).begun()
        job.kill()
        wait_until(lambda: "populated 0" in Path(job.path, "cgroup.events").read_text(), "somebody is in it")
        assert chain.everybody() == []
