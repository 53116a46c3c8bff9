"""The register and the account locks keep an epilog from killing the job that starts beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gridwarden import register
from gridwarden.errors import ConfigurationError, Unavailable


def entry(job: str, node: str = "n1", account: str = "cms001") -> register.Entry:
    return register.Entry(
        batch="slurm", cluster="site", node=node, job=job, restart=0, account=account, uid=2101,
        lease="ab" * 16, start=1_790_000_000_000_000, boot="b",
    )  # fmt: skip


def test_a_job_is_listed_from_start_to_end_on_each_node_of_the_machine(tmp_path: Path) -> None:
    for one in (entry("1"), entry("2"), entry("1", "n2"), entry("3", account="cms002")):
        register.enter(tmp_path, one)
    register.enter(tmp_path, entry("1"))  # requeued: entered once more
    assert [(one.job, one.node) for one in register.jobs_of(tmp_path, "cms001")] == [
        ("1", "n1"),
        ("2", "n1"),
        ("1", "n2"),
    ]
    left = register.leave(tmp_path, "cms001", register.file_name("slurm", "site", "n1", "1"))
    assert left is not None
    assert (left.uid, left.start, left.lease) == (2101, 1_790_000_000_000_000, "ab" * 16)
    assert register.leave(tmp_path, "cms001", register.file_name("slurm", "site", "n1", "1")) is None
    assert [one.job for one in register.everything(tmp_path)] == ["2", "1", "3"]
    assert register.jobs_of(tmp_path, "nobody") == []


def test_a_job_whose_name_would_leave_the_register_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot name an entry"):
        register.enter(tmp_path, entry("../../etc/passwd"))


def test_an_entry_cut_short_is_not_taken_for_no_job(tmp_path: Path) -> None:
    register.enter(tmp_path, entry("1"))
    path = tmp_path / "cms001" / "slurm.site.n1.1"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ConfigurationError, match="not an entry of the local register"):
        register.jobs_of(tmp_path, "cms001")


def test_two_hooks_never_work_on_one_account_together(tmp_path: Path) -> None:
    code = (
        "import sys; from gridwarden import register\n"
        "with register.AccountLock(sys.argv[1], 'cms001', 5):\n    print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(
            Unavailable, match=rf"cms001: its lock has been held for 0.05 s, by process {other.pid} \(python"
        ),
        register.AccountLock(tmp_path, "cms001", 0.05),
    ):
        pytest.fail("both hold the lock")
    with register.AccountLock(tmp_path, "cms002", 0.05):
        pass  # another account is not held up
    other.stdin.close()
    with register.AccountLock(tmp_path, "cms001", 5):
        assert other.wait() == 0
    descriptors = len(os.listdir("/proc/self/fd"))
    with register.AccountLock(tmp_path, "cms001", 5):
        pass
    assert len(os.listdir("/proc/self/fd")) == descriptors
