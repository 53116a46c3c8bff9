"""The launcher, by the site's real sudo and PAM: what it runs, and each thing that it refuses, with what the pilot is told."""

from __future__ import annotations

import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import chain, reasons
from tests.site import pilot, syslog
from tests.site.launcher import AUTHORIZATION, CLIENT, NOT_EXECUTABLE, SYSTEM, WORK, call, own, refused
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Callable

PAM = Path("/etc/pam.d/gridwarden-exec")
TRUE = "/bin/true"


pytestmark = pytest.mark.usefixtures("work")


def test_a_payload_runs_as_its_owner_and_its_exit_code_comes_back() -> None:
    done = call("--", "/bin/sh", "-c", "id -un; exit 42")
    assert done.returncode == 42
    assert done.stdout.startswith("cms")
    assert not done.stderr


@pytest.mark.parametrize(("own", "shown"), [(0, 0), (1, 1), (126, 126), (200, 200), (201, 204), (204, 204), (205, 205)])
def test_an_exit_code_that_would_be_taken_for_the_launchers_is_204(own: int, shown: int) -> None:
    assert call("--", "/bin/sh", "-c", f"exit {own}").returncode == shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1])
def test_a_payload_that_a_signal_ended_ends_its_pilots_call_by_the_same(number: int) -> None:
    assert call("--", "/bin/sh", "-c", f"kill -{int(number)} $$").returncode == -number


def test_arguments_arrive_byte_for_byte(work: Path) -> None:
    words = ["", " ", "-x", "--", "a\nb", "*", "$HOME", "\udcff\udc80", "ü"]
    done = call("--", "/usr/bin/printf", "%s\\0", *words)
    assert done.stdout.split("\0")[:-1] == words


def test_a_script_finds_itself_and_a_link_to_a_program_is_followed(work: Path) -> None:
    script = work / "wrapper.sh"
    script.write_text('#!/bin/sh\necho "$0"; ls "$(dirname "$0")"\n')
    script.chmod(0o755)
    own(script)
    (work / "link").symlink_to("wrapper.sh")
    assert call("--", "./link").stdout.split() == [f"{work}/wrapper.sh", "link", "wrapper.sh"]


def test_the_decision_alone_runs_and_records_nothing() -> None:
    call("--", TRUE)
    before = len(list(chain.read(pilot.LEDGER)))
    done = call("--check", "--", "/bin/sh", "-c", "echo ran")
    assert done.returncode == 0
    assert done.stdout.startswith("would run as cms")
    assert call("--check").stdout == done.stdout
    assert len(list(chain.read(pilot.LEDGER))) == before
    assert call("--check", GLEXEC_CLIENT_CERT=pilot.proxy("chen"), face="gridwarden-exec").returncode == 0
    refused(call("--check", "--", "/usr/bin/passwd"), reasons.PROGRAM_SETUID, AUTHORIZATION)


def test_the_decision_alone_is_a_launchs_also_where_the_policy_gives_the_account_that_calls_or_groups(
    settings: Callable[..., None],
) -> None:
    settings(policy=[{"fqan": "/cms", "account": pilot.ACCOUNT}])
    assert call("--check", "--", TRUE).stdout == f"would run as {pilot.ACCOUNT}, who calls\n"
    assert call("--", "/usr/bin/id", "-un").stdout == f"{pilot.ACCOUNT}\n"
    rule = {"fqan": "/cms", "pool": "cms", "secondary_groups": [pilot.ACCOUNT]}
    gid = pwd.getpwnam(pilot.ACCOUNT).pw_gid
    for words in (["--check"], []):
        settings(policy=[rule], pilot={"minimum_gid": 1000})
        assert call(*words, "--", TRUE).returncode == 0
        settings(policy=[rule], pilot={"minimum_gid": gid + 1})
        assert reasons.GID_TOO_LOW in call(*words, "--", TRUE).stderr


def test_the_pilots_own_work_runs_as_the_pilot_and_is_on_record(work: Path) -> None:
    (work / "secret").write_text("mine")
    own(work / "secret")
    (work / "secret").chmod(0o600)
    done = call("--", "/bin/sh", "-c", "id -un; id -G; cat secret", GLEXEC_CLIENT_CERT=pilot.proxy("bela"))
    assert done.stdout.split() == [pilot.ACCOUNT, str(pwd.getpwnam(pilot.ACCOUNT).pw_gid), "mine"], done
    *_, start = pilot.records("payload_start", account=pilot.ACCOUNT)
    assert start["subject"].endswith("CN=Bela Example") and start["pilot_subject"] == start["subject"]
    assert len(pilot.records("payload_end", payload=start["payload"])) == 1


def test_a_credential_of_the_owner_is_the_payloads_own_file_and_gone_afterwards() -> None:
    done = call("--", "/bin/sh", "-c", 'stat -c "%U %a %n" "$X509_USER_PROXY" "$TMPDIR"; id -un; umask')
    file, directory, account, mask = done.stdout.splitlines()
    assert file.split()[:2] == [account, "600"] and directory.split()[:2] == [account, "700"]
    assert mask == "0077"
    assert not Path(directory.split()[2]).exists()


def test_groups_that_track_the_batch_job_stay_with_the_payload(settings: Callable[..., None]) -> None:
    settings(pilot={"tracking_groups": "65000-65049"})
    groups = call("--", "/usr/bin/id", "-G", groups=(65003, 64000)).stdout.split()
    assert "65003" in groups and "64000" not in groups


# What is refused, in the order of the launcher's steps.


@pytest.mark.parametrize("words", [[], ["--no-such", "--", TRUE], ["--renew", "--", TRUE], ["--name"]])
def test_words_that_make_no_request_are_the_callers_mistake(words: list[str]) -> None:
    done = call(*words)
    assert done.returncode == CLIENT
    assert done.stderr.startswith("gridwarden-exec: ")


def test_a_caller_that_no_entry_names(settings: Callable[..., None]) -> None:
    settings(pilot={"callers": [{"account": "pilotatlas", "fqan": "/atlas/Role=pilot"}]})
    refused(call("--", TRUE), reasons.CALLER_NOT_LISTED, AUTHORIZATION)


@pytest.mark.parametrize("credential", [{"fqan": "/cms/Role=pilot"}, {"service": True}])
def test_a_caller_by_a_group_is_whoever_the_machine_lists_in_it_and_not_who_brings_its_gid(
    settings: Callable[..., None], credential: dict[str, object]
) -> None:
    subprocess.run(["groupadd", "--gid", "4711", "mayrun"], check=True)
    settings(pilot={"callers": [{"unix_group": "mayrun", **credential}]})
    try:
        refused(call("--", TRUE, groups=(4711,)), reasons.CALLER_NOT_LISTED, AUTHORIZATION)
        subprocess.run(["gpasswd", "--add", pilot.ACCOUNT, "mayrun"], check=True, capture_output=True)
        assert call("--", TRUE).returncode == 0
    finally:
        subprocess.run(["groupdel", "mayrun"], check=True)
    refused(call("--", TRUE), reasons.CALLER_NOT_LISTED, AUTHORIZATION)


def test_a_pilot_without_a_credential_of_its_own() -> None:
    refused(call("--", TRUE, X509_USER_PROXY=None), reasons.PILOT_CREDENTIAL_MISSING, CLIENT)


def test_a_pilot_whose_own_credential_lacks_the_role() -> None:
    refused(call("--", TRUE, X509_USER_PROXY=pilot.proxy("chen")), reasons.PILOT_CREDENTIAL_NOT_ALLOWED, AUTHORIZATION)


def test_a_service_needs_no_credential_of_its_own(settings: Callable[..., None]) -> None:
    settings(pilot={"callers": [{"unix_group": pilot.ACCOUNT, "service": True}]})
    assert call("--", TRUE, X509_USER_PROXY=None).returncode == 0


def test_a_pilot_outside_every_job_where_the_site_wants_one_and_a_service_still_may(
    settings: Callable[..., None],
) -> None:
    settings(pilot={"outside_jobs": "refuse"})
    refused(call("--", TRUE), reasons.OUTSIDE_JOBS, AUTHORIZATION)
    refused(call("--check", "--", TRUE), reasons.OUTSIDE_JOBS, AUTHORIZATION)
    settings(pilot={"outside_jobs": "refuse", "callers": [{"account": pilot.ACCOUNT, "service": True}]})
    assert call("--", TRUE).returncode == 0


def test_a_payload_without_a_credential() -> None:
    refused(call("--", TRUE, GLEXEC_CLIENT_CERT=None), reasons.CREDENTIAL_MISSING, CLIENT)


@pytest.mark.parametrize("variable", ["GLEXEC_CLIENT_CERT", "X509_USER_PROXY"])
@pytest.mark.parametrize("parts", [("pem", "key"), ("pem",)], ids=["with its key", "alone"])
def test_a_certificate_that_is_no_proxy_makes_nobody_owner_or_pilot(
    settings: Callable[..., None], variable: str, parts: tuple[str, ...]
) -> None:
    """Its key is for years, and nobody's to lend; without that it is what anybody can have of anybody."""
    settings(policy=[{"dn": "*", "pool": "cms"}], pilot={"callers": [{"account": pilot.ACCOUNT, "dn": "*"}]})
    assert call("--", TRUE).returncode == 0
    files = [pilot.CREDENTIALS / "authority" / f"chen.{part}" for part in parts]
    path = pilot.give(files[0], "chen.pem")
    path.write_bytes(b"".join(file.read_bytes() for file in files))
    refused(call("--", TRUE, **{variable: path}), reasons.CREDENTIAL_MALFORMED, CLIENT)


def test_a_credential_that_is_a_link(work: Path) -> None:
    (work / "link").symlink_to(pilot.proxy("anna"))
    refused(call("--", TRUE, GLEXEC_CLIENT_CERT=work / "link"), reasons.CREDENTIAL_UNREADABLE, CLIENT)


def test_a_credential_of_somebody_else_that_only_root_could_read(work: Path) -> None:
    theirs = pilot.give(pilot.CREDENTIALS / "anna/proxy.pem", "anna.pem", "pilotatlas")
    Path(theirs).parent.chmod(0o755)
    refused(call("--", TRUE, GLEXEC_CLIENT_CERT=theirs), reasons.CREDENTIAL_UNREADABLE, CLIENT)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_credential_that_others_can_read(mode: int) -> None:
    path = pilot.proxy("anna")
    path.chmod(mode)
    refused(call("--", TRUE, GLEXEC_CLIENT_CERT=path), reasons.CREDENTIAL_EXPOSED, CLIENT)


def test_a_credential_that_has_ended() -> None:
    refused(
        call("--", TRUE, GLEXEC_CLIENT_CERT=pilot.proxy("anna", "expired")), reasons.CREDENTIAL_EXPIRED, AUTHORIZATION
    )


def test_a_proxy_for_the_payload_that_is_somebody_elses() -> None:
    done = call("--", TRUE, GLEXEC_SOURCE_PROXY=pilot.proxy("chen"))
    refused(done, reasons.IDENTITY_CHANGED, AUTHORIZATION)


def test_an_account_outside_the_pools_that_payloads_may_not_have(settings: Callable[..., None]) -> None:
    rule = {"fqan": "/cms", "account": "alice"}
    settings(policy=[rule])
    refused(call("--", TRUE), reasons.ACCOUNT_OUTSIDE_POOLS, AUTHORIZATION)
    settings(policy=[rule], pilot={"accounts": ["alice"]})
    assert call("--", "/usr/bin/id", "-un").stdout == "alice\n"


def test_an_account_or_group_that_does_not_exist(settings: Callable[..., None]) -> None:
    settings(policy=[{"fqan": "/cms", "account": "nobodyhere"}], pilot={"accounts": ["nobodyhere"]})
    refused(call("--", TRUE), reasons.ACCOUNT_UNKNOWN, AUTHORIZATION)
    settings(policy=[{"fqan": "/cms", "pool": "cms", "primary_group": "nogrouphere"}])
    done = call("--", "/bin/sh", "-c", "echo ran")
    assert (done.returncode, done.stdout) == (SYSTEM, ""), done
    assert "nogrouphere" in syslog.text()


def test_an_account_with_a_uid_below_the_minimum(settings: Callable[..., None]) -> None:
    settings(pilot={"minimum_uid": 3000})
    refused(call("--", TRUE), reasons.UID_TOO_LOW, AUTHORIZATION)


def test_an_account_with_a_gid_below_the_minimum(settings: Callable[..., None]) -> None:
    settings(pilot={"minimum_gid": 3000})
    refused(call("--", TRUE), reasons.GID_TOO_LOW, AUTHORIZATION)


def test_an_account_in_a_group_of_the_systems(settings: Callable[..., None]) -> None:
    account = call("--", "/usr/bin/id", "-un").stdout.strip()
    for group in ("disk", "root"):
        subprocess.run(["gpasswd", "--add", account, group], check=True, capture_output=True)
        try:
            refused(call("--", TRUE), reasons.GID_TOO_LOW, AUTHORIZATION)
        finally:
            subprocess.run(["gpasswd", "--delete", account, group], check=True, capture_output=True)
    assert call("--", TRUE).returncode == 0


def test_a_program_that_is_not_there_or_has_no_path() -> None:
    for name in ("/nowhere/program", "true"):
        refused(call("--", name), reasons.PROGRAM_MISSING, CLIENT)


def test_a_program_that_is_none(work: Path) -> None:
    (work / "text").write_text("text")
    own(work / "text")
    for name in ("./text", "/etc", "/dev/null"):
        refused(call("--", name), reasons.PROGRAM_NOT_EXECUTABLE, NOT_EXECUTABLE)
    (work / "text").chmod(0o755)
    assert call("--", "./text").returncode == NOT_EXECUTABLE


def test_a_program_that_changes_who_runs_it(work: Path) -> None:
    copy = work / "id"
    shutil.copyfile("/usr/bin/id", copy)
    own(copy)
    copy.chmod(0o4755)
    refused(call("--", copy), reasons.PROGRAM_SETUID, AUTHORIZATION)
    (work / "link").symlink_to("/usr/bin/passwd")
    refused(call("--", work / "link"), reasons.PROGRAM_SETUID, AUTHORIZATION)


def test_a_program_that_others_could_have_written(work: Path) -> None:
    copy = work / "id"
    shutil.copyfile("/usr/bin/id", copy)
    own(copy)
    copy.chmod(0o775)
    refused(call("--", copy), reasons.PROGRAM_WRITABLE, AUTHORIZATION)
    (work / "link").symlink_to("id")
    refused(call("--", "./link"), reasons.PROGRAM_WRITABLE, AUTHORIZATION)


def test_a_program_in_a_directory_that_others_could_change(work: Path) -> None:
    (work / "bin").mkdir()
    shutil.copyfile("/usr/bin/id", work / "bin/id")
    (work / "bin/id").chmod(0o755)
    (work / "bin").chmod(0o777)
    own(work / "bin/id")
    own(work / "bin")
    refused(call("--", "bin/id"), reasons.PROGRAM_WRITABLE, AUTHORIZATION)


def test_a_program_of_somebody_else(work: Path, settings: Callable[..., None]) -> None:
    copy = work / "id"
    shutil.copyfile("/usr/bin/id", copy)
    copy.chmod(0o755)
    own(copy, "bob")
    refused(call("--", copy), reasons.PROGRAM_OTHERS, AUTHORIZATION)
    settings(pilot={"program_owners": ["bob"]})
    assert call("--", copy).returncode == 0


def test_a_program_that_the_site_does_not_name(settings: Callable[..., None]) -> None:
    settings(pilot={"programs": ["/usr/bin/id"]})
    refused(call("--", TRUE), reasons.PROGRAM_NOT_ALLOWED, AUTHORIZATION)
    assert call("--", "/bin/id").returncode == 0


def test_a_working_directory_that_others_could_change(work: Path) -> None:
    work.chmod(0o777)
    refused(call("--", TRUE), reasons.DIRECTORY_WRITABLE, AUTHORIZATION)


def test_a_working_directory_of_somebody_else(work: Path) -> None:
    own(work, "bob")
    refused(call("--", TRUE), reasons.DIRECTORY_OTHERS, AUTHORIZATION)


def test_a_pam_service_whose_file_is_gone_does_not_fall_open(work: Path) -> None:
    PAM.rename(work / "pam")
    try:
        refused(call("--", TRUE), reasons.PAM_SERVICE_MISSING, SYSTEM)
    finally:
        shutil.move(work / "pam", PAM)


def test_a_machine_that_lets_nobody_in() -> None:
    Path("/etc/nologin").write_text("drained\n")
    try:
        refused(call("--", TRUE), reasons.ACCOUNT_SESSION_REFUSED, AUTHORIZATION)
    finally:
        Path("/etc/nologin").unlink()


def test_one_payload_too_many_of_one_identity(settings: Callable[..., None]) -> None:
    settings(pilot={"callers": [{"account": pilot.ACCOUNT, "fqan": "/cms/Role=pilot", "payloads": 1}]})
    first = subprocess.Popen(
        ["setpriv", "--reuid", pilot.ACCOUNT, "--regid", pilot.ACCOUNT, "--clear-groups", "setsid", "--wait",
         "gridwarden-exec", "--", "/bin/sh", "-c", "echo begun; exec sleep 60"],
        cwd=WORK, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={"PATH": "/usr/bin:/bin", "X509_USER_PROXY": str(pilot.proxy("bela")),
             "GLEXEC_CLIENT_CERT": str(pilot.proxy("anna"))},
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "begun\n"
        refused(call("--", TRUE), reasons.PAYLOAD_LIMIT, AUTHORIZATION)
        assert call("--", TRUE, GLEXEC_CLIENT_CERT=pilot.proxy("bela")).returncode == 0
    finally:
        first.kill()  # setsid, whose end sudo's is not: the launcher sees that its pilot is gone
        first.wait()
    until("the first to have ended", lambda: call("--", TRUE).returncode == 0)


def test_an_environment_that_no_program_could_be_given(settings: Callable[..., None]) -> None:
    settings(pilot={"preserve": ["BIG0", "BIG1", "BIG2", "BIG3", "BIG4"]})
    big = {f"BIG{number}": "x" * 120000 for number in range(5)}
    refused(call("--", TRUE, **big), reasons.ENVIRONMENT_TOO_LARGE, CLIENT)


def test_a_target_in_a_directory_that_is_not_the_owners(work: Path) -> None:
    refused(call("--", TRUE, GLEXEC_TARGET_PROXY=work / "proxy"), reasons.TARGET_UNUSABLE, CLIENT)


def test_new_credentials_for_a_payload_that_nobody_started() -> None:
    refused(call("--renew", "--name", "nobody"), reasons.PAYLOAD_UNKNOWN, CLIENT)
