"""What PAM or the kernel does not grant is not run, and the pilot is told why; what they grant is what a payload has."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.payload import PERMIT_LOGIN, SERVICES, group_of_a_job, python, service, start

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

RAN = python("tell('ran')")
PERMIT = PERMIT_LOGIN + "session required pam_permit.so\n"
NO_MODULE = "gridwarden-nothing.so"
MODULES = [*Path("/usr/lib").glob("*/security/pam_cap.so"), *Path("/lib").glob("*/security/pam_cap.so")]


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that everybody can enter."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (PERMIT.replace("account required pam_permit", "account required pam_deny"), "pam_acct_mgmt"),
        (PERMIT.replace("auth required pam_permit", "auth required pam_deny"), "pam_setcred"),
        (PERMIT.replace("session required pam_permit", "session required pam_deny"), "pam_open_session"),
        (
            PERMIT.replace(
                "account required",
                "account required pam_echo.so the machine is closed\naccount requisite pam_deny.so #",
            ),
            "the machine is closed",
        ),
    ],
)
def test_what_pam_refuses_is_not_run_and_its_words_are_told(tmp_path: Path, rules: str, says: str) -> None:
    chain = start(tmp_path, *RAN, services={"gridwarden-exec": rules})
    ended = chain.ended()
    assert (ended["error"], ended["reason"]) == ("Refused", "account-session-refused")
    assert says in ended["text"]
    assert not (tmp_path / "work/ran").exists()


def test_a_fault_of_pams_is_not_taken_for_a_verdict(tmp_path: Path) -> None:
    chain = start(tmp_path, *RAN, services={"gridwarden-exec": f"account required {NO_MODULE}\n" + PERMIT})
    ended = chain.ended()
    assert ended["error"] == "Unavailable"
    assert not (tmp_path / "work/ran").exists()


@pytest.mark.parametrize(
    ("setup", "asked"),
    [
        ("true", "gridwarden-missing"),
        ("chmod 666 /etc/pam.d/gridwarden-exec", "gridwarden-exec"),
        ("mv /etc/pam.d/gridwarden-exec /etc/pam.d/x; ln -s x /etc/pam.d/gridwarden-exec", "gridwarden-exec"),
        ("true", "../pam.d/gridwarden-exec"),
    ],
    ids=["missing", "writable", "link", "path"],
)
def test_a_service_without_a_file_of_roots_own_does_not_fall_open(tmp_path: Path, setup: str, asked: str) -> None:
    chain = start(tmp_path, *RAN, services={**SERVICES, "other": PERMIT}, setup=setup, service=asked)
    assert chain.ended()["reason"] == "pam-service-missing"
    assert not (tmp_path / "work/ran").exists()


def test_an_account_that_does_not_exist_has_no_session(tmp_path: Path) -> None:
    rules = PERMIT.replace("account required pam_permit", "account required pam_unix")
    ended = start(tmp_path, *RAN, services={"gridwarden-exec": rules}, account="nobody-at-all").ended()
    assert ended["reason"] == "account-session-refused"


def test_a_terminal_is_refused_wherever_it_is(tmp_path: Path) -> None:
    shapes = {
        "as standard error": "import pty; os.dup2(pty.openpty()[1], 2)",
        "of the session": "import fcntl, pty, termios; os.fork() and os._exit(os.wait()[1]); os.setsid(); "
        "fcntl.ioctl(pty.openpty()[1], termios.TIOCSCTTY, 0)",
    }
    for name, before in shapes.items():
        directory = tmp_path / name
        directory.mkdir()
        assert start(directory, *RAN, before=before).ended()["reason"] == "terminal", name
        assert not (directory / "work/ran").exists()


def test_variables_of_pam_reach_the_payload_but_for_those_that_load_code(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "variables").write_text(
        "SITE=here\nLD_PRELOAD=/tmp/x.so\nPYTHONPATH=/tmp\nBASH_ENV=/tmp/x\nENV=/tmp/x\nPERL5LIB=/tmp\nOWN=2\n"
    )
    rules = f"session required pam_env.so conffile=/dev/null envfile={tmp_path}/variables\n"
    said = start(tmp_path, "/usr/bin/env", services=service(rules)).output().splitlines()[:-1]
    assert sorted(said) == ["OWN=2", "SITE=here"]


def test_limits_of_the_job_and_of_pam_are_the_payloads_and_not_those_of_who_watches_over_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "limits").write_text("* hard stack 4096\n* hard nofile 77\n")
    rules = f"session required pam_limits.so conf={tmp_path}/limits\n"
    before = "import resource; [resource.setrlimit(one, (0, resource.getrlimit(one)[1])) for one in (resource.RLIMIT_FSIZE,)]"
    chain = start(tmp_path, "/bin/sh", "-c", "ulimit -f; ulimit -s; ulimit -n; ulimit -c; kill -9 $$", services=service(rules), before=before)  # fmt: skip
    assert chain.ended()["status"] == signal.SIGKILL, (
        "what is told of the end is written, though the job may write no file"
    )
    assert chain.output().splitlines()[:3] == ["0", "4096", "77"]


def test_a_session_that_takes_the_payload_out_of_the_jobs_control_group_is_refused(tmp_path: Path) -> None:
    with group_of_a_job() as job:
        tmp_path.chmod(0o755)
        module = tmp_path / "module"
        module.write_text(f"#!/bin/sh\n[ $PAM_TYPE = close_session ] || echo $PPID >{job.path}/cgroup.procs\n")
        module.chmod(0o755)
        ended = start(tmp_path, *RAN, services=service(f"session required pam_exec.so {module}\n")).ended()
        assert ended["error"] == "Unavailable"
        assert "control group" in ended["text"]
        assert not (tmp_path / "work/ran").exists()


@pytest.mark.skipif(not MODULES, reason="no pam_cap.so; on Debian or Ubuntu, apt-get install libpam-cap")
def test_capabilities_that_pam_grants_are_the_payloads_only_where_the_site_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "capabilities").write_text("cap_net_bind_service *\n")
    rules = service("").copy()
    rules["gridwarden-exec"] = f"auth optional pam_cap.so config={tmp_path}/capabilities\n" + rules["gridwarden-exec"]
    for asked, expected in (("pam", "0000000000000400"), ("none", "0" * 16)):
        directory = tmp_path / asked
        directory.mkdir()
        chain = start(directory, "/bin/grep", "^Cap", "/proc/self/status", services=rules, capabilities=asked)
        assert {line.split()[1] for line in chain.output().splitlines()[:-1]} == {expected}


def test_a_program_that_cannot_be_executed_is_said_to_be_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program = tmp_path / "program"
    program.write_text("no program\n")
    program.chmod(0o755)
    ended = start(tmp_path, str(program)).ended()
    assert (ended["status"], ended["because"]) == (126 << 8, "it could not be executed: Exec format error")


def test_a_hundred_thousand_arguments_reach_the_payload_and_more_than_the_kernel_takes_are_told(tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    setup = "import sys, json; sys.argv[-1:] = [json.dumps(dict(json.loads(sys.argv[-1]), times={times}, size={size}))]"
    counted = python("tell('count', len(sys.argv))")
    start(many, *counted, before=setup.format(times=100_000, size=1)).told_by_payload("count")
    assert (many / "work/count").read_text() == "100001"
    large = tmp_path / "large"
    large.mkdir()
    ended = start(large, *counted, before=setup.format(times=100, size=100_000)).ended()
    assert (ended["status"], ended["because"]) == (126 << 8, "it could not be executed: Argument list too long")


def test_a_script_runs_as_itself_and_not_another_that_has_taken_its_place(open_path: Path) -> None:
    program = open_path / "program"
    program.write_text('#!/bin/sh\necho "$0" >where; mv where ran\n')
    program.chmod(0o755)
    same = open_path / "same"
    same.mkdir()
    assert start(same, str(program), script=True).told_by_payload("ran") == f"{program}\n"
    other = open_path / "other"
    other.mkdir()
    chain = start(other, str(program), script=True, slow=0.5)
    chain.told("held")
    program.rename(open_path / "judged")
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o755)
    ended = chain.ended()
    assert (ended["status"], ended["because"]) == (
        126 << 8, "it could not be executed: another file has taken its place since it was checked",
    )  # fmt: skip
    assert not (other / "work/ran").exists()


def test_a_program_that_is_no_script_is_the_one_that_was_checked_whatever_took_its_place(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    chain = start(tmp_path, str(program), slow=0.5)
    chain.told("held")
    program.rename(tmp_path / "judged")
    program.write_bytes(Path("/bin/false").read_bytes())
    program.chmod(0o755)
    assert chain.ended()["status"] == 0


def test_a_payload_whose_streams_are_closed_does_not_get_those_of_who_watches_over_it(tmp_path: Path) -> None:
    code = "tell('files', [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if n < '3'])"
    chain = start(tmp_path, *python(code), before="[os.close(n) for n in range(3)]")
    assert chain.told_by_payload("files") == str(["/dev/null"] * 3)
    assert chain.ended()["status"] == 0
