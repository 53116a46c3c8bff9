"""What sbatch is given, seen by a program in its place that says what it got."""

from __future__ import annotations

import grp
import os
import pwd
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from gridwarden import reasons, syslog_line
from gridwarden.errors import Refused, Unavailable
from gridwarden.hooks.slurm import submit

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")

USER = pwd.getpwnam("daemon")  # of every Debian; has a home that exists
LEASE = SimpleNamespace(account=USER.pw_name, gid=USER.pw_gid, groups=(), lease_id="0" * 32, subject="/CN=Anna")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for parent in (tmp_path, *tmp_path.parents):  # pytest keeps its directories to root
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    (tmp_path / "said").mkdir(mode=0o777)
    (tmp_path / "said").chmod(0o777)
    return tmp_path


def sbatch(programs: Path, text: str) -> None:
    (programs / "sbatch").write_text(f"#!/bin/sh\ncd {programs}/said || exit 9\n{text}\n")
    (programs / "sbatch").chmod(0o755)


def test_sbatch_runs_as_the_account_with_an_environment_from_nothing(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEARER_TOKEN", "secret")
    monkeypatch.setenv("SBATCH_UID", "0")
    said = 'id > id; umask > umask; env > env; echo $OLDPWD > home; echo "$@" > words; cat > script; ls /proc/self/fd > fds'
    sbatch(programs, f"{said}; echo 42")
    script = b"#!/bin/sh\n" + b"x" * 100_000
    with open("/dev/null", "rb") as inherited:
        os.set_inheritable(inherited.fileno(), True)  # noqa: FBT003 - its one argument
        assert submit.submit_as(LEASE, script, ["--time=5"], programs) == "42"
    answers = {path.name: path.read_text() for path in (programs / "said").iterdir()}
    groups = os.getgrouplist(USER.pw_name, USER.pw_gid)
    assert answers["id"].startswith(f"uid={USER.pw_uid}({USER.pw_name}) gid={USER.pw_gid}(")
    assert 0 not in groups
    assert "root" not in answers["id"]
    assert answers["umask"].strip() == "0022"
    names = {line.partition("=")[0] for line in answers["env"].splitlines()}
    assert names <= {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "PWD", "OLDPWD", "_", "SHLVL"}
    assert answers["home"].strip() == USER.pw_dir
    assert answers["words"].split()[0] == "--time=5"
    assert answers["words"].split()[1:] == ["--parsable", f"--chdir={USER.pw_dir}", "--export=ALL", "--propagate=NONE"]
    assert answers["script"].encode() == script
    assert set(answers["fds"].split()) == {"0", "1", "2", "3"}, "3 is the directory that ls reads"


def test_the_accounts_other_processes_cannot_type_into_the_administrators_terminal(programs: Path) -> None:
    # They could trace sbatch, and would have had the terminal of its session.
    sbatch(programs, "cut -d ' ' -f 1,6 /proc/$$/stat > session; echo 42")
    submit.submit_as(LEASE, b"#!/bin/sh\n", [], programs)
    pid, session = (programs / "said" / "session").read_text().split()
    assert session == pid


def test_what_sbatch_says_of_a_rejected_job_is_shown_and_cannot_move_a_terminal(programs: Path) -> None:
    sbatch(programs, "printf 'sbatch: error: bad \\033[2Jpartition\\nsecond\\n' >&2; exit 1")
    with pytest.raises(Refused) as refusal:
        submit.submit_as(LEASE, b"#!/bin/sh\n", [], programs)
    assert refusal.value.reason == reasons.SUBMIT_REJECTED
    line = syslog_line.line("map", "refused", detail=refusal.value.detail)
    assert line.endswith(r'detail="bad \x1b[2Jpartition; second (account daemon)"'), "escaped once, and on one line"


def test_an_sbatch_that_says_nothing_has_submitted_nothing(programs: Path) -> None:
    sbatch(programs, "exit 0")
    with pytest.raises(Refused, match="printed no job id"):
        submit.submit_as(LEASE, b"#!/bin/sh\n", [], programs)


def test_a_script_that_makes_sbatch_wait_does_not_make_us_wait(programs: Path) -> None:
    sbatch(programs, "echo 42; exec sleep 100")
    assert submit.submit_as(LEASE, b"#!/bin/sh\n", [], programs) == "42"


def test_an_sbatch_that_hangs_is_given_up(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "SBATCH_SECONDS", 0.6)
    sbatch(programs, "exec sleep 100")
    with pytest.raises(Unavailable, match="did not answer"):
        submit.submit_as(LEASE, b"#!/bin/sh\n", [], programs)


@pytest.mark.parametrize("how", ["exec sleep 100 >&- 2>&-", "kill -STOP $$"])
def test_an_account_that_holds_its_sbatch_up_does_not_hold_us_up(
    programs: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(submit, "SBATCH_SECONDS", 0.6)
    sbatch(programs, how)
    with pytest.raises(Unavailable, match="did not answer"):
        submit.submit_as(LEASE, b"#!/bin/sh\n", [], programs)


def test_a_job_has_the_primary_group_that_the_policy_gives(programs: Path) -> None:
    sbatch(programs, "id > id; echo 42")
    given = grp.getgrnam("games").gr_gid
    submit.submit_as(SimpleNamespace(**{**vars(LEASE), "gid": given}), b"#!/bin/sh\n", [], programs)
    assert f" gid={given}(games) " in (programs / "said" / "id").read_text()


def test_a_job_is_not_submitted_without_a_secondary_group_that_slurm_would_not_give_it(programs: Path) -> None:
    sbatch(programs, "echo 42")
    lost = SimpleNamespace(**{**vars(LEASE), "groups": (grp.getgrnam("games").gr_gid,)})
    with pytest.raises(Refused, match="daemon is not a member of the groups with gid 60") as refusal:
        submit.submit_as(lost, b"#!/bin/sh\n", [], programs)
    assert refusal.value.reason == reasons.GROUP_NOT_HELD
    own = SimpleNamespace(**{**vars(LEASE), "groups": (USER.pw_gid,)})
    assert submit.submit_as(own, b"#!/bin/sh\n", [], programs) == "42"


def test_a_missing_sbatch_is_named(programs: Path) -> None:
    with pytest.raises(Unavailable, match="/sbatch: No such file"):
        submit.submit_as(LEASE, b"#!/bin/sh\n", [], programs)


def test_a_script_of_a_hundred_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    del tmp_path
    reading, writing = os.pipe()
    taken = 0

    def pour() -> None:
        nonlocal taken
        try:
            for _ in range(100):
                taken += os.write(writing, b"#!" + b"x" * 999_998)
        except BrokenPipeError:
            pass

    pouring = threading.Thread(target=pour)
    pouring.start()
    with pytest.raises(Refused) as refusal:
        submit.read_script(reading, 4_000_000)
    os.close(reading)
    pouring.join()
    os.close(writing)
    assert refusal.value.reason == reasons.SCRIPT_TOO_LARGE
    assert taken < 6_000_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", reasons.SCRIPT_EMPTY),
        (b"\n \n", reasons.SCRIPT_EMPTY),
        (b"echo", reasons.SUBMIT_REJECTED),
        (b"#!/bin/sh\n" + b"x" * 100, reasons.SCRIPT_TOO_LARGE),
    ],
)
def test_what_is_no_script_is_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "script").write_bytes(text)
    with (tmp_path / "script").open("rb") as file, pytest.raises(Refused) as refusal:
        submit.read_script(file.fileno(), 100)
    assert refusal.value.reason == reason


def test_a_script_of_exactly_the_limit_is_taken(tmp_path: Path) -> None:
    script = b"#!/bin/sh\n".ljust(100, b"x")
    (tmp_path / "script").write_bytes(script)
    with (tmp_path / "script").open("rb") as file:
        assert submit.read_script(file.fileno(), 100) == script
