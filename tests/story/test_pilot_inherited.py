"""What a pilot sets for itself before it calls sudo, and the launcher would inherit: records and ends come all the same."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import proc
from tests.site import pilot
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_DUMPABLE, PR_SET_TIMERSLACK, HOURS = 4, 29, 3 * 3600 * 10**9
PR_SET_MDWE = 65


def ignore_ends_of_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def slow_timers() -> None:
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(HOURS), 0, 0, 0)


def be_killed_first() -> None:
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # as after execve(2): what is below /proc is its own again
    Path("/proc/self/oom_score_adj").write_text("1000")


def execute_nothing_written() -> None:
    assert ctypes.CDLL(None).prctl(PR_SET_MDWE, ctypes.c_ulong(1), 0, 0, 0) == 0


def limit(which: int, soft: int) -> Callable[[], None]:
    """The hard one stays: not every root may raise it again."""
    return lambda: resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))


TRAPS = {
    "children": ignore_ends_of_children,
    "timers": slow_timers,
    "memory": be_killed_first,
    "execution": execute_nothing_written,
    "files": limit(resource.RLIMIT_NOFILE, 12),
    "sizes": limit(resource.RLIMIT_FSIZE, 0),
}


def start(trap: Callable[[], None], *words: str, owner: str, own: str = pilot.OWNER) -> subprocess.Popen[str]:
    account = pwd.getpwnam(pilot.ACCOUNT)
    variables = {"GLEXEC_CLIENT_CERT": pilot.proxy(owner), "X509_USER_PROXY": pilot.proxy(own)}

    def become_a_pilot() -> None:
        os.setgroups([])
        os.setresgid(*[account.pw_gid] * 3)
        os.setresuid(*[account.pw_uid] * 3)
        trap()

    return subprocess.Popen(
        ["/usr/bin/gridwarden-exec", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd="/", env={"PATH": os.environ["PATH"], **{name: str(path) for name, path in variables.items()}},
        preexec_fn=become_a_pilot,  # noqa: PLW1509  nothing here has threads
    )  # fmt: skip


@pytest.mark.parametrize("trap", sorted(TRAPS))
def test_a_refusal_is_on_record_and_a_payload_runs(trap: str) -> None:
    before = len(pilot.records("refused"))
    refused = start(TRAPS[trap], "/bin/true", owner="anna", own="anna")
    _, told = refused.communicate(timeout=60)
    assert refused.returncode == 203, told
    assert [one["reason"] for one in pilot.records("refused")[before:]] == ["pilot-credential-not-allowed"]
    payload = start(TRAPS[trap], "/bin/true", owner="anna")
    assert (*payload.communicate(timeout=60), payload.returncode) == ("", "", 0)


def test_the_limits_of_the_pilot_are_its_payloads() -> None:
    payload = start(limit(resource.RLIMIT_FSIZE, 1024), "/bin/sh", "-c", "ulimit -f", owner="anna")
    assert payload.communicate(timeout=60) == ("2\n", "")


def test_a_payload_whose_sudo_is_killed_ends_however_slow_the_pilots_timers_are() -> None:
    before = len(pilot.records("payload_start"))
    payload = start(slow_timers, "/bin/sleep", "600", owner="anna")
    (started,) = until("it", lambda: pilot.records("payload_start")[before:])
    uid = started["uid"]
    until("it to run", lambda: [one for one in proc.owned_by(uid) if one.command == "sleep"])
    payload.kill()
    until("it to be gone", lambda: not proc.owned_by(uid))
    payload.communicate(timeout=60)


def test_no_limit_of_the_pilots_leaves_its_payloads_home_half_made() -> None:
    start(lambda: None, "/bin/true", owner="chen").communicate(timeout=60)
    home = Path(pwd.getpwnam(pilot.records("payload_start")[-1]["account"]).pw_dir)
    shutil.rmtree(home)
    start(limit(resource.RLIMIT_FSIZE, 0), "/bin/true", owner="chen").communicate(timeout=60)
    assert {path.name: path.stat().st_size for path in home.iterdir()} == {
        path.name: path.stat().st_size for path in Path("/etc/skel").iterdir()
    }
