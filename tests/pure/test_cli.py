"""How an end, good or bad, becomes text and an exit code that a script can act on."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from gridwarden import errors, reasons
from gridwarden.cli import COMMANDS, gridwarden, load_command
from gridwarden.run import run

if TYPE_CHECKING:
    from pathlib import Path


def outcome(error: BaseException | None, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    @click.command()
    def command() -> None:
        if error is not None:
            raise error

    code = run(command, "gridwarden", [])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (click.exceptions.Exit(1), 1),
        (click.UsageError("no"), 2),
        (errors.BadQuestion("no"), 2),
        (errors.GridwardenError("no"), 70),
        (RuntimeError("no"), 70),
        (PermissionError(13, "Permission denied", "/x"), 71),
        (errors.EvidenceError("no"), 74),
        (errors.Unavailable("no"), 75),
        (errors.Refused(reasons.BANNED, "no"), 77),
        (errors.ConfigurationError("no"), 78),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
    ],
)
def test_a_script_can_tell_one_failure_from_another(
    error: BaseException | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(error, capsys)[0] == code


def test_an_error_says_what_and_what_next_on_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = outcome(errors.Unavailable("slurmctld does not answer", "scontrol ping"), capsys)

    assert text == "gridwarden: slurmctld does not answer\nhint: scontrol ping\n"


def test_every_fault_of_the_configuration_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = outcome(errors.ConfigurationError(["a:1: x", "a:2: y"]), capsys)

    assert text == "gridwarden: a:1: x\ngridwarden: a:2: y\n"


def test_a_message_with_an_attackers_bytes_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = outcome(errors.GridwardenError("/CN=\x1b]0;owned\x07"), capsys)

    assert "\x1b" not in text
    assert r"\x1b]0;owned\x07" in text


def test_an_error_of_the_operating_system_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = outcome(PermissionError(13, "Permission denied", "/var/lib/gridwarden"), capsys)

    assert text.startswith("gridwarden: /var/lib/gridwarden: Permission denied\n")


def test_who_may_not_is_told_who_may(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(13, "Permission denied", "/var/lib/gridwarden")
    refused = errors.ConfigurationError("/var/lib/gridwarden/ledger: permission denied")
    unavailable = errors.Unavailable("who holds cms001 cannot be told")
    refused.__cause__, unavailable.__cause__ = denied, refused
    for uid, hint in ((0, False), (1000, True)):
        monkeypatch.setattr("os.geteuid", lambda uid=uid: uid)
        for error in (denied, refused, unavailable):
            assert outcome(error, capsys)[1].endswith("hint: run it as root\n") is hint


def test_a_fault_of_gridwarden_itself_leaves_what_a_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = outcome(RuntimeError("boom"), capsys)

    assert "Traceback" in text
    assert "unexpected RuntimeError: boom" in text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    pending = [load_command(COMMANDS[name])]
    while pending:
        command = pending.pop()
        assert "Examples:" in (command.help or ""), command.name
        if isinstance(command, click.Group):
            pending += command.commands.values()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_neither_a_failure_nor_the_next_file_opened(closed: str, tmp_path: Path) -> None:
    code = "import os, sys; from gridwarden import cli; code = cli.main(); print(code); sys.exit(code)"
    command = f'exec "$0" -c "$1" --version {closed}; exit 99'

    done = subprocess.run(["sh", "-c", command, sys.executable, code], cwd=tmp_path, check=False, capture_output=True)

    assert done.returncode == 0
    assert b"Traceback" not in done.stdout + done.stderr


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(gridwarden, "gridwarden", ["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ([], "--size, --first-uid, --gid"),
        (["--gid", "50000"], "--size, --first-uid"),
        (["--size", "3", "--gid", "9"], "--first-uid"),
    ],
)
def test_a_pool_lacks_all_that_it_lacks_at_once(
    given: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(gridwarden, "gridwarden", ["pool", "create", "cms", *given]) == 2
    assert f"gridwarden: {missing} must be given" in capsys.readouterr().err


def test_who_is_asked_about_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(gridwarden, "gridwarden", ["ban", "check", "4f2c", "--subject", "4f2c"]) == 2
    assert "give one of them" in capsys.readouterr().err
