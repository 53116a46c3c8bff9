"""What the doctor makes of a controller's words and of a clock must be right where no test can set one."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from gridwarden.hooks.doctor import clock, finding, slurm
from gridwarden.hooks.doctor.finding import CRITICAL, NOTE, WARNING, Finding
from gridwarden.hooks.install import HookFile

HEAD = "Configuration data as of 2026-11-22T11:26:26\n"
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("apart", "severity"),
    [(0, None), (2, None), (-2, None), (4, WARNING), (-5, WARNING), (61, CRITICAL), (-3600, CRITICAL)],
)
def test_a_clock_is_as_far_off_as_slurmctld_says_and_whole_seconds_are_allowed_for(
    apart: int, severity: str | None
) -> None:
    now = 1795346786.5
    told = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now + apart))
    found = list(clock.of_controller(told, now, now + 0.1))
    assert [one.severity for one in found] == ([severity] if severity else [])
    assert all(("behind" if apart > 0 else "ahead of") in one.detail for one in found)


def test_a_question_that_took_long_is_no_fault_of_the_clock() -> None:
    told = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(1795346786))
    assert not list(clock.of_controller(told, 1795346786.5, 1795346796.5))
    assert not list(clock.of_controller(told, 1795346776.5, 1795346786.5))
    assert not list(clock.of_controller("N/A", 0, 0))


def test_the_words_of_both_versions_of_slurm_are_understood() -> None:
    new = slurm.parse(
        f"{HEAD}Prolog[0]               = /a\nProlog[1]   = /b c\nPrologFlags = Alloc,Contain\n\nCgroup = x\n"
    )
    old = slurm.parse(f"{HEAD}Prolog                  = /etc/slurm/prolog.d/*\nEpilog = (null)\nPrologFlags = Alloc\n")
    assert new and old
    assert (new.values["Prolog"], new.words("PrologFlags")) == (["/a", "/b c"], ["Alloc", "Contain"])
    assert (old.values["Prolog"], "Epilog" in old.values) == (["/etc/slurm/prolog.d/*"], False)
    assert slurm.parse("slurm_load_ctl_conf error: Unable to contact slurm controller\n") is None


@pytest.mark.parametrize(
    ("version", "command"),
    [
        ("24.11.5", "scontrol reconfigure"),
        ("23.11.0", "scontrol reconfigure"),
        ("22.05.8", "systemctl restart slurmctld"),
    ],
)
def test_a_plug_in_is_loaded_by_what_that_version_of_slurm_needs(version: str, command: str) -> None:
    config = slurm.parse(f"{HEAD}SLURM_VERSION           = {version}\n")
    assert config and config.load_plugins() == command


@pytest.mark.parametrize(
    ("said", "hook_seconds", "severities"),
    [
        ("PrologEpilogTimeout     = 65534\nBatchStartTimeout       = 10 sec\n", "100", {WARNING}),
        ("PrologEpilogTimeout     = 120 sec\nBatchStartTimeout       = 120 sec\n", "100", set()),
        ("PrologEpilogTimeout     = 120\nBatchStartTimeout       = 120 sec\n", "120", {CRITICAL, WARNING}),
        ("PrologEpilogTimeout     = 60\nBatchStartTimeout       = 120 sec\n", "", {CRITICAL}),
    ],
)
def test_slurm_must_wait_longer_than_a_hook_takes_for_the_hook_and_for_its_job(
    said: str, hook_seconds: str, severities: set[str]
) -> None:
    config = slurm.parse(f"{HEAD}SLURM_CONF              = /etc/slurm.conf\n{said}")
    assert config
    found = list(slurm.limits_leave_time(config, {"hook_seconds": [hook_seconds]}))
    assert {one.severity for one in found} == severities
    assert all(f"={int(hook_seconds or 100) + 20} >> /etc/slurm.conf" in one.remedy for one in found)


def test_who_follows_the_commands_in_their_order_never_has_slurm_call_what_is_not_there() -> None:
    config = slurm.parse(f"{HEAD}SLURM_CONF = /etc/slurm/slurm.conf\n")
    assert config
    wanted = HookFile(Path("/nowhere/slurm-prolog"), b"", 0o755)
    assert [one.kind for one in slurm.hook(config, "Prolog", "prolog", wanted)] == ["hook-missing", "hook-not-called"]


def test_the_worst_finding_decides_what_monitoring_sees_and_no_byte_breaks_its_line() -> None:
    note, warning = Finding("a", NOTE, "x", ""), Finding("b", WARNING, "y|\nz", "")
    assert finding.nagios([note])[1] == 0
    line, code = finding.nagios([note, warning])
    assert (code, "\n" in line, line.count("|")) == (1, False, 1)
    assert finding.nagios([warning, Finding("c", CRITICAL, "", ""), note])[1] == 2


def test_many_of_a_kind_are_counted() -> None:
    found = finding.few([Finding("a", NOTE, str(number), "") for number in range(100)])
    assert len(found) == finding.MOST_ROWS
    assert found[-1].detail == "4; and 95 more like it"


def test_every_kind_of_finding_is_on_the_page() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    sources = [*(ROOT / "hooks" / "doctor").glob("*.py"), ROOT / "mapper" / "sharing.py"]
    kinds = {kind for path in sources for kind in re.findall(r'(?:Finding|Risk)\(\s*"([a-z-]+)"', path.read_text())}
    assert len(kinds) > 20
    assert {kind for kind in kinds if f"`{kind}`" not in page} == set()
