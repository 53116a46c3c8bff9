"""The site's PAM modules decide about payloads as they do about logins: real modules, the service file of the example."""

from __future__ import annotations

import os
import pwd
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site import pilot, syslog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def me() -> Path:
    pilot.proxy("anna")
    return pilot.proxy(pilot.OWNER)


@pytest.fixture
def account(me: Path) -> pwd.struct_passwd:
    """Whom anna's payloads run as."""
    return pwd.getpwnam(payload("id -un", me).stdout.strip())


def payload(script: str, me: Path) -> subprocess.CompletedProcess[str]:
    return pilot.launch("/bin/sh", "-c", script, owner=pilot.home() / "anna.pem", pilot=me)


@contextmanager
def holding(path: Path, text: str) -> Iterator[None]:
    """The file with lines added, or made; afterwards as it was."""
    before = path.read_text() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text((before or "") + text)
    try:
        yield
    finally:
        path.unlink() if before is None else path.write_text(before)


@contextmanager
def changed(account: pwd.struct_passwd, *words: str, back: tuple[str, ...]) -> Iterator[None]:
    subprocess.run(["usermod", *words, account.pw_name], check=True)
    try:
        yield
    finally:
        subprocess.run(["usermod", *back, account.pw_name], check=True)


def assert_kept_out(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout) == (203, ""), done.stderr
    assert "(account-session-refused)" in done.stderr
    assert pilot.records("refused")[-1]["reason"] == "account-session-refused"


def test_nologin_keeps_payloads_off_a_node_that_is_being_closed(account: pwd.struct_passwd, me: Path) -> None:
    with holding(Path("/etc/nologin"), "closed until noon\n"):
        assert_kept_out(payload("id", me))
    assert payload("id", me).returncode == 0


def test_access_keeps_an_account_out(account: pwd.struct_passwd, me: Path) -> None:
    with holding(Path("/etc/security/access.conf"), f"-:{account.pw_name}:ALL\n"):
        assert_kept_out(payload("id", me))
    with holding(Path("/etc/security/access.conf"), "-:atlas001:ALL\n"):
        assert payload("id", me).returncode == 0


def test_an_account_that_has_expired_runs_nothing(account: pwd.struct_passwd, me: Path) -> None:
    with changed(account, "--expiredate", "2020-01-01", back=("--expiredate", "")):
        assert_kept_out(payload("id", me))


def test_an_account_whose_shell_is_none_runs_nothing(account: pwd.struct_passwd, me: Path) -> None:
    with changed(account, "--shell", "/usr/sbin/nologin", back=("--shell", account.pw_shell)):
        assert_kept_out(payload("id", me))


def test_limits_hold_for_the_payload_and_its_descendants(account: pwd.struct_passwd, me: Path) -> None:
    with holding(Path("/etc/security/limits.d/payload.conf"), f"{account.pw_name} hard nofile 99\n"):
        done = payload("ulimit -H -n; sh -c 'ulimit -H -n'; sh -c 'ulimit -H -n 100' || echo kept", me)
    assert done.stdout.split() == ["99", "99", "kept"]


def test_variables_of_pam_env_reach_the_payload_but_none_that_decides_what_it_loads(
    account: pwd.struct_passwd, me: Path
) -> None:
    added = "SITE_NAME DEFAULT=example\nLD_PRELOAD DEFAULT=/x\nPYTHONPATH DEFAULT=/x\n"
    with holding(Path("/etc/security/pam_env.conf"), added):
        done = payload("env", me)
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert variables["SITE_NAME"] == "example"
    assert not {"LD_PRELOAD", "PYTHONPATH"} & variables.keys()


def test_mkhomedir_makes_a_home_of_the_accounts_own(account: pwd.struct_passwd, me: Path) -> None:
    subprocess.run(["rm", "-rf", account.pw_dir], check=True)
    done = payload('touch "$HOME/own"', me)
    assert done.returncode == 0, done.stderr
    status = os.stat(account.pw_dir)
    assert (status.st_uid, status.st_mode & 0o7777) == (account.pw_uid, 0o700)
    assert (Path(account.pw_dir) / "own").exists()


def test_a_session_is_opened_and_closed_for_the_account_and_for_nobody_else(
    account: pwd.struct_passwd, me: Path
) -> None:
    before = len(syslog.text())
    payload("id", me)
    said = syslog.text()[before:]
    assert said.count("pam_unix(gridwarden-exec:session): session opened for user " + account.pw_name) == 1
    assert said.count("pam_unix(gridwarden-exec:session): session closed for user " + account.pw_name) == 1
    assert "pam_unix(sudo:session)" not in said
