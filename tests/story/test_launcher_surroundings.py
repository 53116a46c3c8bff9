"""What is around the launcher: its entry and faces, an environment or arguments of an attacker's, modes of a site."""

from __future__ import annotations

import os
import pty
import pwd
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from gridwarden import chain, proc, reasons
from tests import control_groups
from tests.site import pilot, syslog
from tests.site.launcher import AUTHORIZATION, CLIENT, SYSTEM, call, own, refused
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("work")
TRUE = "/bin/true"
(LIBRARY,) = Path("/opt/gridwarden/lib").glob("python3*/site-packages")
SUDO = Path("/usr/bin/sudo")


def test_a_program_that_asks_for_glexec_finds_it_by_its_location_and_its_version() -> None:
    assert call("-v", face="/usr/sbin/glexec").stdout.startswith("glexec version: ")
    owner = call("--", "/usr/bin/id", "-un").stdout
    found = call("-c", '"$GLEXEC_LOCATION/sbin/glexec" /usr/bin/id -un', face="/bin/sh", GLEXEC_LOCATION="/usr")
    assert (found.returncode, found.stdout) == (0, owner)


def test_where_no_new_privileges_are_to_be_had_it_says_so() -> None:
    done = call("--", TRUE, before=("setpriv", "--no-new-privs"))
    assert (done.returncode, done.stdout) == (SYSTEM, "")
    assert done.stderr == "gridwarden-exec: this process may get no new privileges, so sudo cannot work here\n"


def test_in_a_container_without_privileges_it_says_so() -> None:
    done = call("--", TRUE, before=("unshare", "--user", "--map-root-user"))
    assert (done.returncode, done.stdout) == (SYSTEM, "")
    assert done.stderr.startswith("gridwarden-exec: this is a container with a user namespace of its own")
    assert done.stderr.count("\n") == 1


def test_without_sudo_it_says_so() -> None:
    SUDO.chmod(0o755)
    try:
        done = call("--", TRUE)
    finally:
        SUDO.chmod(0o4755)
    assert done.returncode == SYSTEM
    assert done.stderr == "gridwarden-exec: this machine has no /usr/bin/sudo that could start the launcher\n"


@pytest.fixture(params=[Path("/usr/libexec/gridwarden/exec.modules"), Path("/usr/libexec/gridwarden"), LIBRARY])
def part(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Something that the launcher loads from, as it was afterwards."""
    path: Path = request.param
    mode = path.stat().st_mode
    yield path
    path.chmod(mode)
    os.chown(path, 0, 0)


def test_the_launcher_loads_nothing_that_others_could_have_changed(part: Path) -> None:
    part.chmod(part.stat().st_mode | 0o020)
    done = call("--", TRUE)
    assert done.returncode == SYSTEM
    assert f"{part} could be changed by others than root" in done.stderr
    part.chmod(part.stat().st_mode & ~0o020)
    own(part)
    assert call("--", TRUE).returncode == SYSTEM


def test_variables_that_run_code_reach_neither_launcher_nor_payload(work: Path) -> None:
    library = work / "evil.so"
    library.write_bytes(b"\x7fELF")
    (work / "sitecustomize.py").write_text(f"open({str(work / 'ran')!r}, 'w')\n")
    evil = {
        "LD_PRELOAD": library,
        "LD_LIBRARY_PATH": work,
        "LD_AUDIT": library,
        "GCONV_PATH": work,
        "PYTHONPATH": work,
        "PYTHONSTARTUP": work / "sitecustomize.py",
        "PYTHONHOME": work,
        "PYTHONINSPECT": "1",
        "BASH_ENV": work / "sitecustomize.py",
        "ENV": work / "sitecustomize.py",
        "LC_ALL": "../../var/tmp/launcher",
        "LANG": "xx_XX.GB18030",
        "IFS": "/",
        "SUDO_UID": "0",
        "PS4": "$(touch ran)",
    }
    done = call("--", "/usr/bin/env", **evil)
    assert done.returncode == 0, done
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert not names & (set(evil) - {"LANG"}), names
    assert "GB18030" not in done.stdout
    assert not (work / "ran").exists()


def test_an_environment_as_large_as_the_kernel_takes_stops_nobody() -> None:
    big = {f"BIG{number}": "x" * 120_000 for number in range(14)}
    assert call("--", "/bin/sh", "-c", "exit 7", **big).returncode == 7


@pytest.mark.parametrize(("megabytes", "code"), [(5, 7), (10, 126)])
def test_the_most_that_the_kernel_takes_stops_nobody_and_more_reaches_nobody(megabytes: int, code: int) -> None:
    """Without a limit of the stack execve(2) takes 6 MB; 10 MB are none of sudo's or ours to refuse."""
    fill = f"i=0; while [ $i -lt {megabytes * 10} ]; do export BIG$i=$x; i=$((i+1)); done"
    line = f"ulimit -s unlimited; x=$(head -c 100000 /dev/zero | tr '\\0' x); {fill}; exec gridwarden-exec -- /bin/sh -c 'exit 7'"
    done = call("-c", line, face="/bin/sh", before=("prlimit", "--stack=unlimited"))
    assert done.returncode == code, done.stderr[:1000]


def test_a_hundred_thousand_arguments_arrive() -> None:
    done = call("--", "/bin/sh", "-c", "echo $#", "sh", *["x"] * 100_000)
    assert done.stdout == "100000\n", done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_nobodys_files(work: Path, closed: str) -> None:
    line = f"exec gridwarden-exec -- /bin/sh -c 'ls -l /proc/self/fd >\"$HOME/open\"; exit 5' {closed}"
    assert call("-c", line, face="/bin/sh").returncode == 5
    user = pwd.getpwnam(call("--", "/usr/bin/id", "-un").stdout.strip())
    listed = (Path(user.pw_dir) / "open").read_text()
    assert "x509" not in listed and "gridwarden" not in listed


def test_a_terminal_is_refused() -> None:
    controller, terminal = pty.openpty()
    try:
        refused(call("--", TRUE, stdin=terminal), reasons.TERMINAL, CLIENT)
    finally:
        os.close(controller)
        os.close(terminal)


def test_root_itself_starts_no_payload() -> None:
    done = subprocess.run(["gridwarden-exec", "--", TRUE], capture_output=True, text=True, check=False)
    assert done.returncode == AUTHORIZATION, done


def test_the_entry_without_sudo_and_without_a_face_runs_nothing() -> None:
    assert call("--", TRUE, face="/usr/libexec/gridwarden/exec").returncode == CLIENT
    assert call("exec", "--", TRUE, face="/usr/libexec/gridwarden/exec").returncode == SYSTEM


@pytest.fixture
def log_only(settings: Callable[..., None]) -> Iterator[None]:
    """The site in log-only mode, and back."""
    settings(pilot={"mode": "log-only"})
    install = ["gridwarden", "hooks", "install", "--glexec", "/usr/sbin/glexec"]
    subprocess.run(install, check=True, capture_output=True)
    yield
    settings()
    subprocess.run(install, check=True, capture_output=True)


@pytest.mark.usefixtures("log_only")
def test_log_only_runs_the_payload_as_the_pilot_and_says_whose_it_is(work: Path) -> None:
    before, logged = len(list(chain.read(pilot.LEDGER))), len(syslog.lines())
    SUDO.chmod(0o755)  # nothing there needs it
    try:
        done = call("--", "/bin/sh", "-c", 'id -un; echo "$X509_USER_PROXY"; kill -TERM $$')
    finally:
        SUDO.chmod(0o4755)
    assert (done.returncode, done.stdout) == (-15, f"{pilot.ACCOUNT}\n{pilot.home()}/anna.pem\n"), done
    start, end = [line for line in syslog.lines()[logged:] if "outcome=logged" in line]
    assert "event=payload-start" in start and "CN=Anna Example" in start and "event=payload-end" in end
    assert len(list(chain.read(pilot.LEDGER))) == before


@pytest.mark.usefixtures("log_only")
def test_log_only_says_what_would_be_decided_and_that_nothing_is_renewed() -> None:
    for words in (("--check",), ("--check", "--", TRUE)):
        done = call(*words)
        assert (done.returncode, done.stdout) == (0, f"would run as {pilot.ACCOUNT}, who calls\n"), done
    done = call("--check", "--", "/nowhere/program")
    assert (done.returncode, reasons.PROGRAM_MISSING in done.stderr) == (CLIENT, True), done
    done = call("--renew", "--name", "x")
    assert (done.returncode, "the pilot's own credential files" in done.stderr) == (CLIENT, True), done


@pytest.mark.usefixtures("log_only")
def test_log_only_refuses_as_ever() -> None:
    done = call("--", TRUE, GLEXEC_CLIENT_CERT=pilot.proxy("anna", "expired"))
    assert (done.returncode, reasons.CREDENTIAL_EXPIRED in done.stderr) == (AUTHORIZATION, True)
    done = call("--", TRUE, X509_USER_PROXY=pilot.proxy("chen"))
    assert (done.returncode, reasons.PILOT_CREDENTIAL_NOT_ALLOWED in done.stderr) == (AUTHORIZATION, True)


def test_a_payloads_control_group_is_a_child_of_its_callers_own_counts_it_and_is_gone_afterwards() -> None:
    with control_groups.a_group() as job:
        Path(job.path, "cgroup.procs").write_text("0")  # who calls is where we are
        try:
            done = call(
                "--", "/bin/sh", "-c", "cat /proc/self/cgroup; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
            )
        finally:
            Path(job.path).with_name("cgroup.procs").write_text("0")
        *_, start = pilot.records("payload_start")
        (end,) = pilot.records("payload_end", payload=start["payload"])
        assert start["cgroup"] == f"{job.path}/gridwarden-payload-{start['payload']}"
        assert f"/{Path(job.path).name}/gridwarden-payload-{start['payload']}\n" in done.stdout
        assert not Path(start["cgroup"]).exists()
        assert end["measured"] == "wait4+cpu.stat"
        assert end["group_cpu"] == pytest.approx(end["user"] + end["system"], abs=100_000)


def test_scratch_of_the_pilots_alone_is_lent_to_its_payload_and_comes_back(
    work: Path, settings: Callable[..., None]
) -> None:
    settings(pilot={"scratch": "hand-over"})
    work.chmod(0o700)
    (work / "input").write_text("41")
    own(work / "input")
    (work / "input").chmod(0o600)
    done = call("--", "/bin/sh", "-c", "umask 077; mkdir out; echo $(($(cat input) + 1)) >out/result; stat -c %U .")
    assert done.returncode == 0 and done.stdout.startswith("cms"), done
    owner = pwd.getpwnam(pilot.ACCOUNT).pw_uid
    assert {path.stat().st_uid for path in (work, work / "input", work / "out", work / "out/result")} == {owner}
    assert (work / "out/result").read_text() == "42\n"


def test_a_payload_in_a_directory_of_the_pilots_alone_runs_and_sees_nothing_of_it(work: Path) -> None:
    (work / "secret").write_text("mine")
    own(work / "secret")
    work.chmod(0o700)
    done = call("--", "/bin/sh", "-c", "cat secret || exit 9")
    assert (done.returncode, done.stdout) == (9, ""), done


def test_the_sites_epilogue_runs_as_root_after_the_payload_and_within_its_time(
    work: Path, settings: Callable[..., None]
) -> None:
    epilogue = Path("/usr/local/sbin/epilogue")
    epilogue.write_text(
        '#!/bin/sh\nenv >/run/epilogue; id -u >>/run/epilogue\n[ "$GLEXEC_EPILOG_STATUS" = 0 ] || sleep 60\n'
    )
    epilogue.chmod(0o755)
    try:
        settings(pilot={"epilogue": str(epilogue), "epilogue_seconds": 30})
        assert call("--", TRUE).returncode == 0
        told = Path("/run/epilogue").read_text()
        assert "GLEXEC_EPILOG_ACCOUNT=cms" in told and told.endswith("\n0\n")
        settings(pilot={"epilogue": str(epilogue), "epilogue_seconds": 0.5})
        assert call("--", "/bin/sh", "-c", "exit 3").returncode == 3
        assert "event=payload-epilogue outcome=failed" in syslog.text()
    finally:
        epilogue.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("whom", ["sudo", "launcher"])
def test_nothing_is_left_and_every_start_has_its_end_whenever_a_launch_is_ended(number: int, whom: str) -> None:
    """From its first moment on: each time a little later, until it ends by itself."""
    user = pwd.getpwnam(pilot.ACCOUNT)
    environment = {"X509_USER_PROXY": str(pilot.proxy("bela")), "GLEXEC_CLIENT_CERT": str(pilot.proxy("anna"))}
    started = len(pilot.records("payload_start"))
    for step in range(8):
        launch = subprocess.Popen(
            ["gridwarden-exec", "--", "/bin/sh", "-c", "setsid sleep 300 & exit 0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/var/tmp/launcher",
            env={"PATH": "/usr/bin:/bin"} | environment,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[user.pw_gid],
            start_new_session=True,
        )
        time.sleep(0.04 * step)
        below = [each.pid for each in psutil.Process(launch.pid).children()] if whom == "launcher" else []
        for pid in below or [launch.pid]:
            with suppress(ProcessLookupError):  # sudo may have waited for it meanwhile
                os.kill(pid, number)
        launch.wait(timeout=30)
    assert call("--", TRUE).returncode == 0  # sees to what a killed launcher has left
    until_nothing_is_left()
    starts = [record["payload"] for record in pilot.records("payload_start")]
    assert len(starts) > started
    # A launcher that was killed in the act of recording a start has an end without one; never the other way round.
    assert set(starts) <= {record["payload"] for record in pilot.records("payload_end")}


def until_nothing_is_left() -> None:
    deadline = time.monotonic() + 60
    while left := what_is_left():
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def what_is_left() -> list[str]:
    """Of payloads: processes of their accounts, state files, entries of the register, temporary directories."""
    uids = {user.pw_uid for user in pwd.getpwall() if user.pw_name.startswith("cms0")}
    return [
        *(str(process.pid) for process in proc.everyone() if process.real_uid in uids and not process.has_ended()),
        *(str(path) for path in Path("/run/gridwarden/payloads").iterdir()),
        *(str(path) for path in Path("/run/gridwarden/jobs").glob("cms0*/*")),
        *(str(path) for path in Path("/tmp").glob("gridwarden-payload.*")),
    ]


@pytest.mark.parametrize("limit", ["-n 11", "-n 12", "-n 24", "-f 0", "-v 60000", "-u 1", "-t 1", "-c 0"])
def test_limits_of_a_pilot_stop_a_launch_at_most_and_break_nothing(limit: str) -> None:
    done = call("-c", f"ulimit {limit} || exit 88; exec gridwarden-exec -- /bin/true", face="/bin/bash")
    assert done.returncode in (0, SYSTEM, CLIENT, 1), done  # 1: sudo itself cannot begin
    assert "Traceback" not in done.stderr and len(done.stderr) < 400, done.stderr
    assert call("--", TRUE).returncode == 0
    until_nothing_is_left()
    starts = {record["payload"] for record in pilot.records("payload_start")}
    assert starts <= {record["payload"] for record in pilot.records("payload_end")}


def test_a_payload_whose_end_cannot_be_recorded_yet_has_its_own_exit_status_and_its_figures_are_kept(
    work: Path,
) -> None:
    """A pilot that is told 202 would have it run again elsewhere."""
    go_on = work / "go-on"
    begun = work / "begun"
    begun.touch()
    begun.chmod(0o666)
    waits = f"echo >> {begun}; until [ -e {go_on} ]; do sleep 0.05; done; exit 5"
    with ThreadPoolExecutor() as pool:
        done = pool.submit(call, "--", "/bin/sh", "-c", waits)
        until("the payload to begin", begun.read_text)
        subprocess.run(["mount", "--bind", pilot.LEDGER, pilot.LEDGER], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", pilot.LEDGER], check=True)
            go_on.touch()
            assert done.result().returncode == 5
        finally:
            subprocess.run(["umount", pilot.LEDGER], check=True)
    (start,) = pilot.records("payload_start")[-1:]
    assert pilot.records("payload_end", payload=start["payload"]) == []
    assert call("--", TRUE).returncode == 0
    (end,) = pilot.records("payload_end", payload=start["payload"])
    assert (end["status"], end["measured"], end["because"]) == (5, "wait4", "")
