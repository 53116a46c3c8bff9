"""Memory that runs out: the kernel kills the payload, and not who is to put its end on record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden.hooks.pilot import privileges
from tests.payload import python, start, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

MEMORY = Path("/sys/fs/cgroup/memory")
FIRST_TO_BE_KILLED = "open('/proc/self/oom_score_adj', 'w').write('1000')"
LIMIT = 120_000_000


def spared() -> int:
    """The score of who is to outlive all others; without CAP_SYS_RESOURCE, as in some containers, nobody gets below 0."""
    return -1000 if int(privileges.status()["CapEff"], 16) >> 24 & 1 else 0


def score(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.fixture
def job() -> Iterator[Path]:
    """The memory that a batch system leaves a job: a control group with a limit."""
    path = MEMORY / f"gridwarden-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError:
        pytest.skip("no control group of version 1 can be made here that limits memory")
    (path / "memory.limit_in_bytes").write_text(str(LIMIT))
    yield path
    wait_until(lambda: not (path / "cgroup.procs").read_text(), "somebody is left in the job")
    path.rmdir()


def test_a_pilot_cannot_have_launcher_and_guard_killed_before_its_payload(tmp_path: Path) -> None:
    chain = start(tmp_path, *python("tell('runs'); time.sleep(600)"), before=FIRST_TO_BE_KILLED).begun()
    chain.told_by_payload("runs")
    assert (score(chain.pilot), score(chain.launcher), score(chain.guard)) == (1000, spared(), spared())
    assert score(chain.payload) == 1000, "what the pilot chose for itself is its payload's"
    os.kill(chain.payload, 9)
    chain.ended()


def test_a_payload_cannot_choose_to_be_killed_later_than_its_pilot(tmp_path: Path) -> None:
    lower = "try: open('/proc/self/oom_score_adj', 'wb', 0).write(b'-1')\nexcept OSError: tell('refused')"
    start(tmp_path, *python(lower)).told_by_payload("refused")


def test_of_a_job_without_memory_the_payload_is_killed_and_its_end_is_told(tmp_path: Path, job: Path) -> None:
    """A family whose processes are each smaller than the launcher: by size alone that would be killed first."""
    members = "for _ in range(60):\n  if os.fork() == 0: held = os.urandom(3_000_000); time.sleep(600)\n"
    end = "os.wait(); os.kill(os.getpid(), 9)\n"  # if it is not killed first itself
    enter = f"open({str(job / 'cgroup.procs')!r}, 'w').write('0'); "
    chain = start(tmp_path, *python(members + end), before=enter + FIRST_TO_BE_KILLED).begun()
    ended = chain.ended()
    assert (ended["status"], ended["because"], ended["left"]) == (9, "", 0)
    assert chain.everybody() == []


def test_a_payload_that_takes_all_memory_ends_by_signal_9_and_leaves_nothing(tmp_path: Path, job: Path) -> None:
    enter = f"open({str(job / 'cgroup.procs')!r}, 'w').write('0'); "
    greedy = "os.fork() or time.sleep(600)\nheld = b'x' * 400_000_000\n"
    ended = start(tmp_path, *python(greedy), before=enter + FIRST_TO_BE_KILLED).ended()
    assert ended["status"] == 9
    assert ended["because"] == ""
    assert ended["left"] == 0
