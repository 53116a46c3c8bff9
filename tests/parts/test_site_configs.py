"""An example that an administrator copies must work as it stands."""

from __future__ import annotations

import configparser
import shlex
import shutil
from pathlib import Path

import click
import pytest

from gridwarden import cli, load_settings
from gridwarden.hooks import install
from gridwarden.prune import report
from gridwarden.prune.commands import prune_command

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "site-configs").iterdir())
WHOLE_SITES = [path for path in EXAMPLES if path.name != "pilot"]
PILOT = EXAMPLES[0].parent / "pilot"
PAM_KINDS = ("auth", "account", "password", "session")


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_example_is_one_that_gridwarden_accepts(example: Path, tmp_path: Path) -> None:
    shutil.copyfile(example / "site.yaml", tmp_path / "site.yaml")
    settings = load_settings.load(tmp_path / "site.yaml")
    assert settings.pools
    assert settings.policy


@pytest.mark.parametrize("example", WHOLE_SITES, ids=[path.name for path in WHOLE_SITES])
def test_the_lines_for_slurm_are_those_that_hooks_install_asks_for(example: Path) -> None:
    asked = install.slurm_conf(
        Path("/usr/libexec/gridwarden"), load_settings.load((example / "site.yaml").resolve()).slurm.hook_seconds
    )
    assert (example / "slurm.conf").read_text().strip() == asked.strip()


@pytest.mark.parametrize("example", WHOLE_SITES, ids=[path.name for path in WHOLE_SITES])
def test_cron_runs_commands_and_options_that_there_are(example: Path) -> None:
    lines = [line for line in (example / "cron").read_text().splitlines() if "gridwarden" in line]
    assert lines
    for line in lines:
        program, *words = shlex.split(line.partition(" root ")[2].removeprefix("nice -n -20 "))
        command: click.Command = {"gridwarden": cli.gridwarden, "gridwarden-prune": prune_command}[program]
        with click.Context(command) as context:
            while isinstance(command, click.Group):
                found = command.get_command(context, words.pop(0))
                assert found is not None, line
                command = found
            command.make_parser(context).parse_args(words)


@pytest.mark.parametrize("example", WHOLE_SITES, ids=[path.name for path in WHOLE_SITES])
def test_the_timer_starts_the_service_beside_it_and_the_service_the_pruner(example: Path) -> None:
    units = {path.suffix: configparser.ConfigParser(strict=True) for path in example.glob("gridwarden-prune.*")}
    for suffix, unit in units.items():
        unit.read(example / f"gridwarden-prune{suffix}")
    assert set(units) == {".service", ".timer"}
    assert units[".service"]["Service"]["ExecStart"].endswith("/gridwarden-prune")
    assert units[".service"]["Service"]["SuccessExitStatus"].split() == [
        str(report.SOMETHING_LEFT),
        str(report.CANNOT_TELL),
    ]
    assert units[".timer"]["Install"]["WantedBy"] == "timers.target"


@pytest.mark.parametrize("example", WHOLE_SITES, ids=[path.name for path in WHOLE_SITES])
def test_bans_begin_and_end_by_the_timer_as_often_as_by_cron(example: Path) -> None:
    timer, service = (configparser.ConfigParser(strict=True) for _ in range(2))
    timer.read(example / "gridwarden-follow.timer")
    service.read(example / "gridwarden-follow.service")
    assert service["Service"]["ExecStart"].endswith("/gridwarden follow")
    (line,) = [line for line in (example / "cron").read_text().splitlines() if "gridwarden follow" in line]
    assert line.startswith("*/5 * * * *")
    assert timer["Timer"]["OnUnitActiveSec"] == "5min"
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.parametrize("example", WHOLE_SITES, ids=[path.name for path in WHOLE_SITES])
def test_ten_thousand_nodes_bring_their_own_at_different_moments_and_one_machine_asks_of_all_jobs(
    example: Path,
) -> None:
    timer, service = (configparser.ConfigParser(strict=True) for _ in range(2))
    timer.read(example / "gridwarden-collect.timer")
    service.read(example / "gridwarden-collect.service")
    assert service["Service"]["ExecStart"].endswith("/gridwarden collect --evidence")
    assert timer["Timer"]["OnCalendar"] == "*:0/15"
    assert timer["Timer"]["RandomizedDelaySec"] == "15min"
    assert timer["Timer"]["FixedRandomDelay"] == "yes"
    (line,) = [line for line in (example / "cron").read_text().splitlines() if "gridwarden collect" in line]
    assert line.endswith("gridwarden collect")


def test_the_pilots_sudo_rule_names_the_launcher_by_its_path_and_keeps_sudo_waiting_for_it() -> None:
    text = (PILOT / "sudoers").read_text()
    assert "Cmnd_Alias  GRIDWARDEN_EXEC = /usr/libexec/gridwarden/exec\n" in text
    options = {word.strip(",") for line in text.splitlines() if line.startswith("Defaults!") for word in line.split()}
    assert {"use_pty", "pam_setcred", "env_reset", "closefrom=3"} <= options
    (rule,) = [line for line in text.splitlines() if line.startswith("GRIDWARDEN_CALLERS")]
    assert rule.split("=", 1)[1].strip() == "(root) NOPASSWD: NOSETENV: GRIDWARDEN_EXEC"


def test_the_pilots_sudo_rule_is_for_the_accounts_that_its_site_yaml_lets_call() -> None:
    callers = {caller.account for caller in load_settings.load(PILOT / "site.yaml").pilot.callers}
    (alias,) = [line for line in (PILOT / "sudoers").read_text().splitlines() if line.startswith("User_Alias")]
    assert {word.strip() for word in alias.partition("=")[2].split(",")} == callers


def test_the_pilots_pam_file_leaves_nothing_to_the_service_other() -> None:
    lines = [line.split() for line in (PILOT / "pam").read_text().splitlines() if line and line[0] != "#"]
    assert {line[0] for line in lines} == set(PAM_KINDS)
    assert {line[1] for line in lines} == {"required"}, "an optional module that is not there would be passed over"


SLURM_SITES = [path for path in EXAMPLES if path.name.startswith("slurm-")]
OWN = {"README.md", "site.yaml"}


def files_of(example: Path) -> list[Path]:
    return [path for path in sorted(example.rglob("*")) if path.is_file()]


def test_what_several_sites_take_is_one_file_so_that_no_copy_falls_behind() -> None:
    first: dict[str, Path] = {}
    for path in (path for example in reversed(EXAMPLES) for path in files_of(example) if path.name not in OWN):
        if path.name == "sudoers" and not path.is_symlink():
            continue  # for other callers each
        assert first.setdefault(path.name, path).resolve() == path.resolve(), path
    assert first["job_submit.lua"].resolve() == EXAMPLES[0].parents[1] / "hooks" / "slurm" / "job_submit.lua"


def test_the_sudo_rule_of_pilots_with_a_pool_is_the_pilots_but_for_whom_it_is_of() -> None:
    site = EXAMPLES[0].parent / "slurm-ce-and-node-pools"
    lines = [(PILOT / "sudoers").read_text().splitlines(), (site / "sudoers").read_text().splitlines()]
    other = [(old, new) for old, new in zip(*lines, strict=True) if old != new]
    ((_, alias),) = other
    callers = load_settings.load(site / "site.yaml").pilot.callers
    assert {word.strip() for word in alias.partition("=")[2].split(",")} == {f"%{caller.pool}" for caller in callers}


@pytest.mark.parametrize("example", SLURM_SITES, ids=[path.name for path in SLURM_SITES])
def test_the_page_of_a_site_is_short_and_says_where_each_file_goes(example: Path) -> None:
    text = (example / "README.md").read_text()
    assert len(text.splitlines()) <= 25
    for path in files_of(example):
        unit = path.name.startswith("gridwarden-")
        name = f"-{path.stem.removeprefix('gridwarden-')}.*" if unit else str(path.relative_to(example))
        assert name == "README.md" or name in text, name


@pytest.mark.parametrize("example", SLURM_SITES, ids=[path.name for path in SLURM_SITES])
def test_sites_with_pilots_have_all_that_a_launch_needs(example: Path) -> None:
    callers = [*example.rglob("*.yaml")]
    wanted = {"sudoers", "pam", "payload-environment"}
    present = {path.name for path in files_of(example)}
    assert wanted <= present if any("callers:" in path.read_text() for path in callers) else wanted.isdisjoint(present)
