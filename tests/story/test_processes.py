"""On the running site: a process of a job that is long gone leads to the person, by the kernel's own accounting of it."""

from __future__ import annotations

import ctypes
import json
import pwd
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from gridwarden.mapper.site import SiteValues
    from tests.site.credentials import Grid


@pytest.fixture
def pacct() -> Iterator[Path]:
    """The site's kernel writes process accounting: that of its pid namespace, until the test's end."""
    path = Path("/run/gridwarden-test-pacct")
    path.touch(0o600)
    acct = ctypes.CDLL(None, use_errno=True).acct
    assert acct(str(path).encode()) == 0, ctypes.get_errno()
    yield path
    assert acct(None) == 0
    path.unlink()


def test_a_pid_of_a_finished_job_is_its_persons_with_parents_and_children(
    slurm: ModuleType, site: SiteValues, grid: Grid, pacct: Path
) -> None:
    person = grid.newcomer("processes", "atlas")  # of whose account no other story's job can be it
    script = "#!/bin/bash\ncd ~\nbash -c 'echo $$ > parent; sh -c \"echo \\$\\$ > child; exit 3\"; sleep 0.1'\n"
    command = ["gridwarden", "submit", "slurm", "--proxy", str(person.proxy)]
    job = int(subprocess.run(command, input=script, capture_output=True, text=True, check=True).stdout)
    slurm.wait(job)
    slurm.accounted(job)
    home = Path(pwd.getpwnam(slurm.job(job)["user_name"]).pw_dir)
    parent, child = (int((home / name).read_text()) for name in ("parent", "child"))

    subprocess.run(["gridwarden", "collect"], check=True, capture_output=True)
    said = subprocess.run(["gridwarden", "collect", str(pacct)], check=True, capture_output=True, text=True).stdout
    assert "records = " in said
    assert "+ 0 quarantined" in said

    words = ["whoran", f"{parent}@-10m..now", "--children", "--format", "json"]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    by_pid = {answer["pid"]: answer for answer in found}
    assert {parent, child} <= by_pid.keys()
    for pid in (parent, child):
        answer = by_pid[pid]
        assert (answer["evidence"], answer["identity"], answer["job"]) == (
            "kernel-measured",
            person.subject,
            str(job),
        )
        assert "slurm_script" in answer["because"]
