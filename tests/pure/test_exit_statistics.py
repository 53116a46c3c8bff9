"""Exit statistics: every version's fields where they are, threads into their process, jobs by control groups that users cannot make."""

from __future__ import annotations

import random
import struct

import pytest

from gridwarden.hooks.agent import exit_netlink
from gridwarden.hooks.agent.exit_jobs import of_groups
from gridwarden.hooks.agent.exit_statistics import Groups, why_not

SECOND = 1_000_000
ENDED = 1_795_000_100


def statistics(version: int = 16, **changed: int | bytes) -> bytes:
    """A ``struct taskstats`` as a kernel of that version makes it."""
    values = {
        "status": 256, "flags": 0x20, "cpu": 5_250_253, "command": b"work", "uid": 61000, "gid": 100, "pid": 77, "parent": 70,
        "elapsed": 3 * SECOND + 5, "user": 4000, "system": 0, "group": 77, "lived": 3 * SECOND + 5,
    } | changed  # fmt: skip
    data = bytearray(328 if version < 9 else 552)
    begun = ENDED - int(values["elapsed"]) // SECOND
    for offset, kind, value in (
        (0, "H", version), (4, "I", values["status"]), (8, "B", values["flags"]), (72, "Q", values["cpu"]),
        (80, "32s", values["command"]), (120, "I", values["uid"]), (124, "I", values["gid"]), (128, "I", values["pid"]),
        (132, "I", values["parent"]), (136, "I", begun), (144, "Q", values["elapsed"]), (152, "Q", values["user"]),
        (160, "Q", values["system"]),
    ):  # fmt: skip
        struct.pack_into(f"={kind}", data, offset, value)
    if version >= 12:
        for offset, kind, value in ((344, "Q", begun), (368, "I", values["group"]), (376, "Q", values["lived"])):
            struct.pack_into(f"={kind}", data, offset, value)
    return bytes(data)


@pytest.mark.parametrize("version", [8, 10, 12, 14, 16])
def test_a_process_of_one_thread_is_read_from_every_version(version):
    process = Groups().add(statistics(version), 0, -1, ENDED * SECOND + 400_000)
    assert process is not None
    assert (process.pid, process.parent, process.uid, process.gid, process.status) == (77, 70, 61000, 100, 256)
    assert (process.cpu, process.user, process.threads, process.command) == (5_250_253, 4000, 1, b"work")
    assert process.end == ENDED * SECOND + 400_000
    assert process.start == process.end - 3 * SECOND - 5


def test_a_message_that_waited_does_not_make_a_process_live_longer():
    process = Groups().add(statistics(), 0, -1, (ENDED + 50) * SECOND)
    assert process is not None
    assert process.end == ENDED * SECOND + 999_999


def test_threads_become_their_process_when_the_last_one_has_ended():
    groups = Groups()
    assert groups.add(statistics(pid=77, flags=0, command=b"main", user=1, system=2), 0, -1, 0) is None
    assert groups.add(statistics(pid=78, group=77, flags=0, command=b"helper", user=10, system=20), 0, -1, 0) is None
    last = statistics(pid=79, group=77, flags=0x20, command=b"helper", user=100, system=200)
    process = groups.add(last + statistics(cpu=999), 0, len(last), 0)
    assert process is not None
    assert (process.pid, process.threads, process.command, process.cpu) == (77, 3, b"main", 999)
    assert (process.user, process.system) == (111, 222)
    again = groups.add(statistics(), 0, -1, 0)
    assert again is not None
    assert again.threads == 1


def test_versions_whose_fields_stand_elsewhere_are_refused():
    assert why_not(statistics(16), 0) == why_not(statistics(8), 0) == ""
    assert "6.14" in why_not(statistics(15), 0)
    assert "older" in why_not(statistics(7), 0)


def test_no_message_of_chance_stops_the_listener():
    listener = exit_netlink.Listener.__new__(exit_netlink.Listener)
    listener._family = 27
    chance = random.Random(1)
    for _ in range(2000):
        noise = chance.randbytes(chance.randrange(80))
        message = (
            struct.pack("=IHHII", chance.choice((16 + len(noise), 0, 1 << 31)), chance.choice((27, 2)), 0, 0, 0) + noise
        )
        thread, group = listener.statistics(message)
        assert -1 <= thread <= len(message)
        assert -1 <= group <= len(message)


@pytest.mark.parametrize(
    ("groups", "job"),
    [
        (b"0::/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0\n", ("slurm", "7")),
        (b"0::/system.slice/n1_slurmstepd.scope/job_7/step_0\n", ("slurm", "7")),
        (b"9:memory:/\n4:freezer:/slurm_n1/uid_61000/job_12/step_batch\n", ("slurm", "12")),
        (b"0::/system.slice/slurmstepd.scope/job_7/step_0/gridwarden-payload-abc/x\n", ("payload", "abc")),
        (b"0::/user.slice/user-61000.slice/job_7\n", None),
        (b"0::/system.slice/slurmstepd.scope/job_x\n", None),
        (b"0::/user.slice/gridwarden-payload-abc\n", None),
        (b"", None),
        (b"\xff\xfe:\n::\n", None),
    ],
)
def test_a_job_is_known_by_the_groups_that_slurm_makes_and_by_no_users(groups, job):
    assert of_groups(groups) == job
