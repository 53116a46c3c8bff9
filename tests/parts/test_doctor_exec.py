"""What would let a payload run unasked, or not at all, must be found before a pilot finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

import gridwarden
from gridwarden.errors import ConfigurationError
from gridwarden.hooks import code_file, install
from gridwarden.hooks.pilot import doctor, pam_stack
from gridwarden.pilot_settings import Caller, Pilot

WHOLE = "auth required pam_permit.so\npassword required pam_deny.so\naccount required pam_unix.so\n"
SESSION = "session required pam_unix.so\nsession required pam_keyinit.so force revoke\n"
PRESENT = {"pam_permit.so", "pam_deny.so", "pam_unix.so", "pam_systemd.so", "pam_nologin.so", "pam_keyinit.so"}
EXAMPLE = Path(__file__).resolve().parents[2] / "site-configs" / "pilot" / "pam"


def kinds(directory: Path, text: str, **others: str) -> list[str]:
    (directory / "gridwarden-exec").write_text(text)
    for name, included in others.items():
        (directory / name).write_text(included)
    entries = pam_stack.read(str(directory), "gridwarden-exec")
    return [risk.kind for risk in pam_stack.judge(entries, PRESENT, "x")]


def test_the_example_is_without_fault(tmp_path: Path) -> None:
    (tmp_path / "gridwarden-exec").write_text(EXAMPLE.read_text())
    entries = pam_stack.read(str(tmp_path), "gridwarden-exec")
    assert pam_stack.judge(entries, {entry.module for entry in entries}, "x") == []


def test_a_kind_that_the_file_leaves_to_the_service_other_is_found(tmp_path: Path) -> None:
    assert kinds(tmp_path, WHOLE) == ["pam-falls-open", "pam-shares-keyring"]
    assert kinds(tmp_path, "# nothing\n") == ["pam-falls-open"] * 4 + ["pam-shares-keyring"]
    assert kinds(tmp_path, WHOLE + SESSION) == []


def test_a_session_that_leaves_the_batch_job_is_found_in_an_included_file_too(tmp_path: Path) -> None:
    assert kinds(tmp_path, WHOLE + SESSION + "-session optional pam_systemd.so\n") == ["pam-leaves-the-job"]
    assert kinds(tmp_path, WHOLE + "@include common\n", common=f"{SESSION}session optional pam_systemd.so\n") == [
        "pam-leaves-the-job"
    ]
    included = f"{SESSION}session [success=ok default=bad] /lib/security/pam_systemd.so quiet\nauth required pam_x.so\n"
    assert kinds(tmp_path, WHOLE + "session include common\n", common=included) == ["pam-leaves-the-job"]


def test_a_module_that_is_not_installed_is_found_unless_it_may_be_missing(tmp_path: Path) -> None:
    assert kinds(tmp_path, WHOLE + SESSION + "session required pam_none.so\n") == ["pam-module-missing"]
    assert kinds(tmp_path, WHOLE + SESSION + "-session required pam_none.so\n") == []


def test_a_session_that_leaves_the_payload_the_pilots_keyring_is_found(tmp_path: Path) -> None:
    assert kinds(tmp_path, WHOLE + "session required pam_unix.so\n") == ["pam-shares-keyring"]


def test_a_file_that_lets_everybody_in_is_found(tmp_path: Path) -> None:
    assert kinds(tmp_path, WHOLE.replace("pam_unix", "pam_permit") + SESSION) == ["pam-asks-nothing"]


@pytest.mark.parametrize("line", ["session", "session required", "sesion required pam_unix.so", "session [success=ok"])
def test_a_line_that_pam_would_not_read_is_none_that_passes(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        kinds(tmp_path, WHOLE + SESSION + line + "\n")


def test_files_that_include_each_other_do_not_keep_the_doctor_busy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="include each other"):
        kinds(tmp_path, "@include gridwarden-exec\n")


def test_a_missing_or_writable_service_file_is_found(tmp_path: Path) -> None:
    (risk,) = doctor.pam(str(tmp_path), "gridwarden-exec")
    assert risk.kind == "pam-service"
    (tmp_path / "gridwarden-exec").write_text(WHOLE + SESSION)
    (tmp_path / "gridwarden-exec").chmod(0o666)
    (risk,) = doctor.pam(str(tmp_path), "gridwarden-exec")
    assert (risk.kind, "written by others" in risk.detail) == ("pam-service", True)


def places(directory: Path) -> doctor.Places:
    for name, mode in (("exec", 0o755), ("gridwarden-exec", 0o755), ("glexec", 0o755)):
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(mode)
    (directory / "payloads").mkdir(mode=0o700)
    faces = (str(directory / "gridwarden-exec"), str(directory / "glexec"))
    return doctor.Places(str(directory / "exec"), faces, payloads=str(directory / "payloads"))


def test_programs_that_are_as_they_were_installed_are_not_complained_of(tmp_path: Path) -> None:
    at = places(tmp_path)
    assert doctor.programs((at.launcher, *at.faces)) == []


@pytest.fixture(scope="module")
def made() -> bytes:
    library = str(Path(gridwarden.__path__[0]).resolve().parent)
    return code_file.contents(library, code_file.NEEDED[code_file.LAUNCHER])


def test_modules_of_the_launcher_that_are_not_those_installed_now_are_named(tmp_path: Path, made: bytes) -> None:
    path = tmp_path / "exec.modules"
    path.write_bytes(made)
    assert doctor.modules(str(path)) == []
    said = b"is no path; PATH is not searched"
    path.write_bytes(made[:-1000])  # not whole
    assert [risk.kind for risk in doctor.modules(str(path))] == ["modules-old"]
    path.write_bytes(made.replace(said, said.upper()))  # of one module that was changed since
    assert [risk.kind for risk in doctor.modules(str(path))] == ["modules-old"]
    path.write_bytes(b"of before" + made)
    (risk,) = doctor.modules(str(path))
    assert (risk.kind, risk.remedy) == ("modules-old", "gridwarden hooks install")
    path.unlink()
    assert [risk.kind for risk in doctor.modules(str(path))] == ["modules-old"]


def test_the_plain_doctor_names_stale_modules_of_hooks_and_launcher_where_these_are_installed(
    tmp_path: Path, made: bytes
) -> None:
    files = [install.HookFile(tmp_path / name, made, 0o644) for name in ("exec", *code_file.NEEDED)]
    assert doctor.stale(files) == [], "nothing is installed on this machine"
    (tmp_path / "exec").touch()
    assert [risk.detail.partition(":")[0] for risk in doctor.stale(files)] == [str(file.path) for file in files[1:]]
    for file in files:
        file.path.write_bytes(made)
    assert doctor.stale(files) == []
    files[2].path.write_bytes(made[:-1])
    (risk,) = doctor.stale(files)
    assert (risk.kind, str(files[2].path) in risk.detail) == ("modules-old", True)
    assert doctor.stale(ConfigurationError("others could change what is installed")) == [], "that is said already"


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [
        ("exec", 0o777, "program"),
        ("exec", 0o644, "program"),
        ("glexec", 0o4755, "program-setuid"),
        ("glexec", None, "program"),
    ],
)
def test_an_altered_program_is_found_and_a_setuid_glexec_that_was_left(
    tmp_path: Path, name: str, mode: int | None, kind: str
) -> None:
    at = places(tmp_path)
    if mode is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).chmod(mode)
    (risk,) = doctor.programs((at.launcher, *at.faces))
    assert risk.kind == kind
    assert name in risk.detail


def test_where_sudo_can_switch_nobody_is_said(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\nNoNewPrivs:\t0\n")
    (tmp_path / "uid_map").write_text("         0          0 4294967295\n")
    assert doctor.kernel(str(tmp_path)) == []
    (tmp_path / "status").write_text("Name:\tx\nNoNewPrivs:\t1\n")
    (tmp_path / "uid_map").write_text("         0       1000          1\n")
    assert [risk.kind for risk in doctor.kernel(str(tmp_path))] == ["no-new-privileges", "user-namespace"]


def test_this_kernels_own_files_are_read() -> None:
    assert doctor.kernel("/proc/self") == []


def test_callers_and_accounts_that_are_not_here_are_found() -> None:
    gone = Caller(account="no-such-pilot", service=True)
    group = Caller(unix_group="no-such-group", service=True)
    pilot = Pilot(callers=(gone, group), accounts=("daemon", "nobody-here"))
    callers = {name: caller for caller in pilot.callers for name in doctor.sample(caller)}
    found = doctor.accounts(pilot, callers)
    assert [risk.kind for risk in found if "no-such-group" in risk.detail] == ["nobody-there"]
    assert [risk.kind for risk in found if "no-such-pilot" in risk.detail] == ["account-unknown"]
    assert [risk.kind for risk in found if "nobody-here" in risk.detail] == ["account-unknown"]
    assert [risk.kind for risk in found if "daemon has uid" in risk.detail] == ["account-privileged"]


def test_a_site_that_lets_nobody_call_is_told_so_and_no_more() -> None:
    assert [risk.kind for risk in doctor.examine(Pilot(), doctor.Places(), tracking="")] == ["nobody-may-call"]


def test_pilots_that_may_leave_their_job_are_told_of_and_services_are_not() -> None:
    pilots, monitoring = Caller(account="daemon", vo="cms"), Caller(account="daemon", service=True)
    for tracking in ("", "proctrack/linuxproc", "proctrack/cgroup"):
        (risk,) = doctor.jobs(Pilot(callers=(monitoring, pilots)), tracking)
        assert (risk.kind, risk.detail.startswith("proctrack/cgroup holds")) == (
            "outside-jobs", tracking == "proctrack/cgroup",
        )  # fmt: skip
        assert doctor.jobs(Pilot(callers=(pilots,), outside_jobs="refuse"), tracking) == []
        assert doctor.jobs(Pilot(callers=(monitoring,)), tracking) == []


def test_a_site_that_only_logs_needs_neither_sudo_nor_pam(tmp_path: Path) -> None:
    at = places(tmp_path)._replace(launcher="/nowhere/exec", pam="/nowhere", payloads="/nowhere")
    pilot = Pilot(mode="log-only", callers=(Caller(account="daemon", service=True),))
    assert doctor.examine(pilot, at, tracking="") == []
    Path(at.faces[0]).unlink()
    assert [risk.kind for risk in doctor.examine(pilot, at, tracking="")] == ["program"]


def test_files_that_a_launch_would_refuse_are_found(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    pilot = Pilot(environment_file=environment, epilogue=tmp_path / "epilogue")
    assert [risk.kind for risk in doctor.files(pilot, str(tmp_path / "payloads"))] == ["file"] * 3
    environment.write_text("A=b\n")
    environment.chmod(0o644)
    (tmp_path / "epilogue").write_text("#!/bin/sh\n")
    (tmp_path / "payloads").mkdir(mode=0o755)
    (risk,) = doctor.files(pilot, str(tmp_path / "payloads"))
    assert "open to others" in risk.detail
